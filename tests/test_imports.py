"""Who may import whom, what stays unloaded until it is used, and that every key of conf/ is read."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest
from conftest import CHECKOUT
from omegaconf import OmegaConf

import src
from src.config import CONF
from src.signature import arguments

# the table of DESIGN.md: a module may import its own layer and those below
LAYERS = {
    **dict.fromkeys(["src.env", "src.metric", "src.storage", "src.logger", "src.config", "src.rules"], 0),
    **dict.fromkeys(["src.signature", "src.shell", "src.progress", "src.ranks"], 0),
    **dict.fromkeys(["src.data", "src.model", "src.dataset"], 1),
    **dict.fromkeys(["src.run", "src.fitting", "src.predictor", "src.overview"], 2),
    **dict.fromkeys(["src.job", "src.plots"], 3),
    **dict.fromkeys(["src.rerun", "src.replay", "src.pack", "src.unpack"], 4),
    **dict.fromkeys(["src.diff", "src.train", "src.resume", "src.sync", "src.clean", "src.etl", "src"], 5),
}
# of one layer, and yet strangers: they meet in batch keys and `info`
STRANGERS = {("src.data", "src.model"), ("src.model", "src.data"), ("src.data", "src.dataset")}
STRANGERS |= {("src.dataset", "src.model"), ("src.model", "src.dataset")}
# (module, what it imports) -> why it may, though that stands above
EXCEPTIONS = {
    ("src.ranks", "src.fitting"): "main() is the job of a rank's own process",
    ("src.ranks", "src.job"): "main() is the job of a rank's own process",
}
FILES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((CHECKOUT / "src").rglob("*.py"))
}
HEAVY = ("torch", "lightning", "torchmetrics", "mlflow", "wandb", "sklearn", "pandas", "matplotlib")


def imports(module: str) -> set[str]:
    """The project's modules that ``module`` imports, also within functions."""
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in FILES else node.module)
    return {name for name in names if name.partition(".")[0] == "src"}


def home(module: str) -> str:
    """The key of `LAYERS` that speaks of ``module``: src.data.split -> src.data."""
    return ".".join(module.split(".")[:2])


def upward() -> set[tuple[str, str]]:
    """(module, what it imports) of all imports that the layers forbid."""
    found = set()
    for module in FILES:
        for name in imports(module):
            a, b = home(module), home(name)
            if LAYERS[b] > LAYERS[a] or (a, b) in STRANGERS:
                found.add((module, name))
    return found


def test_every_file_has_a_layer_and_every_layer_a_file():
    assert {home(module) for module in FILES} == set(LAYERS)


def test_nothing_imports_from_above_but_for_the_exceptions():
    assert upward() == set(EXCEPTIONS)


def test_the_checker_sees_imports_within_functions():
    assert {"src.job", "src.run", "src.env", "src.config", "src.shell"} <= imports("src")


def test_no_exported_name_is_a_module():
    assert set(src.__all__) == {name for name in src.__all__ if callable(getattr(src, name))}
    assert not {f"src.{name}" for name in src.__all__} & set(FILES)


# -- what a process loads


def loaded(code: str, **variables) -> set[str]:
    """The heavy libraries that a new process has loaded after ``code``."""
    code += "\nimport sys; print('loaded', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded")[2].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import src",
        "import src.config, src.shell",
        "from src import config; config.check(['model=random_forest', 'metric=f1', '+model.classifier.max_depth=3'])",
        "from src import config; config.check(['model=mlp', '+model.net.d_category=4'])",
        "from src import shell; shell.help_text()",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code):
    assert loaded(code) == set()


def test_a_scikit_learn_run_never_imports_torch(outputs):
    code = """
from src import fit, load
from src.dataset import wine
load(fit("model=linear", "dataset=wine", "logger=csv").name).predict(wine.read({}))
"""
    assert loaded(code) == {"sklearn", "pandas"}  # pictures are drawn in a process beside it


# -- keys of conf/


@cache
def strings() -> set[str]:
    """Every string in src/, but for those that know keys only to check them."""
    found = set()
    for module, path in FILES.items():
        if module not in ("src.config", "src.rules"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found


def keys(section: dict):
    """Every key but for the arguments that stand beside a class, and Hydra's own."""
    for key, value in section.items():
        if key not in ("defaults", "hydra"):
            yield key
            if isinstance(value, dict) and "class" not in value:
                yield from keys(value)


NAMES = [path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml")]


@pytest.mark.parametrize("name", sorted(name for name in NAMES if re.match(r"(dataset|logger)/|model/_|[^/]+$", name)))
def test_no_key_that_nobody_reads(name):
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    vectorizer = arguments("sklearn.feature_extraction.text.TfidfVectorizer")
    assert not set(keys(content)) - strings() - vectorizer

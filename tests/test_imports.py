"""Who may import whom; heavy libraries load only when they are used; every key of conf/ is read."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache

import pytest
from conftest import CHECKOUT
from omegaconf import OmegaConf

import src
from src.config.rules import arguments
from src.config.shell import verbs
from src.config.tree import CONF

# room -> floor: a file may import its own room and rooms on lower floors; rooms of one floor are strangers
ROOMS = {
    "system": 0,
    "metric": 1,
    "config": 2, "data": 2, "model": 2, "logger": 2,
    "dataset": 3, "trainer": 3,
    "run": 4,
    "format": 5,
    "study": 6, "share": 6, "serving": 6,
    "verbs": 7,
}  # fmt: skip
FILES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((CHECKOUT / "src").rglob("*.py"))
}
VERBS = tuple(verbs())
HEAVY = ("torch", "lightning", "torchmetrics", "mlflow", "wandb", "sklearn", "pandas", "matplotlib", "optuna")


@cache
def imports(module: str) -> set[str]:
    """Return the project's modules that ``module`` imports, also inside functions."""
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


def room(module: str) -> str:
    """Return the key of `ROOMS` for ``module``: src.data.split -> data, src.train -> verbs."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (CHECKOUT / "src" / parts[1]).is_dir() else "verbs"


def reachable(module: str) -> set[str]:
    """Return every module that ``module`` imports, directly or through others."""
    found, waiting = set(), [module]
    while waiting:
        for name in imports(waiting.pop()) - found:
            found.add(name)
            waiting.append(name)
    return found


def test_rooms_are_the_folders_of_src():
    folders = {
        path.name for path in (CHECKOUT / "src").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(ROOMS) - {"verbs"}


def test_only_what_a_user_types_stands_at_the_top():
    """A verb's file has at most 70 lines and a function of its name; `rerun` is called by recorded runs."""
    files = {path.stem: path for path in (CHECKOUT / "src").glob("*.py")}
    assert set(files) == {*VERBS, "__init__", "__main__", "rerun"}
    for verb in VERBS:
        text = files[verb].read_text(encoding="utf-8")
        functions = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        assert ("main" if verb == "train" else verb) in functions
        assert text.count("\n") <= 70, verb


def test_a_file_imports_from_its_own_room_and_from_lower_floors():
    wrong = set()
    for module in FILES:
        for name in imports(module):
            mine, theirs = room(module), room(name)
            if mine != theirs and ROOMS[theirs] >= ROOMS[mine]:
                wrong.add((module, name))
    assert wrong == set()


def test_no_verb_imports_a_verb():
    verbs = {f"src.{verb}" for verb in (*VERBS, "rerun")}
    assert {(verb, name) for verb in verbs for name in imports(verb) & verbs} == set()


def test_no_module_reaches_itself():
    """Imports inside functions count: they would only hide a circle."""
    assert [module for module in FILES if module in reachable(module)] == []


def test_the_checker_sees_imports_within_functions():
    assert {"src.study.run", "src.config.shell"} <= imports("src")


def test_no_room_is_named_like_a_verb_or_an_exported_name():
    assert not set(ROOMS) & {*VERBS, *src.__all__}


def test_no_exported_name_is_a_module():
    """Also not after the module of that name was imported, which Python then sets in its package."""
    for name in src.__all__:
        if f"src.{name}" in FILES:
            importlib.import_module(f"src.{name}")
        assert inspect.isfunction(getattr(src, name)), name


# -- what a process loads


def loaded(code: str, **variables) -> set[str]:
    """Return the heavy libraries that a new process has loaded after ``code``."""
    code += "\nimport sys; print('loaded', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded")[2].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import src",
        "import src.config.check, src.config.shell",
        "from src.config.check import check; check(['model=random_forest', 'metric=f1'])",
        "from src.config.check import check; check(['model=mlp', '+model.net.d_category=4'])",
        "from src.config import shell; shell.help_text()",
        "import src.predict, src.evaluate, src.export",
        "from src.config.check import check; check(['sweep=optuna', 'space=mlp', 'sweep.sampler=qmc'], True)",
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
    assert loaded(code) == {"sklearn", "pandas"}  # a child process draws the pictures


# -- keys of conf/


@cache
def strings() -> set[str]:
    """Return every string in src/ but those of config, which only check keys."""
    found = set()
    for module, path in FILES.items():
        if room(module) != "config":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {
                node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return found


def keys(section: dict):
    """Yield every key but the arguments of a class and Hydra's own keys."""
    for key, value in section.items():
        if key not in ("defaults", "hydra"):
            yield key
            if isinstance(value, dict) and "class" not in value:
                yield from keys(value)


NAMES = [path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml")]


@pytest.mark.parametrize(
    "name", sorted(name for name in NAMES if re.match(r"(dataset|logger)/|model/_|[^/]+$", name))
)
def test_no_key_that_nobody_reads(name):
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    vectorizer = arguments("sklearn.feature_extraction.text.TfidfVectorizer")
    assert not set(keys(content)) - strings() - set(vectorizer)

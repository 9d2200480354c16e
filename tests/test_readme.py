"""README.md, CONTRIBUTING.md, Makefile: every command composes, every block runs, every path exists."""

import importlib
import linecache
import re
import shlex
import shutil

import forks
import pytest
from conftest import CHECKOUT

from src import runs
from src.config import shell
from src.config.check import check
from src.config.tree import CONF, GROUPS, choices
from src.config.typed import spelled
from src.dataset import wine
from src.logger import fanout

NAMES = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "Makefile")
README, CONTRIBUTING, BENCHMARKS, MAKEFILE = ((CHECKOUT / name).read_text(encoding="utf-8") for name in NAMES)
SLURM = {"SLURM_JOB_ID": "1", "SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return (language, content) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code_in_prose(text: str) -> list[str]:
    """Return every `span` outside the fenced blocks, on one line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


BLOCKS = blocks_of(README)
CODE = code_in_prose(README)
ALL_CODE = CODE + code_in_prose(CONTRIBUTING) + code_in_prose(BENCHMARKS)
SHELL = [block for kind, block in BLOCKS + blocks_of(CONTRIBUTING) if kind == "bash"]
LINES = [line for block in SHELL for line in block.splitlines()]
LINES += [span for span in ALL_CODE if "python " in span]
MAKES = [line.lstrip("# ") for line in (*LINES, *MAKEFILE.splitlines()) if re.match(r"(# )?make \w", line)]


def named_in(code: list[str], pattern: str) -> list[str]:
    """Return what ``pattern`` finds in ``code``, without what stands for a reader's own file."""
    found = [name for span in code for name in re.findall(pattern, span)]
    return sorted({name for name in found if "mine" not in name and "my" not in name})


@pytest.mark.parametrize("command", [line for line in LINES if "-m src." in line])
def test_command_composes(command, monkeypatch, tmp_path):
    """Also behind torchrun and srun, whose variables are set then."""
    (tmp_path / "my.csv").write_text("a,price\n1,2\n")
    monkeypatch.chdir(tmp_path)
    launcher, _, rest = command.partition("-m src.")
    verb, *overrides = shlex.split(rest, comments=True)
    assert re.match(r"python |torchrun --nproc_per_node=2 |srun --nodes=2 python ", launcher)
    if "srun" in launcher:
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
    function = getattr(importlib.import_module(f"src.{verb}"), verb, None)
    if overrides == ["--help"]:
        assert shell.help_text() if verb == "train" else function.__doc__
    elif verb == "train":
        if overrides[0].startswith("sweep_resume="):  # its sweep has the overrides: tests/test_multirun.py
            return
        words = [word for word in overrides if word != "--multirun"]
        n_jobs, _ = check(spelled(words), "--multirun" in overrides)
        assert (n_jobs > 1) == ("--multirun" in overrides)
    else:
        bound = shell.read(function, overrides)
        assert check(list(bound.arguments.get("changes", ())))  # of a replay


@pytest.mark.parametrize("command", [line for line in LINES if "python benchmarks/" in line])
def test_benchmark_exists(command):
    assert (CHECKOUT / re.search(r"python (benchmarks/\w+\.py)", command)[1]).is_file()


def test_the_verbs_are_listed():
    done = forks.call("src")
    listed = re.findall(r"^  (\w+) +\w", done.stdout, re.MULTILINE)
    assert "python -m src" in [line.partition("#")[0].strip() for line in LINES]
    assert sorted(listed) == sorted(shell.verbs())


@pytest.mark.parametrize("command", MAKES)
def test_make_knows_the_target_and_its_words_compose(command):
    _, target, *arguments = shlex.split(command, comments=True)
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    for overrides in (word.removeprefix("ARGS=") for word in arguments if word.startswith("ARGS=")):
        assert target in ("test", "torture") or check(overrides.split())[0] == 1


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_python_runs(block, outputs, monkeypatch):
    """In an empty folder of runs, so that the run is t1; without trackers, whose stores take ten seconds."""
    monkeypatch.setattr(fanout, "TRACKERS", {})
    shutil.rmtree(outputs / "runs", ignore_errors=True)
    linecache.cache["<cell>"] = (len(block), None, block.splitlines(True), "<cell>")  # as IPython does
    df = wine.read({}).drop(columns="target").assign(age=range(178))
    exec(compile(block, "<cell>", "exec"), {"__name__": "__main__", "df": df})
    if "fit(" not in block:
        return
    assert set(runs()["status"]) == {"done"}
    table = README.partition("A run's folder")[2].split("\n\n")[1]
    files = re.findall(r"`([\w./]+)`", " ".join(line.split("|")[1] for line in table.splitlines()))
    assert len(files) > 9 and [name for name in files if not (outputs / "runs/t1" / name).exists()] == []


PLAIN = "".join(block for kind, block in BLOCKS if not kind)
TREE = re.findall(r"(?:^|; )(src/[\w./]+)", PLAIN, re.MULTILINE)
PATHS = named_in(ALL_CODE, r"\b(?:src|conf|tests|benchmarks|notebooks)/[\w./]*")


@pytest.mark.parametrize("path", sorted({*TREE, *PATHS}))
def test_path_exists(path):
    assert (CHECKOUT / path).exists()


def test_the_tree_is_the_tree():
    """Every verb and every room stands in it, once, and nothing else."""
    rooms = [f"src/{path.parent.name}/" for path in (CHECKOUT / "src").glob("*/__init__.py")]
    assert sorted(TREE) == sorted([*rooms, *(f"src/{verb}.py" for verb in shell.verbs())])


def test_the_floors_are_those_that_the_tests_know():
    from test_imports import ROOMS

    floors = dict(re.findall(r"^\| (\d) \| (.*) \|$", CONTRIBUTING, re.MULTILINE))
    del floors["7"]
    found = {room: int(floor) for floor, rooms in floors.items() for room in re.findall(r"`(\w+)`", rooms)}
    assert found == {room: floor for room, floor in ROOMS.items() if room != "verbs"}


def test_the_readme_is_at_most_250_lines():
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("group", ["dataset", "model", "logger"])
def test_every_choice_is_named_and_every_name_is_a_choice(group):
    known = {name for name in choices(group) if name != "frame"}
    assert known <= {word for span in CODE for word in re.findall(r"\w+", span)}
    assert {name for name in named_in(CODE, rf"(?<!fit\(){group}=(\w+)")} <= known


def test_every_key_in_the_text_is_a_key():
    """`dataset.test_size`, `model.classifier.C=10`, ...: the key is in a yaml of its section."""
    dotted = named_in(ALL_CODE, r"^((?:dataset|model|trainer|logger)\.[\w.]+)")
    text = {group: "".join(path.read_text() for path in (CONF / group).glob("*.yaml")) for group in GROUPS}
    assert len(dotted) > 5
    for key in dotted:
        section, *_, last = key.split(".")
        assert re.search(rf"\b{last}:", text[section]), key

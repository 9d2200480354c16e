"""README.md and the Makefile: every command composes, every block of Python runs, every path and name exists."""

import linecache
import re
import shlex
import shutil

import pytest
from conftest import CHECKOUT
from omegaconf import OmegaConf

from src import runs
from src.config import shell
from src.config.check import check
from src.config.tree import CONF, GROUPS, choices
from src.dataset import wine
from src.run import folder

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
CODE = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)]
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.replace("\\\n", " ").splitlines()]
COMMANDS += [span for span in CODE if span.startswith("python -m")]
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
MAKES = [line.lstrip("# ") for line in (*COMMANDS, *MAKEFILE.splitlines()) if re.match(r"(# )?make \w", line)]


def named_in(pattern: str) -> list[str]:
    """What ``pattern`` finds in code within the text, without what stands for a reader's own."""
    found = [name for span in CODE for name in re.findall(pattern, span)]
    return sorted({name for name in found if "mine" not in name and "my" not in name})


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("python -m src.")])
def test_command_composes(command):
    verb, *words = shlex.split(command.removeprefix("python -m src."), comments=True)
    assert (CHECKOUT / f"src/{verb}.py").is_file()
    if verb != "train":
        own = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"))
        assert shell.verb(verb, [word for word in words if word.partition("=")[0] in own])
        assert check([word for word in words if word.partition("=")[0] not in own])  # a replay's change
    elif words != ["--help"]:
        n_jobs, _ = check([word for word in words if word != "--multirun"], "--multirun" in words)
        assert (n_jobs > 1) == ("--multirun" in words)


@pytest.mark.parametrize("command", MAKES)
def test_make_knows_the_target_and_its_words_compose(command):
    _, target, *arguments = shlex.split(command, comments=True)
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    for words in (word.removeprefix("ARGS=") for word in arguments if word.startswith("ARGS=")):
        assert check(words.split())[0] == 1


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_python_runs(block, outputs, monkeypatch):
    """In a place of its own, so that the run is t1; without trackers, which take ten seconds to make their stores."""
    monkeypatch.setattr(folder, "TRACKERS", {})
    shutil.rmtree(outputs / "runs", ignore_errors=True)
    linecache.cache["<cell>"] = (len(block), None, block.splitlines(True), "<cell>")  # as IPython does
    df = wine.read({}).drop(columns="target").assign(age=range(178))
    exec(compile(block, "<cell>", "exec"), {"__name__": "__main__", "df": df})
    if "fit(" not in block:
        return
    assert set(runs()["status"]) == {"done"}
    table = README.partition("A run's folder")[2].split("\n\n")[1]
    files = re.findall(r"`([\w./]+)`", " ".join(line.split("|")[1] for line in table.splitlines()))
    assert len(files) > 9
    assert [name for name in files if not (outputs / "runs/t1" / name).exists()] == [
        ".hydra/"
    ]  # the shell's runs have it


TREE = [line.split()[0] for kind, block in BLOCKS if not kind for line in block.splitlines() if re.match(r"\w+/", line)]


@pytest.mark.parametrize("path", sorted({*TREE, *named_in(r"\b(?:src|conf|tests|benchmarks|notebooks)/[\w./]*")}))
def test_path_exists(path):
    assert (CHECKOUT / path).exists()


def test_the_tree_was_found():
    assert "src/train.py" in TREE and len(TREE) > 5


@pytest.mark.parametrize("group", ["dataset", "model", "logger"])
def test_every_choice_is_named_and_every_name_is_a_choice(group):
    known = {name for name in choices(group) if name != "frame"}
    assert known <= {word for span in CODE for word in re.findall(r"\w+", span)}
    assert {name for name in named_in(rf"\b{group}=(\w+)")} <= known


def test_every_key_in_the_text_is_a_key():
    """`dataset.test_size`, `model.classifier.C=10`, ...: the section's key is in the yaml of one of its choices."""
    dotted = named_in(r"^((?:dataset|model|trainer|logger)\.[\w.]+)")
    text = {
        group: "".join(path.read_text() for path in (CONF / group).glob("*.yaml")) for group in GROUPS
    }
    assert len(dotted) > 5
    assert [key for key in dotted if not re.search(rf"\b{key.split('.')[-1]}:", text[key.split(".")[0]])] == []

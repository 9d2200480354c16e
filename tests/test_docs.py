"""docs/*.md: every command is one that its verb takes, every file that is named exists."""

import importlib
import re
import shlex
import subprocess

import pytest
from conftest import CHECKOUT

from src.config import shell
from src.config.check import check
from src.config.typed import spelled

DOCS = sorted((CHECKOUT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    pytest.param(line, id=f"{path.stem}: {line[:60]}")
    for path in DOCS
    for block in BLOCK.findall(path.read_text(encoding="utf-8"))
    for line in block.replace("\\\n", " ").splitlines()
    if "-m src." in line and "=..." not in line and path.stem != "adding"  # tests/test_adding.py runs those
]
FILES = ("reads.fa", "reads.fa.gz", "my.csv", "my.tsv", "genome.fa", "peaks.bed", "labels.csv", "reviews.tsv")


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_taken(line, monkeypatch, tmp_path):
    """Overrides of train are checked as train itself checks them, words of a verb are read by it."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text(">a label=x\nACGT\n" if ".fa" in name else "a,price\n1,2\n")
    command = re.split(r" [|<>] ", line.partition("-m src.")[2])[0]
    verb, *words = shlex.split(command, comments=True)
    if verb != "train":
        function = getattr(importlib.import_module(f"src.{verb}"), verb)
        assert words == ["--help"] or shell.read(function, words).arguments is not None
        return
    multirun = {"-m", "--multirun"} & {*words}
    words = [word for word in words if word not in ("-m", "--multirun", "--cfg", "job")]
    if not any(word.startswith("sweep_resume=") for word in words):
        check(spelled(words, bool(multirun)), bool(multirun))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_what_it_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|conf|tests|benchmarks|notebooks|docs)/[\w./]+\w)`", text)
    named = [name for name in named if not re.search("mine|/my", name)]
    assert [name for name in named if not (CHECKOUT / name).exists()] == []
    assert text.startswith("# ") and text.count("```") % 2 == 0


def test_readme_names_every_page():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS if f"docs/{path.name}" not in readme] == []


@pytest.mark.slow
def test_make_docs_has_a_page_of_every_module(tmp_path):
    """No module needs an import that is not there; a page holds the docstrings."""
    planned = subprocess.run(["make", "-n", "docs"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    command = planned.stdout.splitlines()[-1].replace("outputs/api", str(tmp_path))
    done = subprocess.run(shlex.split(command), cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(CHECKOUT).with_suffix("") for path in (CHECKOUT / "src").glob("*/*.py")}
    names = {name.parent if name.name == "__init__" else name for name in names}
    assert len(names) > 100 and [name for name in names if not (tmp_path / f"{name}.html").is_file()] == []
    assert "Return the resolved config of one run" in (tmp_path / "src/config/compose.html").read_text()

"""The command ``reprise``: the same verbs, and what bash completes."""

import os
import subprocess
import sys

import pytest
from conftest import CHECKOUT

from src.config.completion import BASH, candidates
from src.config.shell import verbs
from src.config.tree import choices


def reprise(*words: str, cwd=CHECKOUT, **environment: str) -> subprocess.CompletedProcess:
    """Call the command that ``pip install`` makes, which needs no certain directory."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)} | environment
    command = [sys.executable, "-c", "from src.__main__ import main; main()", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


def test_it_lists_the_verbs_and_runs_them(tmp_path):
    listed = reprise(cwd=tmp_path).stdout
    assert all(f"  {name} " in listed for name in verbs())
    words = ("train", "model=linear", "dataset=iris", "logger=csv", "pictures=false")
    done = reprise(*words, cwd=tmp_path, OUTPUTS_DIR=str(tmp_path))
    assert done.returncode == 0 and "t1   linear on iris" in done.stdout, done.stdout + done.stderr
    wrong = reprise("trian", cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr == "error: no verb trian: did you mean train?\n"
    assert reprise("diff", "--help").stdout.startswith("Show two runs side by side")


@pytest.fixture
def named(tmp_path, monkeypatch):
    for name in ("runs/t1", "runs/t2", "runs/.t3.part", "sweeps/s1"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("reprise le", ["leaderboard"]),
        ("reprise train dataset.spl", ["dataset.split=", "dataset.split_by=", "dataset.split_seed="]),
        ("reprise train dataset=wi", ["dataset=wine"]),
        ("reprise train trainer.max_e", ["trainer.max_epochs="]),
        ("reprise train model=mlp see", ["seed="]),
        ("reprise predict inp", ["input="]),
        ("reprise predict run=", ["run=t1", "run=t2"]),
        ("reprise diff runs=t1,", ["runs=t1,t2"]),
        ("reprise leaderboard sweep=", ["sweep=s1"]),
        ("reprise nothing x", []),
        ("reprise etl dataset=x", []),
    ],
)
def test_candidates(named, line, found):
    assert candidates(line) == found


def test_all_models_are_offered(named):
    assert candidates("reprise train model=") == [f"model={name}" for name in sorted(choices("model"))]


def test_bash_completes_behind_an_equals_sign(named, tmp_path):
    """Bash itself takes = for the end of a word, so only what follows it may be returned."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "reprise"
    command.write_text(f"#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m src \"$@\"\n")
    command.chmod(0o755)
    for line, found in (("reprise predict run=", "t1 t2"), ("reprise le", "leaderboard")):
        script = f"{BASH}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}; _reprise; echo ${{COMPREPLY[@]}}"
        path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", script], env=os.environ | path, capture_output=True, text=True)
        assert done.stdout.strip() == found, done.stderr

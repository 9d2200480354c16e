"""``--multirun``: every job is a run, also in the trackers, below one parent; a failed job stops no other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT

from src import load, runs
from src.logger.wandb import records
from src.run.overview import runs_of

SWEEP = ("--multirun", "model=mlp,hist_gb", "dataset=wine", "seed=0,1", "trainer.max_epochs=2")


def train(*overrides: str, **environment: str) -> subprocess.CompletedProcess:
    """stdout and stderr as one text, in the order in which a person would see them."""
    command = [sys.executable, "-u", "-m", "src.train", *overrides]
    return subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | environment, text=True, timeout=280,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def assert_one_tree(sweep: str, names: list[str]):
    """Assert one closed parent run with the jobs below it in MLflow, and one finished run a job in W&B."""
    from mlflow import MlflowClient

    from src.logger.mlflow import uri

    client = MlflowClient(tracking_uri=uri())
    reports = {name: load(name).report for name in names}
    (parent,) = {report["parent"] for report in reports.values()}
    assert client.get_run(parent).info.status != "RUNNING"
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(child.info.run_name for child in children) == sorted(names)
    closed = {child.info.run_name: child.info.status for child in children}
    assert closed == {name: "FINISHED" if reports[name]["status"] == "done" else "FAILED" for name in names}
    folders = {Path(load(name).trackers["wandb"]["folders"][-1]) for name in reports}
    assert len(folders) == len(names)
    assert all(len(records(folder)["exit"]) == 1 for folder in folders)
    assert {report["sweep"] for report in reports.values()} == {sweep}


def assert_all_four(names: list[str]):
    """Assert that the four jobs of `SWEEP` are done, in any order."""
    assert len(names) == 4
    done = {(run.cfg["model"]["name"], run.cfg["seed"]) for run in map(load, names) if run.status == "done"}
    assert done == {(model, seed) for model in ("mlp", "hist_gb") for seed in (0, 1)}
    for run in map(load, names):
        assert (run.folder / "log.txt").read_text().count(f"{run.name}   ") == 1, "a log of this job alone"
        assert (run.folder / "DONE").is_file()


@pytest.fixture(scope="module")
def basic(outputs):
    done = train(*SWEEP)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_job_is_a_run_of_its_own(basic, outputs):
    assert_all_four(runs_of("s1"))
    assert_one_tree("s1", ["t1", "t2", "t3", "t4"])


def test_the_end_of_a_sweep_names_its_jobs(basic):
    end = basic.rpartition("s1:")[2]
    for name in ("t1", "t2", "t3", "t4"):
        value = f"{load(name).objective:.4f}"
        assert re.search(rf"{name} +done +val/accuracy {value} ", end), end


@pytest.mark.slow
def test_jobs_side_by_side(basic, outputs):
    done = train(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stdout
    assert_all_four(runs_of("s2"))
    assert_one_tree("s2", runs_of("s2"))


METRICS = """
def breaks(y, p):
    raise ZeroDivisionError("within")
"""


def test_failing_jobs_leave_the_others_done(outputs, tmp_path):
    """A user's error (f1_binary of three classes) and an exception are shown before the next job starts."""
    (tmp_path / "my_metrics.py").write_text(METRICS)
    overrides = ("metric=f1_binary,my_metrics.breaks", "metric_mode=max", "dataset=wine,breast_cancer")
    done = train("--multirun", "model=linear", *overrides, PYTHONPATH=str(tmp_path))
    sweep = runs()["sweep"].iloc[-1]
    names = runs_of(sweep)
    assert done.returncode == 1
    assert [load(name).status for name in names] == ["failed", "done", "failed", "failed"]
    assert_one_tree(sweep, names)
    shown = done.stdout
    assert shown.index(f"error: {names[0]}: metric=f1_binary") < shown.index(f"{names[1]}   linear on")
    assert "ZeroDivisionError: within" in load(names[2]).report["error"]
    assert done.stdout.index("ZeroDivisionError: within") < done.stdout.index(f"{names[3]}   linear on")


def test_overrides_of_all_jobs_are_checked_before_the_first_begins(outputs):
    before = len(runs())
    done = train("--multirun", "model=linear,mlp", "hydra/launcher=joblib", "hydra.launcher.n_jobs=two")
    assert done.returncode == 2 and "n_jobs=two" in done.stdout and "converted to Integer" in done.stdout
    done = train("--multirun", "model=linear,mpl", "dataset=wine")
    assert done.returncode == 2 and "did you mean mlp" in done.stdout
    assert len(runs()) == before and len(list((outputs / "runs").iterdir())) == before

"""Two devices: two processes train as one does, leave one record, and one that dies ends the run with its reason."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text, until

from src import fit, load, runs
from src.logger.csv import read as read_csv
from src.logger.wandb import records
from src.run.folder import runs_folder
from src.run.overview import runs_of
from src.system.errors import UserError
from src.system.paths import versions_in

BASE = ("trainer.accelerator=cpu", "model.patience=null", "threads=1")
TWO = ("trainer.devices=2",)
TABLE = ("model=mlp", "dataset.target=y", "dataset.weight=w", "model.net.dropout=0", "trainer.max_epochs=5")
TEXT = ("model=cnn", "dataset.target=label", "dataset.text=[sentence]", "model.net.dropout=0", "trainer.max_epochs=4")
TEXT += ("model.net.token_dropout=0",)


def table(task: str = "binary"):
    """Rows with weights of their own."""
    return tiny_table(task).assign(w=np.random.default_rng(1).uniform(0.1, 3, 240))


def weights(run) -> dict:
    return torch.load(run.folder / "model" / f"model_{run.name}.pt", weights_only=True)


def assert_close(run, other, limit=1e-5):
    """Every epoch's metrics and the final weights; ``limit`` 0 means bit for bit."""
    assert run.status == other.status == "done" and len(run.history) == len(other.history) > 1
    for row, theirs in zip(run.history, other.history, strict=True):
        assert row.keys() == theirs.keys()
        for name in row:
            assert np.isclose(row[name], theirs[name], rtol=0, atol=limit, equal_nan=True), (row["epoch"], name)
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], rtol=0, atol=limit), name


def of(folder) -> list[str]:
    """What is in a run's folder, but for what is called by the run's name."""
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_train_as_one(outputs):
    """From a notebook, with weights; the last batch has one row, so that one process gets none of it."""
    one, two = (fit(*BASE, *TABLE, "model.batch_size=54", *QUIET, *more, data=table()) for more in ((), TWO))
    n_train = 240 - len(two.predictions["val_id"]) - len(two.predictions["test_id"])
    assert n_train % 54 == 1, "choose a batch size that leaves one row over"
    assert_close(two, one)
    for name, values in one.predictions.items():
        theirs = two.predictions[name]
        assert np.array_equal(values, theirs) or np.allclose(values, theirs, rtol=0, atol=1e-5), name
    assert of(two.folder) == of(one.folder), "only rank 0 writes, and what ranks share is gone"
    assert versions_in(runs_folder(), "t") == [1, 2], "one run folder each"
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "frame"),
    [
        ((*TEXT, "model.batch_size=27"), tiny_text()),
        ((*TABLE, "model.batch_size=32"), table("regression")),
        ((*TABLE, "model.batch_size=32", "model.schedule=cosine", "model.warmup=0.1", "model.ema=0.9"), table()),
        (
            (*TABLE, "model.batch_size=41", "class_weight=balanced", "trainer.gradient_clip_val=0.5"),
            table("multiclass"),
        ),
    ],
    ids=["text", "regression", "schedule", "clipped"],
)
def test_other_words_train_as_one(outputs, words, frame):
    assert_close(*(fit(*BASE, *words, *QUIET, *more, data=frame) for more in (TWO, ())))


@pytest.mark.slow
def test_dropout_makes_another_run(outputs):
    """What makes the comparisons above mean something: a history is not the same whatever happens."""
    words = (*BASE, *TABLE, *QUIET, *TWO)
    one, two = (fit(*words, f"model.net.dropout={share}", data=table()) for share in (0, 0.5))
    assert abs(one.history[-1]["val/loss"] - two.history[-1]["val/loss"]) > 1e-4


@pytest.mark.slow
def test_trackers_hold_one_run(outputs):
    from test_trackers import mlflow_client, mlflow_run

    run = fit(*BASE, *TABLE, *TWO, "logger=all", "logger.project=one_of_two", data=table())
    stored = mlflow_run(run)
    (only,) = mlflow_client().search_runs([stored.info.experiment_id])
    assert only.info.run_id == stored.info.run_id and stored.info.status == "FINISHED"
    curve = mlflow_client().get_metric_history(only.info.run_id, "val/loss")
    assert sorted((entry.step, entry.value) for entry in curve) == [(r["epoch"], r["val/loss"]) for r in run.history]
    assert len(list((outputs / "wandb").glob("offline-run-*"))) == 1
    history = records(run.trackers["wandb"]["folders"][-1])["history"]
    assert [row.step.num for row in history] == [row["epoch"] for row in run.history]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["names that are numbers", "cells of mixed types", "a named index"])
def test_any_frame_reaches_the_other_process(outputs, change):
    frame = table()
    if change == "names that are numbers":
        frame = frame.rename(columns={"a": 0, "b": 1})
    elif change == "cells of mixed types":
        frame["mixed"] = [1, "x", None, 2.5] * 60
    else:
        frame = frame.set_index(frame["colour"].rename("colour"))
    words = (*BASE, *TABLE, *QUIET)
    assert_close(*(fit(*words, *more, data=frame) for more in (TWO, ())))


@pytest.mark.slow
def test_jobs_of_a_multirun_may_have_two_devices(shell, outputs):
    words = ("dataset=iris", "model=mlp", "model.net.dropout=0", "trainer.max_epochs=3", *QUIET, "seed=0,1")
    done = shell("train", "--multirun", *BASE, *words, *TWO)
    assert done.returncode == 0, done.stderr
    names = runs_of(load(runs().index[-1]).report["sweep"])
    assert [load(name).status for name in names] == ["done", "done"]
    for seed, name in enumerate(names):
        assert_close(load(name), fit(*BASE, *words[:-1], f"seed={seed}"))


# -- a process that dies

DIES = """
import os, time

def fn(y, p):
    if os.environ.get("LOCAL_RANK") == "1" and WHEN <= len(calls):
        raise RuntimeError("the disk is full")
    calls.append(1)
    time.sleep(PAUSE)
    return 0.5

calls = []
if WHEN < 0 and os.environ.get("LOCAL_RANK") == "1":
    raise RuntimeError("the disk is full")
"""


def start(folder, *words: str, when: int = 999, pause: float = 0.0) -> subprocess.Popen:
    """A run on two devices with a metric that fails on rank 1 at its call number ``when`` (-1: as it is imported)."""
    (folder / "dies.py").write_text(DIES.replace("WHEN", str(when)).replace("PAUSE", str(pause)))
    command = [sys.executable, "-m", "src.train", *BASE, *TWO, "model=mlp", "dataset=digits", *words]
    return subprocess.Popen(
        [*command, "metric=dies.fn", "metric_mode=max"], cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def next_run():
    """The folder that the next run will have."""
    return runs_folder() / f"t{max([0, *versions_in(runs_folder(), 't')]) + 1}"


def follower(process) -> int:
    """The process id of rank 1."""
    listed = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "src.trainer.ranks"], capture_output=True, text=True)
    return int(listed.stdout.split()[0]) if listed.stdout.strip() else 0


def assert_ended_with(process, folder, *reasons: str):
    """One sentence on stderr that names the rank and its reason, within a minute; the record says the same."""
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"it still waits for rank 1: {process.communicate()}") from None
    run = load(folder.name)
    assert process.returncode not in (0, None) and run.status == "failed" and not (folder / "DONE").exists()
    assert "rank 1" in run.report["error"] and "\n" not in run.report["error"]
    assert all(reason in run.report["error"] for reason in reasons), run.report["error"]
    assert run.report["error"] in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("when", [-1, 0, 3], ids=["as it starts", "in its first epoch", "later"])
def test_a_process_that_fails_ends_the_run_with_its_reason(outputs, tmp_path, when):
    folder = next_run()
    process = start(tmp_path, "trainer.max_epochs=200", *QUIET, when=when)
    until(lambda: follower(process))
    # what it takes to load Python's libraries does not count
    until(lambda: process.poll() is not None or "RuntimeError" in (folder / "rank_1.txt").read_text())
    assert_ended_with(process, folder, "RuntimeError: the disk is full")


NET = """
import os, signal
from src.model.mlp import MLP

class Dies(MLP):
    def __init__(self, *args, **words):
        super().__init__(*args, **words)
        if os.environ.get("LOCAL_RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_that_dies_before_they_meet_ends_the_run(outputs, tmp_path):
    """The data are read, the net is there: rank 0 must not wait for it as long as torch does, half an hour."""
    (tmp_path / "nets.py").write_text(NET)
    folder = next_run()
    process = start(tmp_path, "model.net.class=nets.Dies", "trainer.max_epochs=2", *QUIET)
    assert_ended_with(process, folder, "signal 9")


@pytest.mark.slow
@pytest.mark.parametrize("n_epochs", [0, 2], ids=["as it starts", "later"])
def test_a_process_that_is_killed_ends_the_run_with_its_signal(outputs, tmp_path, n_epochs):
    folder = next_run()
    process = start(tmp_path, "trainer.max_epochs=500", *QUIET, pause=0.05)
    pid = until(lambda: follower(process))
    until(lambda: len(read_csv(folder / "metrics.csv")) >= n_epochs)
    os.kill(pid, signal.SIGKILL)
    assert_ended_with(process, folder, "signal 9")


@pytest.mark.slow
def test_two_killed_processes_resume_to_the_straight_run(outputs, tmp_path, monkeypatch):
    words = ("trainer.max_epochs=12", *QUIET, "model.net.dropout=0.3", "model.ema=0.9", "model.schedule=cosine")
    folder = next_run()
    process = start(tmp_path, *words)
    assert process.wait(200) == 0, process.stderr.read()
    straight, folder = load(folder.name), next_run()
    process = start(tmp_path, *words, pause=0.1)
    until(lambda: len(read_csv(folder / "metrics.csv")) >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    assert load(folder.name).status == "killed" and len(load(folder.name).history) < 12
    done = subprocess.run(
        [sys.executable, "-m", "src.resume", f"run={folder.name}"], cwd=CHECKOUT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_close(load(folder.name), straight, limit=0)
    assert of(folder) == of(straight.folder)


@pytest.mark.slow
def test_the_other_process_goes_when_the_first_is_killed(outputs, tmp_path):
    """Or it would wait on for ever, and hold its memory."""
    process = start(tmp_path, "trainer.max_epochs=500", *QUIET, pause=0.05)
    pid, folder = until(lambda: follower(process)), runs_folder() / runs().index[-1]
    until(lambda: len(read_csv(folder / "metrics.csv")) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    try:
        until(lambda: not os.path.exists(f"/proc/{pid}"), 60)
    finally:
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_one_process_that_fails_by_itself_says_so(outputs):
    """A mistake that both make is told as on one device."""
    with pytest.raises(UserError, match="Trainer refuses"):
        fit(*BASE, *TABLE, *TWO, *QUIET, "trainer.accelerator=mps", data=table())
    assert runs().iloc[-1]["status"] == "failed"

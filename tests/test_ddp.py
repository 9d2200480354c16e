"""One run on several devices or nodes: ranks train as one process does and leave one record.

A rank that dies ends the run with its reason. Ranks are started by Reprise, by torchrun, or with the
variables that srun sets.
"""

import os
import re
import signal
import socket
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
from src.study.sweep import results
from src.system.errors import UserError
from src.system.paths import versions_in

BASE = ("trainer.accelerator=cpu", "model.patience=null", "threads=1")
TWO = ("trainer.devices=2",)
TABLE = ("model=mlp", "dataset.target=y", "dataset.weight=w", "model.net.dropout=0", "trainer.max_epochs=5")
TEXT = ("model=cnn", "dataset.target=label", "dataset.text=[sentence]", "model.net.dropout=0")
TEXT += ("trainer.max_epochs=4",)
TEXT += ("model.net.token_dropout=0",)


def table(task: str = "binary"):
    """Rows with weights of their own."""
    return tiny_table(task).assign(w=np.random.default_rng(1).uniform(0.1, 3, 240))


def weights(run) -> dict:
    return torch.load(run.folder / "model" / f"model_{run.name}.pt", weights_only=True)


def assert_close(run, other, limit=1e-5):
    """Every epoch's metrics and the final weights; ``limit`` 0 means bit for bit."""
    assert run.status == other.status == "done" and len(run.rows) == len(other.rows) > 1
    for row, theirs in zip(run.rows, other.rows, strict=True):
        assert row.keys() == theirs.keys()
        for name in row:
            close = np.isclose(row[name], theirs[name], rtol=0, atol=limit, equal_nan=True)
            assert close, (row["epoch"], name)
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
    n_train = 240 - len(two.arrays["val_id"]) - len(two.arrays["test_id"])
    assert n_train % 54 == 1, "choose a batch size that leaves one row over"
    assert_close(two, one)
    for name, values in one.arrays.items():
        theirs = two.arrays[name]
        assert np.array_equal(values, theirs) or np.allclose(values, theirs, rtol=0, atol=1e-5), name
    assert of(two.folder) == of(one.folder), "what ranks shared is gone"
    assert versions_in(runs_folder(), "t") == [1, 2], "one run folder each"
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "frame"),
    [
        ((*TEXT, "model.batch_size=27"), tiny_text()),
        ((*TABLE, "model.batch_size=32"), table("regression")),
        (
            (*TABLE, "model.batch_size=32", "model.schedule=cosine", "model.warmup=0.1", "model.ema=0.9"),
            table(),
        ),
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
    assert abs(one.rows[-1]["val/loss"] - two.rows[-1]["val/loss"]) > 1e-4


@pytest.mark.slow
def test_trackers_hold_one_run(outputs):
    from test_trackers import mlflow_client, mlflow_run

    run = fit(*BASE, *TABLE, *TWO, "logger=all", "logger.project=one_of_two", data=table())
    stored = mlflow_run(run)
    (only,) = mlflow_client().search_runs([stored.info.experiment_id])
    assert only.info.run_id == stored.info.run_id and stored.info.status == "FINISHED"
    curve = mlflow_client().get_metric_history(only.info.run_id, "val/loss")
    values = sorted((entry.step, entry.value) for entry in curve)
    assert values == [(row["epoch"], row["val/loss"]) for row in run.rows]
    assert len(list((outputs / "wandb").glob("offline-run-*"))) == 1
    history = records(run.trackers["wandb"]["folders"][-1])["history"]
    assert [row.step.num for row in history] == [row["epoch"] for row in run.rows]


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
    names = [*results(load(runs().index[-1]).report["sweep"])["run"]]
    assert [load(name).status for name in names] == ["done", "done"]
    for seed, name in enumerate(names):
        assert_close(load(name), fit(*BASE, *words[:-1], f"seed={seed}"))


# -- ranks that a launcher starts


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options]


def together(commands: list[list[str]], variables: list[dict], seconds: float = 200) -> list[tuple]:
    """Run commands side by side to their ends: [(exit code, stdout, stderr)]."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    processes = [
        subprocess.Popen(command, cwd=CHECKOUT, env=os.environ | more, **pipes)
        for command, more in zip(commands, variables, strict=True)
    ]
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


ONE = ("dataset=iris", "model=mlp", "model.net.dropout=0", "trainer.max_epochs=4", *BASE, *QUIET)


@pytest.fixture(scope="module")
def alone(outputs):
    """The run that one process makes."""
    return fit(*ONE)


@pytest.mark.slow
def test_torchrun_trains_one_run(outputs, alone):
    name = next_run().name
    command = [*torchrun("--standalone", "--nproc_per_node=2"), "-m", "src.train", *ONE, *TWO]
    ((code, said, errors),) = together([command], [{}])
    assert code == 0, errors
    assert_close(load(name), alone)
    assert not next_run().exists() and of(load(name).folder) == of(alone.folder), "only rank 0 makes a run"
    assert said.count("epoch    4") == 1 and said.count(f"outputs/runs/{name}") <= 1, "only rank 0 talks"


@pytest.mark.slow
def test_two_nodes_of_torchrun_train_one_run(outputs, alone, tmp_path):
    """Two agents, as on two machines; the second node does not share the first one's outputs."""
    name, port = next_run().name, free_port()
    nodes = [
        [
            *torchrun("--nnodes=2", f"--node_rank={i}", "--nproc_per_node=1", "--master_addr=127.0.0.1"),
            f"--master_port={port}", "-m", "src.train", *ONE, "trainer.num_nodes=2",
        ]
        for i in range(2)
    ]  # fmt: skip
    ended = together(nodes, [{}, {"OUTPUTS_DIR": str(tmp_path / "elsewhere")}])
    assert [code for code, *_ in ended] == [0, 0], ended
    assert_close(load(name), alone)
    assert not (tmp_path / "elsewhere" / "runs").exists()


def of_slurm(job: int, i: int) -> dict:
    """Return what srun sets for task ``i`` of two tasks on two nodes.

    Lightning's port is 15000 + the job's last four digits.
    """
    names = ("JOB_ID", "NTASKS", "PROCID", "LOCALID", "NODEID", "NNODES", "NTASKS_PER_NODE", "STEP_ID")
    numbers = (job, 2, i, 0, i, 2, 1, 0)
    texts = {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1", "SLURM_STEP_NODELIST": "127.0.0.1"}
    return texts | {f"SLURM_{name}": str(number) for name, number in zip(names, numbers, strict=True)}


@pytest.mark.slow
def test_two_nodes_of_srun_train_one_run(outputs, alone):
    name, job = next_run().name, 10_000 + os.getpid() % 4000
    command = [sys.executable, "-m", "src.train", *ONE, "trainer.num_nodes=2"]
    ended = together([command, command], [of_slurm(job, i) for i in range(2)])
    assert [code for code, *_ in ended] == [0, 0], ended
    assert_close(load(name), alone)
    assert not next_run().exists()


@pytest.mark.slow
def test_a_launched_run_resumes(outputs, tmp_path):
    """Killed whole, then `torchrun -m src.resume`; ranks of both tries end as the straight run."""
    words = (*ONE, *TWO, "trainer.max_epochs=12", "model.net.dropout=0.3", "model.ema=0.9")
    straight = fit(*words)
    (tmp_path / "slow.py").write_text(DIES.replace("WHEN", "999").replace("PAUSE", "0.2"))
    folder = next_run()
    slow = ("metric=slow.fn", "metric_mode=max")
    variables = os.environ | {"PYTHONPATH": str(tmp_path)}
    launch = torchrun("--standalone", "--nproc_per_node=2")
    process = subprocess.Popen(
        [*launch, "-m", "src.train", *words, *slow], cwd=CHECKOUT, env=variables, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: len(read_csv(folder / "metrics.csv")) >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    # torchrun gives ranks a session each
    subprocess.run(["pkill", "-9", "-f", "metric=slow.fn"], check=False)
    until(lambda: load(folder.name).status == "killed")
    ((code, _, errors),) = together(
        [[*launch, "-m", "src.resume", f"run={folder.name}"]], [{"PYTHONPATH": str(tmp_path)}]
    )
    assert code == 0, errors
    resumed = load(folder.name)
    assert resumed.status == "done" and len(resumed.rows) == 12
    losses = [[row["train/loss"] for row in run.rows] for run in (resumed, straight)]
    assert np.allclose(*losses, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["an error", "a signal", "before they meet"])
def test_a_rank_of_torchrun_that_dies_ends_the_run_with_its_reason(outputs, tmp_path, how):
    folder = next_run()
    code = DIES.replace("WHEN", "2" if how == "an error" else "999").replace("PAUSE", "0.1")
    (tmp_path / "dies.py").write_text(code)
    (tmp_path / "nets.py").write_text(NET)
    words = [*ONE, *TWO, "trainer.max_epochs=500", "metric=dies.fn", "metric_mode=max"]
    words += ["model.net.class=nets.Dies"] if how == "before they meet" else []
    process = subprocess.Popen(
        [*torchrun("--standalone", "--nproc_per_node=2"), "-m", "src.train", *words], cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    if how == "a signal":
        until(lambda: len(read_csv(folder / "metrics.csv")) >= 2)
        own = load(folder.name).report["pid"]
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        ranks = children.stdout.split()
        os.kill(next(int(pid) for pid in ranks if int(pid) != own), signal.SIGKILL)
    process.communicate(timeout=120)
    report = load(folder.name).report
    assert process.returncode != 0 and report["status"] == "failed" and not (folder / "DONE").exists()
    reason = "rank 1 died: " if how == "an error" else "another rank is gone"
    assert reason in report["error"] and ("the disk is full" in report["error"]) == (how == "an error")
    assert "\n" not in report["error"]


def test_nodes_without_a_launcher_are_refused(outputs):
    before = next_run()
    with pytest.raises(UserError, match=r"torchrun --nnodes=2 .* srun python -m src\.train"):
        fit(*ONE, "trainer.num_nodes=2")
    assert next_run() == before, "no number was given"


@pytest.mark.parametrize(
    "variables", [{"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "RANK": "0"}, of_slurm(1, 0)]
)
def test_another_number_of_ranks_than_the_launcher_started_is_refused(outputs, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = next_run()
    refused = "started 2 ranks, but trainer.devices=1 and trainer.num_nodes=1 ask for 1"
    with pytest.raises(UserError, match=re.escape(refused)):
        fit(*ONE)
    assert next_run() == before


def test_a_sweep_in_ranks_is_refused(shell, monkeypatch):
    """Each rank would sweep."""
    for name, value in of_slurm(1, 1).items():
        monkeypatch.setenv(name, value)
    done = shell("train", "--multirun", *ONE, "seed=0,1")
    assert done.returncode == 2 and "one run" in done.stderr and done.stderr.count("\n") == 1


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
    """A run on two devices with a metric that fails on rank 1 at its ``when``-th call (-1: at its import)."""
    (folder / "dies.py").write_text(DIES.replace("WHEN", str(when)).replace("PAUSE", str(pause)))
    command = [sys.executable, "-m", "src.train", *BASE, *TWO, "model=mlp", "dataset=digits", *words]
    return subprocess.Popen(
        [*command, "metric=dies.fn", "metric_mode=max"], cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def next_run():
    """The folder that the next run will have."""
    return runs_folder() / f"t{max([0, *versions_in(runs_folder(), 't')]) + 1}"


def follower(process) -> int:
    """The process id of rank 1, the second that the run's process has started; 0 before."""
    command = ["pgrep", "-P", str(process.pid), "-f", "src.trainer.rank"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return max(map(int, listed)) if len(listed) == 2 else 0


def assert_ended_with(process, folder, *reasons: str):
    """One sentence on stderr names the rank and its reason, within two minutes; the record says the same."""
    try:
        _, said = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"it still waits for rank 1: {process.communicate()}") from None
    run = load(folder.name)
    assert process.returncode not in (0, None) and run.status == "failed" and not (folder / "DONE").exists()
    assert "\n" not in run.report["error"]
    assert all(reason in run.report["error"] for reason in reasons), run.report["error"]
    assert run.report["error"] in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("when", [-1, 0, 3], ids=["as it starts", "in its first epoch", "later"])
def test_a_process_that_fails_ends_the_run_with_its_reason(outputs, tmp_path, when):
    """A metric that cannot be imported is the user's mistake, and told as on one device."""
    folder = next_run()
    process = start(tmp_path, "trainer.max_epochs=200", *QUIET, when=when)
    reasons = ("cannot be imported",) if when < 0 else ("rank 1 died", "RuntimeError")
    assert_ended_with(process, folder, *reasons, "the disk is full")


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
    """The data are read, the net is there: rank 0 must not wait half an hour for it, as torch does."""
    (tmp_path / "nets.py").write_text(NET)
    folder = next_run()
    process = start(tmp_path, "model.net.class=nets.Dies", "trainer.max_epochs=2", *QUIET)
    assert_ended_with(process, folder, "rank 1 died: signal 9")


@pytest.mark.slow
@pytest.mark.parametrize("n_epochs", [0, 2], ids=["as it starts", "later"])
def test_a_process_that_is_killed_ends_the_run_with_its_signal(outputs, tmp_path, n_epochs):
    folder = next_run()
    process = start(tmp_path, "trainer.max_epochs=500", *QUIET, pause=0.05)
    pid = until(lambda: follower(process))
    until(lambda: len(read_csv(folder / "metrics.csv")) >= n_epochs)
    os.kill(pid, signal.SIGKILL)
    assert_ended_with(process, folder, "rank 1 died: signal 9")


@pytest.mark.slow
def test_two_killed_processes_resume_to_the_straight_run(outputs, tmp_path, monkeypatch):
    words = ("trainer.max_epochs=12", *QUIET, "model.net.dropout=0.3", "model.ema=0.9")
    words += ("model.schedule=cosine",)
    folder = next_run()
    process = start(tmp_path, *words)
    assert process.wait(200) == 0, process.stderr.read()
    straight, folder = load(folder.name), next_run()
    process = start(tmp_path, *words, pause=0.1)
    until(lambda: len(read_csv(folder / "metrics.csv")) >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    assert load(folder.name).status == "killed" and len(load(folder.name).rows) < 12
    done = subprocess.run(
        [sys.executable, "-m", "src.resume", f"run={folder.name}"], cwd=CHECKOUT, capture_output=True,
        text=True,
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

"""A run killed at any moment, also while files are written or trackers close, resumes to the same bits."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import forks
import pytest
from conftest import CHECKOUT, assert_same, until

from src import load, runs
from src.logger import csv
from src.logger.wandb import records
from src.resume import resume
from src.run.folder import runs_folder
from src.system.errors import UserError
from src.system.files import read_json
from src.system.paths import versions_in

# all that a resume could lose: dropout, schedule, averaged weights, epochs without a better metric
OVERRIDES = (
    "dataset=digits", "model=mlp", "logger=all", "trainer.max_epochs=60", "model.patience=6",
    "model.net.dropout=0.3", "model.schedule=cosine", "model.warmup=0.1", "model.ema=0.98",
    "model.batch_size=128", "threads=1",
)  # fmt: skip
N_KILLS = 20
rng = random.Random(0)
SHARES = [(i + rng.random()) / N_KILLS for i in range(N_KILLS)]  # of the straight run's seconds


@pytest.fixture(scope="module")
def straight(outputs):
    """The undisturbed run, in a new process like the others."""
    assert forks.call("src.train", *OVERRIDES).returncode == 0
    run = load("t1")
    assert 20 < len(run.rows) < 60, "choose overrides with which training stops early"
    return run


def begin() -> tuple[subprocess.Popen, Path]:
    """A process that trains, and the folder of its run."""
    name = f"t{max([0, *versions_in(runs_folder(), 't')]) + 1}"
    return child("train", *OVERRIDES), runs_folder() / name


def child(verb: str, *overrides: str) -> subprocess.Popen:
    """Start a verb in a new session: wandb's helper must not keep our pipes open."""
    command = [sys.executable, "-m", f"src.{verb}", *overrides]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_when(process, moment, seconds: float = 150) -> None:
    """Kill the process as soon as ``moment()`` is true, unless it has ended."""
    end = time.monotonic() + seconds
    try:
        while process.poll() is None and not moment():
            assert time.monotonic() < end, "the moment never came"
            time.sleep(0.0002)
    finally:
        process.kill()
        process.wait(20)


def after(folder: Path, seconds: float):
    """A moment ``seconds`` after the run has written its first report."""
    began = []

    def moment() -> bool:
        if not began and (folder / "report.json").is_file():
            began.append(time.monotonic())
        return bool(began) and time.monotonic() - began[0] >= seconds

    return moment


def n_epochs(folder: Path, n: int):
    return lambda: len(csv.read(folder / "metrics.csv")) >= n


def assert_same_record(run, other):
    assert_same(run, other)
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in other.folder.iterdir()}


def mlflow_client():
    from mlflow import MlflowClient

    from src.logger.mlflow import uri

    return MlflowClient(tracking_uri=uri())


def stored_runs(run) -> list:
    """Runs in MLflow that have this run's name."""
    project = run.cfg["logger"]["project"]
    (experiment,) = mlflow_client().search_experiments(filter_string=f"name = '{project}'")
    return mlflow_client().search_runs([experiment.experiment_id], f"tags.version = '{run.name}'")


def assert_each_row_once(run):
    """MLflow and W&B hold one run, closed as finished, with each row of metrics.csv once."""
    (stored,) = stored_runs(run)
    assert (stored.info.run_id, stored.info.status) == (run.trackers["mlflow"]["run_id"], "FINISHED")
    for name in {*run.rows[0], *run.report["metrics"]} - {"epoch"}:
        curve = mlflow_client().get_metric_history(stored.info.run_id, name)
        rows = [(row["epoch"], row[name]) for row in run.rows if name in row]
        rows = rows or [(run.report["best_epoch"], run.report["metrics"][name])]
        assert sorted((entry.step, entry.value) for entry in curve) == rows, name
    known = run.trackers["wandb"]
    found = [records(folder) for folder in known["folders"]]
    assert {record.run_id for each in found for record in each.get("run", [])} == {known["id"]}
    times = Counter(row.step.num for each in found for row in each.get("history", []))
    assert times == Counter(row["epoch"] for row in run.rows)
    assert [record.exit_code for record in found[-1]["exit"]] == [0]


def go_on(folder: Path, moment=None) -> None:
    """Resume in the shell; that process is killed, too, if there is a ``moment``."""
    process = child("resume", f"run={folder.name}")
    if moment is not None:
        kill_when(process, moment)
    assert process.wait(200) in (0, -signal.SIGKILL)


def test_a_killed_run_ends_as_the_straight_one(straight, outputs):
    process, folder = begin()
    kill_when(process, n_epochs(folder, 8))
    killed = load(folder.name)
    assert killed.status == "killed" == runs().loc[folder.name, "status"] and not (folder / "DONE").exists()
    assert 8 <= len(killed.rows) < len(straight.rows)
    resume(folder.name)
    assert_same_record(load(folder.name), straight)
    assert load(folder.name).report["resumed"] == 1
    assert_each_row_once(load(folder.name))


@pytest.mark.slow
def test_sync_closes_a_killed_run(straight, outputs, shell):
    """Its rows stay, and it is no longer shown as running."""
    process, folder = begin()
    three = n_epochs(folder, 3)
    kill_when(process, lambda: three() and "wandb" in load(folder.name).trackers)
    done = shell("sync", f"run={folder.name}")
    assert done.returncode == 0, done.stderr
    killed = load(folder.name)
    assert killed.status == "killed" and not (folder / "DONE").exists()
    (stored,) = stored_runs(killed)
    assert stored.info.status == "KILLED"
    curve = mlflow_client().get_metric_history(stored.info.run_id, "val/loss")
    rows = [(row["epoch"], row["val/loss"]) for row in killed.rows]
    assert sorted((entry.step, entry.value) for entry in curve) == rows
    found = [records(one) for one in killed.trackers["wandb"]["folders"]]
    assert Counter(row.step.num for each in found for row in each.get("history", [])) == Counter(
        row["epoch"] for row in killed.rows
    )
    assert found[-1]["exit"][0].exit_code != 0


@pytest.mark.slow
@pytest.mark.parametrize("i", range(N_KILLS))
def test_killed_at_a_random_moment(straight, outputs, i):
    """Every third resumed run is killed as well, at another random moment."""
    seconds = (straight.folder / "DONE").stat().st_mtime - straight.report["started"]
    process, folder = begin()
    kill_when(process, after(folder, SHARES[i] * seconds))
    if i % 3 == 0 and not (folder / "DONE").is_file():
        go_on(folder, after(folder, random.Random(i).random() * seconds))
    go_on(folder)
    assert_same_record(load(folder.name), straight)
    assert_each_row_once(load(folder.name))


def part_of(name: str):
    """While ``name`` is written: until it is complete it has a temporary name."""
    return lambda folder: any((folder / "checkpoints").glob(f".{name}.*.part"))


def status_of(status: str):
    return lambda folder: read_json(folder / "report.json")["status"] == status


MOMENTS = {
    "MLflow is asked for a run": lambda folder: (folder / "report.json").is_file(),
    "MLflow has given a run": lambda folder: "mlflow" in load(folder.name).trackers,
    "the first epoch": lambda folder: (folder / "metrics.csv").is_file(),
    "the best weights are written": part_of("best.ckpt"),
    "the checkpoint is written": part_of("last.ckpt"),
    "the model is saved": lambda folder: (folder / "model").is_dir(),
    "predictions are there": lambda folder: (folder / "predictions.npz").is_file(),
    "trackers finish": lambda folder: status_of("done")(folder) or (folder / "plots").is_dir(),
    "pictures are there": lambda folder: (folder / "plots").is_dir() and any((folder / "plots").iterdir()),
    "MLflow has closed": lambda folder: "closed" in load(folder.name).trackers.get("mlflow", {}),
}


def happens(moment, folder: Path) -> bool:
    try:
        return moment(folder)
    except (OSError, UserError):  # the file does not exist yet
        return False


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_chosen_moment(straight, outputs, moment):
    process, folder = begin()
    kill_when(process, lambda: happens(MOMENTS[moment], folder))
    assert not (folder / "DONE").exists()
    assert load(folder.name).status == runs().loc[folder.name, "status"] == "killed"
    go_on(folder)
    assert_same_record(load(folder.name), straight)
    assert_each_row_once(load(folder.name))


@pytest.mark.slow
def test_killed_between_record_and_done(straight, outputs):
    """Files reach the trackers a second after the final metrics: a kill between the two repeats neither."""
    process, folder = begin()
    until((folder / "report.json").is_file)
    with (folder / "ballast").open("wb") as file:
        file.truncate(2**30)  # the trackers upload it, which makes the moment long enough to be met
    kill_when(process, lambda: happens(MOMENTS["trackers finish"], folder) and has_test_metrics(folder))
    assert not (folder / "DONE").exists(), "it was too late"
    (folder / "ballast").unlink()
    go_on(folder)
    assert_same_record(load(folder.name), straight)
    assert_each_row_once(load(folder.name))


def has_test_metrics(folder: Path) -> bool:
    known = load(folder.name).trackers.get("mlflow")  # none yet where the tracker is slower than the run
    return known is not None and "test/loss" in mlflow_client().get_run(known["run_id"]).data.metrics


@pytest.mark.slow
def test_a_run_killed_before_its_first_report_is_refused_in_one_sentence(outputs, shell):
    process, folder = begin()
    kill_when(process, folder.is_dir)
    assert not (folder / "report.json").exists(), "it was too late"
    done = shell("resume", f"run={folder.name}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and folder.name in done.stderr
    assert folder.name not in runs().index

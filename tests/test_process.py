"""Child processes are reused by the next run, replaced if they died or the environment changed; start-up."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest
from conftest import CHECKOUT, QUIET, until

from src import fit, load, runs
from src.logger.fanout import Fanout
from src.run.lock import alive
from src.run.record import Recorder
from src.run.trackers import sync_run
from src.system.process import Child

OVERRIDES = ("dataset=wine", "model=linear", "logger=mlflow", "pictures=false", "logger.wait=300")
MLFLOW = ("src.logger.worker", "mlflow")


@pytest.fixture(autouse=True)
def none_idle():
    while Child.idle:
        Child.idle.pop().messages.put(None)


def idle() -> list[int]:
    return [child.process.pid for child in Child.idle if child.command == MLFLOW]


def closed(run) -> bool:
    return run.trackers["mlflow"]["closed"]


def test_the_next_run_reuses_the_process(outputs):
    first = fit(*OVERRIDES)
    pids = idle()
    second = fit(*OVERRIDES)
    assert idle() == pids and len(pids) == 1
    assert closed(first) and closed(second)
    assert first.trackers["mlflow"]["run_id"] != second.trackers["mlflow"]["run_id"]


def test_another_environment_is_another_process(outputs, monkeypatch, tmp_path):
    fit(*OVERRIDES)
    pids, old = idle(), [child.process for child in Child.idle]
    shutil.copy(outputs / "mlflow.db", tmp_path / "other.db")  # a new store takes seconds
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    run = fit(*OVERRIDES)
    with closing(sqlite3.connect(tmp_path / "other.db")) as store:
        stored = store.execute("SELECT name FROM runs").fetchall()
    assert idle() != pids and closed(run) and (f"{run.name} linear wine",) in stored
    assert [process.wait(30) for process in old] == [0], "the other one has ended"


def test_one_that_died_between_two_runs_is_replaced(outputs):
    fit(*OVERRIDES)
    (dead,) = Child.idle
    dead.process.kill()
    dead.process.wait()
    assert closed(fit(*OVERRIDES))


def test_one_that_dies_within_a_run_is_reported_and_sync_completes_its_rows(outputs, monkeypatch):
    log_row = Recorder.log_row

    def kill(recorder, row):
        log_row(recorder, row)
        os.kill(recorder._trackers.workers["mlflow"].process.pid, signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "log_row", kill)
        run = fit(*OVERRIDES)
    assert run.status == "done" and not run.trackers.get("mlflow", {}).get("closed")
    reason = "its process died"
    advice = f"afterwards: python -m src.sync run={run.name}"
    log = (run.folder / "log.txt").read_text()
    assert log.count(f"mlflow failed, the run goes on; {advice} ({reason})") == 1
    assert run.trackers["mlflow"]["error"] == reason
    assert sync_run(run)["mlflow"]["closed"]


def test_none_is_left_when_the_parent_has_ended(outputs):
    code = """from src import fit; from src.system.process import Child
fit("dataset=wine", "model=linear", "logger=all")
print("pids", *(one.process.pid for one in Child.idle))"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=CHECKOUT, text=True, capture_output=True, timeout=120)
    pids = [int(pid) for pid in done.stdout.rpartition("pids")[2].split()]
    assert len(pids) == 3, done.stderr
    until(lambda: not any(alive(pid, time.time()) for pid in pids))


def test_a_quiet_run_starts_none(outputs):
    fit("dataset=wine", "model=linear", *QUIET)
    assert not Child.idle


CONFIG = {"class_weight.>50K": 2}
DESCRIBED = {"name": "t1", "project": "child", "config": CONFIG, "tags": {}, "parent": None, "advice": ""}


def test_a_second_finish_after_an_interrupt_waits_on_for_the_first(outputs, tmp_path, monkeypatch):
    """Or the process would take it for the start of the next run."""
    fanout = Fanout(["mlflow"], DESCRIBED, tmp_path / "trackers.json")
    (worker,) = fanout.workers.values()

    def interrupt(seconds):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fanout.finish("done")
    assert fanout.finish("stopped")["mlflow"]["closed"]
    assert closed(fit(*OVERRIDES)) and idle() == [worker.process.pid]


def test_a_tracker_that_failed_is_closed_and_its_process_not_kept(outputs, tmp_path):
    from src.logger.mlflow import client

    fanout = Fanout(["mlflow"], DESCRIBED, tmp_path / "trackers.json")
    fanout.record(tmp_path, {})  # no report of a run
    found = fanout.finish("done")["mlflow"]
    stored = client().get_run(found["run_id"])
    assert found["error"] and stored.info.status == "FAILED" and not idle()
    assert stored.data.params == {"class_weight._50K": "2"}, "keys as MLflow takes them"


def test_a_password_in_a_server_s_address_is_written_nowhere(outputs, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:p@s/s?w o#s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = fit(*OVERRIDES)
    assert "refused" in run.trackers["mlflow"]["error"] and "s3cret" not in capsys.readouterr().out
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_one_that_is_late_is_killed_with_its_own_children(outputs):
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid)"
    child = Child(("timeit", "-n1", "-r1", "-s", code, "import time; time.sleep(100)"))
    children = until(lambda: psutil.Process(child.process.pid).children())
    assert child.wait(0.1) == "it did not answer in time"
    assert not psutil.wait_procs([*children, child.process], timeout=10)[1]


def test_start_counts_from_the_start_of_python(outputs):
    """The seconds before a command's run: Python, Hydra, the check of the overrides."""
    code = "import time; began = time.perf_counter(); import hydra; print(time.perf_counter() - began)"
    importing = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    began = time.perf_counter()
    command = [sys.executable, "-m", "src.train", "dataset=wine", "model=linear", *QUIET]
    assert subprocess.run(command, cwd=CHECKOUT, capture_output=True).returncode == 0
    wall = time.perf_counter() - began
    row = runs().iloc[-1]
    timings = load(row.name).report["timings"]
    assert importing < timings["start"] < sum(timings.values()) < wall
    assert row["seconds"] == pytest.approx(sum(timings.values()), abs=1e-3)
    assert fit("dataset=wine", "model=linear", *QUIET).report["timings"]["start"] == 0.0, "of a notebook"

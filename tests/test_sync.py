"""Trackers that are down at the start or die in the middle: the run ends well, and sync sends the rest."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from conftest import CHECKOUT, until

from src import fit, load
from src.logger.fanout import Fanout
from src.logger.wandb import records
from src.run.folder import runs_folder
from src.run.trackers import sync_run
from src.system.paths import versions_in

OVERRIDES = ("dataset=iris", "model=mlp", "model.patience=null", "model.net.d_hidden=16", "threads=1")
OVERRIDES = (*OVERRIDES, "logger.wait=300")  # a busy machine may need longer than 30 s
N_EPOCHS = 60


class Server:
    """An MLflow server in its own process group, which can be killed and started again."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.process, self.uri = folder, None, f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 150
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            self.process = None


server = None  # for the metric below


@pytest.fixture
def tracking(tmp_path, monkeypatch, outputs):
    """A server that is not started yet; the run's processes know its address."""
    global server
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    server.kill()


calls = 0


def kills(y_true, y_score) -> float:
    """A metric that kills the server in its twentieth epoch, once some rows are there."""
    global calls
    calls += 1
    if calls == 20:
        run = load(f"t{versions_in(runs_folder(), 't')[-1]}")
        run_id = until(lambda: run.trackers.get("mlflow"))["run_id"]
        until(lambda: client().get_metric_history(run_id, "val/loss"))
        server.kill()
    return float(np.mean(y_score.argmax(1) == y_true))


def client():
    from mlflow import MlflowClient

    from src.logger.mlflow import uri

    return MlflowClient(tracking_uri=uri())


def files_of(run_id: str, folder: str | None = None) -> set[str]:
    found = set()
    for entry in client().list_artifacts(run_id, folder):
        found |= files_of(run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def curves(run) -> dict[str, list]:
    """{metric: [(step, value), ...]} of a run in MLflow, for each metric in metrics.csv or the report."""
    run_id = run.trackers["mlflow"]["run_id"]
    names = {*run.rows[0], *run.report["metrics"]} - {"epoch"}
    found = {name: client().get_metric_history(run_id, name) for name in names}
    return {name: sorted((entry.step, entry.value) for entry in curve) for name, curve in found.items()}


def assert_mlflow_is_complete(run):
    """Each row of metrics.csv once, the test metrics once, config, files, status."""
    for name, curve in curves(run).items():
        rows = [(row["epoch"], row[name]) for row in run.rows if name in row]
        rows = rows or [(run.report["best_epoch"], run.report["metrics"][name])]
        assert np.array_equal(curve, rows, equal_nan=True), name
    stored = client().get_run(run.trackers["mlflow"]["run_id"])
    assert stored.info.status == "FINISHED" and stored.info.run_name == f"{run.name} mlp iris"
    assert stored.data.params["model.net.d_hidden"] == "16"
    wanted = {"config.yaml", "metrics.csv", "predictions.npz", "code.zip", f"model/model_{run.name}.pt"}
    assert wanted <= files_of(stored.info.run_id)
    (only,) = client().search_runs([stored.info.experiment_id], f"tags.version = '{run.name}'")
    assert only.info.run_id == stored.info.run_id


def assert_done_and_reported_once(run, tracker: str):
    assert run.status == "done" and (run.folder / "DONE").is_file() and len(run.rows) > 0
    assert run.trackers[tracker]["error"] and "closed" not in run.trackers[tracker]
    lines = (run.folder / "log.txt").read_text().splitlines()
    reported = [line for line in lines if f"{tracker} failed" in line]
    assert len(reported) == 1 and "src.sync" in reported[0]


def assert_sync_completes_it(run, shell):
    """And a second time changes nothing."""
    done = shell("sync", f"run={run.name}")
    assert done.returncode == 0 and f"{run.name}: mlflow complete" in done.stdout, done.stderr
    assert_mlflow_is_complete(run)
    before = curves(run)
    assert shell("sync", f"run={run.name}").returncode == 0
    stored = client().get_run(run.trackers["mlflow"]["run_id"])
    assert curves(run) == before and stored.info.status == "FINISHED"


@pytest.mark.slow
def test_a_server_that_is_down_at_the_start(tracking, shell):
    began = time.monotonic()
    run = fit(*OVERRIDES, "trainer.max_epochs=5", "logger=mlflow")
    assert time.monotonic() - began < 60
    assert_done_and_reported_once(run, "mlflow")
    done = shell("sync", f"run={run.name}")
    assert done.returncode == 1 and done.stderr == f"error: still behind: {run.name} in mlflow\n"
    tracking.start()
    assert_sync_completes_it(run, shell)


@pytest.mark.slow
def test_a_server_that_goes_in_the_middle_and_comes_back(tracking, shell):
    global calls
    calls = 0
    tracking.start()
    overrides = (f"trainer.max_epochs={N_EPOCHS}", "logger=mlflow")
    overrides += ("metric=test_sync.kills", "metric_mode=max")
    run = fit(*OVERRIDES, *overrides)
    assert tracking.process is None, "nobody killed it"
    assert_done_and_reported_once(run, "mlflow")
    assert len(run.rows) == N_EPOCHS
    tracking.start()
    held = client().get_metric_history(run.trackers["mlflow"]["run_id"], "val/loss")
    assert 0 < len(held) < N_EPOCHS
    assert_sync_completes_it(run, shell)


@pytest.mark.slow
def test_a_store_that_cannot_be_opened(tmp_path, monkeypatch):
    """As above without a server: a folder stands where the sqlite file should be."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    (tmp_path / "mlflow.db").mkdir()
    run = fit(*OVERRIDES, "trainer.max_epochs=5", "logger=mlflow")
    assert_done_and_reported_once(run, "mlflow")
    (tmp_path / "mlflow.db").rmdir()
    sync_run(run)
    assert_mlflow_is_complete(run)


def test_wandb_that_refuses_to_start(outputs, monkeypatch, shell):
    """The other rows go on; an offline sync holds every epoch once."""
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "sideways")
        run = fit(*OVERRIDES, "trainer.max_epochs=4", "logger=wandb")
    assert_sync_completes_wandb(run, shell)


@pytest.mark.slow
def test_wandb_whose_server_is_down(outputs, monkeypatch, shell):
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "online")
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patch.setenv("WANDB_API_KEY", "0" * 40)
        began = time.monotonic()
        run = fit(*OVERRIDES, "trainer.max_epochs=4", "logger=wandb")
        assert time.monotonic() - began < 120
    assert_sync_completes_wandb(run, shell)


def assert_sync_completes_wandb(run, shell):
    assert_done_and_reported_once(run, "wandb")
    assert shell("sync", f"run={run.name}").returncode == 0
    known = run.trackers["wandb"]
    folders = list(known["folders"])
    found = [records(folder) for folder in folders]
    assert {record.run_id for each in found for record in each["run"]} == {known["id"]}
    times = Counter(row.step.num for each in found for row in each["history"])
    assert times == Counter(row["epoch"] for row in run.rows)
    manifests = [record.manifest for each in found for record in each["artifact"]]
    names = {entry.path for manifest in manifests for entry in manifest.contents}
    assert {"metrics.csv", f"model/model_{run.name}.pt"} <= names
    assert [record.exit_code for record in found[-1]["exit"]] == [0]
    assert shell("sync", f"run={run.name}").returncode == 0
    assert run.trackers["wandb"]["folders"] == folders, "a second sync changes nothing"


@pytest.mark.slow
def test_eight_processes_meet_a_new_store(tmp_path):
    command = [sys.executable, "-m", "src.train", "logger=mlflow"]
    command += ["model=linear", "dataset=iris", "threads=1", "logger.wait=null"]
    environment = os.environ | {"OUTPUTS_DIR": str(tmp_path)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, cwd=CHECKOUT, env=environment, **streams) for _ in range(8)]
    texts = [process.communicate(timeout=280)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, texts
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUTS_DIR", str(tmp_path))
        named = [load(f"t{i}") for i in range(1, 9)]
        stored = [client().get_run(run.trackers["mlflow"]["run_id"]) for run in named]
        assert [one.info.status for one in stored] == ["FINISHED"] * 8
        assert all(run.trackers["mlflow"]["closed"] for run in named)
        assert len({one.info.experiment_id for one in stored}) == 1


@pytest.mark.parametrize("n_rows", [5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_rows_do_not_keep_their_writer_waiting(outputs, tmp_path, caplog, n_rows):
    """A put into a queue each; MLflow has all of them when the run is closed."""
    described = {"name": "t1", "project": f"rows{n_rows}", "config": {}, "tags": {}, "parent": None}
    described["advice"] = "the run goes on"
    fanout = Fanout(["mlflow"], described, tmp_path / "trackers.json")
    spent = 0.0
    for epoch in range(1, n_rows + 1):
        row = {"epoch": epoch, "val/loss": 1 / epoch}
        began = time.perf_counter()
        fanout.log(row)
        spent += time.perf_counter() - began
    with caplog.at_level(logging.WARNING, "reprise"):
        found = fanout.finish("done")["mlflow"]
    assert spent / n_rows < 50e-6 and found["closed"] and caplog.text == ""
    curve = client().get_metric_history(found["run_id"], "val/loss")
    assert sorted((entry.step, entry.value) for entry in curve) == [(k, 1 / k) for k in range(1, n_rows + 1)]
    assert client().get_run(found["run_id"]).info.status == "FINISHED"

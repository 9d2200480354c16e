"""A run in its trackers: a real MLflow store and the W&B offline file, each read back."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from src import fit, load
from src.config.tree import flat
from src.logger.wandb import records
from src.run.folder import Run
from src.run.overview import runs
from src.system.errors import UserError

OVERRIDES = ("dataset=wine", "trainer.max_epochs=4", "model.patience=null", "tags=[tried]")


@pytest.fixture(scope="module")
def run(outputs):
    """A run in all trackers."""
    return fit(*OVERRIDES)


def mlflow_client():
    from mlflow import MlflowClient

    from src.logger.mlflow import uri

    return MlflowClient(tracking_uri=uri())


def mlflow_run(run):
    return mlflow_client().get_run(run.trackers["mlflow"]["run_id"])


def files_of(client, run_id: str, folder: str | None = None) -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= files_of(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def wandb_records(run) -> dict[str, list]:
    return records(run.trackers["wandb"]["folders"][-1])


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows_of(path: Path) -> list[dict]:
    """metrics.csv by another reader than the project's."""
    with path.open() as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]


# -- MLflow


def test_mlflow_holds_the_whole_config(run):
    assert mlflow_run(run).data.params == {key: str(value) for key, value in flat(run.cfg).items()}
    assert mlflow_run(run).data.params["model.net.d_hidden"] == "256"


def test_mlflow_holds_the_curve_of_every_metric(run):
    rows = rows_of(run.folder / "metrics.csv")
    assert len(rows) == 4 and {"train/loss", "val/loss", "val/accuracy", "val/auroc"} <= set(rows[0])
    for name in set(rows[0]) - {"epoch"}:
        curve = mlflow_client().get_metric_history(mlflow_run(run).info.run_id, name)
        curve = sorted((entry.step, entry.value) for entry in curve)
        assert np.array_equal(curve, [(row["epoch"], row[name]) for row in rows], equal_nan=True), name


def test_mlflow_holds_test_metrics_tags_and_status(run):
    stored = mlflow_run(run)
    test = {name: value for name, value in run.report["metrics"].items() if name.startswith("test/")}
    assert test and {name: stored.data.metrics[name] for name in test} == test
    wanted = {"dataset": "wine", "model": "mlp", "version": run.name, "seed": "0", "tried": "true"}
    assert wanted.items() <= stored.data.tags.items() and "git" in stored.data.tags
    assert stored.info.status == "FINISHED" and stored.info.run_name == run.name


def test_mlflow_shows_the_metrics_of_the_kept_model(outputs):
    """The last row of the curve is of another epoch."""
    overrides = ("dataset=text_sample", "trainer.max_epochs=40", "model.patience=null")
    run = fit(*overrides, "model=mlp", "logger=mlflow")
    stored = mlflow_run(run).data.metrics
    assert run.report["best_epoch"] < len(run.history), "choose overrides whose best epoch is not the last"
    for name, value in run.report["metrics"].items():
        assert stored[name if name.startswith("test/") else f"best/{name}"] == value, name


def test_no_row_goes_to_mlflow_in_two_pieces(outputs, monkeypatch):
    """Rows that MLflow holds are known by their epochs: half a row would never be completed."""
    from src.logger.mlflow import MLflow

    tracker = MLflow()
    tracker.start({"name": "t1", "project": "pieces", "config": {}, "tags": {}, "parent": None}, {})
    sent, log_batch = [], tracker.client.log_batch

    def counted(run_id, metrics):
        sent.append(len(metrics))
        log_batch(run_id, metrics)

    monkeypatch.setattr(tracker.client, "log_batch", counted)
    names = [f"val/{k}" for k in range(11)]
    tracker.log([{"epoch": epoch, **dict.fromkeys(names, 1.0)} for epoch in range(1, 201)])
    tracker.finish("done")
    assert sum(sent) == 2200 and len(sent) > 2 and max(sent) <= 1000 and not any(n % 11 for n in sent)


def test_mlflow_knows_the_data_by_digest(run):
    (entry,) = mlflow_run(run).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("wine", run.report["data_digest"])


def test_mlflow_artifacts_are_the_run_s_plain_files(run, tmp_path):
    client, run_id = mlflow_client(), mlflow_run(run).info.run_id
    wanted = {"config.yaml", "env.json", "code.zip", "metrics.csv", "predictions.npz", "transforms.json"}
    wanted |= {f"model/model_{run.name}.pt", "plots/learning_curves.png", "plots/test.png"}
    assert wanted <= files_of(client, run_id)
    for name in wanted:
        copy = Path(client.download_artifacts(run_id, name, str(tmp_path)))
        assert copy.read_bytes() == (run.folder / name).read_bytes(), name


def test_a_deleted_experiment_is_restored(outputs):
    overrides = ("dataset=wine", "model=linear", "logger=mlflow", "logger.project=thrown_away")
    first = fit(*overrides).trackers["mlflow"]
    mlflow_client().delete_experiment(first["experiment_id"])
    second = fit(*overrides).trackers["mlflow"]
    assert second["experiment_id"] == first["experiment_id"]
    assert mlflow_client().get_experiment(first["experiment_id"]).lifecycle_stage == "active"


# -- W&B


def test_wandb_holds_the_same_history(run):
    history = [values(record.item) for record in wandb_records(run)["history"]]
    rows = rows_of(run.folder / "metrics.csv")
    assert [row["_step"] for row in history] == [row["epoch"] for row in rows]
    for mine, theirs in zip(rows, history, strict=True):
        for name in set(mine) - {"epoch"}:
            assert np.array_equal(float(theirs[name]), mine[name], equal_nan=True), name


def test_wandb_holds_config_tags_files_and_exit(run):
    records = wandb_records(run)
    config = values(item for record in records["run"] for item in record.config.update)
    assert {key: config[key] for key in flat(run.cfg) if key != "tags"} == {
        key: value for key, value in flat(run.cfg).items() if key != "tags"
    }
    assert {"dataset:wine", "model:mlp", f"version:{run.name}"} <= set(records["run"][0].tags)
    names = {entry.path for record in records["artifact"] for entry in record.manifest.contents}
    pictures = {"plots/learning_curves.png", "plots/test.png"}
    assert pictures | {"code.zip", "config.yaml", "predictions.npz", f"model/model_{run.name}.pt"} <= names
    assert [record.exit_code for record in records["exit"]] == [0]


def test_wandb_s_summary_is_of_the_kept_epoch(outputs):
    """The last row of history must not overwrite it."""
    overrides = ("trainer.max_epochs=6", "model.lr=0.3", "model.patience=null", "seed=1")
    run = fit("dataset=wine", "logger=wandb", *overrides)
    summary = {}
    for record in wandb_records(run)["summary"]:
        summary |= values(record.update)
    assert run.report["best_epoch"] < 6, "choose overrides whose best epoch is not the last"
    for name, value in run.report["metrics"].items():
        if name != "train/loss":
            assert np.array_equal(float(summary[name]), value, equal_nan=True), name


def test_two_fits_in_one_process_are_two_wandb_runs(run):
    second = fit("dataset=wine", "model=linear", "logger=wandb")
    ids = [wandb_records(one)["run"][0].run_id for one in (run, second)]
    assert len(set(ids)) == 2
    assert [len(wandb_records(one)["exit"]) for one in (run, second)] == [1, 1]


# -- when things go wrong


def test_a_failed_run_is_marked_failed_everywhere(outputs):
    with pytest.raises(UserError):
        fit("dataset=wine", "model=knn", "class_weight=balanced")
    failed = Run.open(runs().index[-1])
    assert mlflow_run(failed).info.status == "FAILED"
    assert [record.exit_code for record in wandb_records(failed)["exit"]] == [1]


def test_a_tracker_that_is_down_stops_nothing_and_is_reported_once(outputs, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    down = fit("dataset=wine", "model=linear")
    assert time.monotonic() - began < 60
    assert down.status == "done" and (down.folder / "DONE").is_file()
    assert down.trackers["mlflow"]["error"] == load(down.name).trackers["mlflow"]["error"] != ""
    lines = (down.folder / "log.txt").read_text().splitlines()
    reported = [line for line in lines if "mlflow failed" in line]
    assert len(reported) == 1
    assert len(wandb_records(down)["exit"]) == 1, "the other tracker goes on"


def test_no_logger_leaves_no_history_and_no_tracker(outputs):
    run = fit("dataset=wine", "model=linear", "logger=none")
    assert run.trackers == {} and not (run.folder / "metrics.csv").exists()
    assert load(run.name).history == [] and run.report["metrics"]["test/accuracy"] > 0.9


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An MLflow server in a new process on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "art")]
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(240):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_a_server_gets_the_same_as_the_local_store(outputs, server):
    run = fit(*OVERRIDES, "logger=mlflow")
    test_mlflow_holds_the_whole_config(run)
    test_mlflow_holds_the_curve_of_every_metric(run)
    test_mlflow_holds_test_metrics_tags_and_status(run)
    test_mlflow_knows_the_data_by_digest(run)
    run_id = mlflow_run(run).info.run_id
    assert {"code.zip", f"model/model_{run.name}.pt"} <= files_of(mlflow_client(), run_id)

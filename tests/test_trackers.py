"""A run in its trackers: a real MLflow store and the W&B offline file, each read back."""

import contextlib
import csv
import getpass
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
from conftest import CHECKOUT
from servers import answering, hanging

from src import fit, load
from src.config.compose import compose
from src.config.tree import flat
from src.logger import fanout
from src.logger.mlflow import MLflow, check_file, client, uri
from src.logger.wandb import allowed, mode, records
from src.resume import resume
from src.run.folder import Run
from src.run.job import run_job
from src.run.overview import runs
from src.run.trackers import sync_run
from src.system.errors import UserError, without_password
from src.system.files import read_json
from src.system.process import lasting_environment
from src.trainer.history import Pruned

PATIENT = "logger.wait=300"  # a busy machine takes longer than 30 s to make the first store
TAGS = "tags=[tried,dataset,mlflow.parentRunId]"  # two of them are not the user's to set
OVERRIDES = ("dataset=wine", "trainer.max_epochs=4", "model.patience=null", TAGS, PATIENT)


@pytest.fixture(scope="module")
def run(outputs):
    """A run in all trackers."""
    return fit(*OVERRIDES)


def mlflow_client():
    from mlflow import MlflowClient

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
    assert wanted.items() <= stored.data.tags.items() and "mlflow.parentRunId" not in stored.data.tags
    assert stored.info.status == "FINISHED" and stored.info.run_name == f"{run.name} mlp wine"
    train = {f"best/train/{name}": value for name, value in run.report["train_metrics"].items()}
    train["best/train/loss"] = run.report["metrics"]["train/loss"]
    assert len(train) > 8 and {name: stored.data.metrics[name] for name in train} == train


def test_mlflow_s_own_columns_are_filled(run):
    """User, source and version of a run; the experiment opens as one of machine learning."""
    git, stored = read_json(run.folder / "env.json")["git"], mlflow_run(run)
    wanted = {"mlflow.source.type": "LOCAL", "mlflow.user": getpass.getuser()}
    wanted["mlflow.source.name"] = f"src.train {' '.join(OVERRIDES)}"
    if git["sha"]:
        wanted["mlflow.source.git.commit"] = git["sha"]
        wanted["git"] = git["sha"][:7] + "-dirty" * git["dirty"]
    assert wanted.items() <= stored.data.tags.items()
    experiment = mlflow_client().get_experiment(stored.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_times_of_both_trackers_are_the_run_s(run):
    """The first run of a process, whose trackers load their libraries while it trains."""
    times = [row["time"] for row in csv.DictReader((run.folder / "times.csv").open())]
    times = list(map(float, times))
    assert len(times) == 4 and run.report["started"] < times[0] < times[1] < times[2] < times[3]
    stored = mlflow_run(run).info
    assert stored.start_time == int(run.report["started"] * 1000)
    assert stored.end_time == int(run.report["finished"] * 1000)
    curve = mlflow_client().get_metric_history(stored.run_id, "val/loss")
    assert [entry.timestamp for entry in curve] == [int(at * 1000) for at in times]
    history = [values(record.item) for record in wandb_records(run)["history"]]
    assert [row["_timestamp"] for row in history] == pytest.approx(times, abs=1e-3)
    begun = wandb_records(run)["run"][0].start_time
    assert begun.seconds + begun.nanos / 1e9 == pytest.approx(run.report["started"], abs=1e-3)


def test_mlflow_shows_the_metrics_of_the_kept_model(outputs):
    """The last row of the curve is of another epoch."""
    overrides = ("dataset=text_sample", "trainer.max_epochs=40", "model.patience=null")
    run = fit(*overrides, "model=mlp", "logger=mlflow")
    stored = mlflow_run(run).data.metrics
    assert run.report["best_epoch"] < len(run.rows), "choose overrides whose best epoch is not the last"
    for name, value in run.report["metrics"].items():
        assert stored[name if name.startswith("test/") else f"best/{name}"] == value, name


def test_no_row_goes_to_mlflow_in_two_pieces(outputs, monkeypatch):
    """Rows that MLflow holds are known by their epochs: half a row would never be completed."""
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
    assert {key: config[key] for key in run.cfg} == run.cfg and config["version"] == run.name
    assert config["git"] == mlflow_run(run).data.tags["git"]
    tags = {"dataset:wine", "model:mlp", "tried", "dataset", "mlflow.parentRunId"}
    assert set(records["run"][0].tags) == tags, "no tag that only one run or one commit has"
    assert records["run"][0].display_name == f"{run.name} mlp wine"
    names = {entry.path for record in records["artifact"] for entry in record.manifest.contents}
    pictures = {"plots/learning_curves.png", "plots/test.png", "log.txt"}
    assert pictures | {"code.zip", "config.yaml", "predictions.npz", f"model/model_{run.name}.pt"} <= names
    assert [record.exit_code for record in records["exit"]] == [0]


def test_wandb_knows_what_a_run_used_and_made(run):
    """The data by its digest, without its rows, and the model apart from the run's other files."""
    used, model, other = sorted(wandb_records(run)["artifact"], key=lambda one: one.type)
    assert (used.type, used.name, used.use_after_commit) == ("dataset", "wine", True)
    report = run.report
    known = {key: report[key] for key in ("data_digest", "etl_version", "input_digest")}
    assert json.loads(used.metadata) == known and known["data_digest"]
    assert [entry.path for entry in used.manifest.contents] == ["digest.json"]
    assert (model.type, model.name, model.use_after_commit) == ("model", "mlp-wine", False)
    assert [entry.path for entry in model.manifest.contents] == [f"model/model_{run.name}.pt"]
    assert {*model.aliases} == {"latest", run.name} and json.loads(model.metadata)["test/loss"]
    names = [entry.path for entry in other.manifest.contents]
    assert other.type == "run" and "config.yaml" in names and not any(name[:6] == "model/" for name in names)


def test_data_that_differs_is_another_version_in_wandb(run):
    digests = []
    for words in (("dataset=wine",), ("dataset=wine", "dataset.max_rows=50"), ("dataset=iris",)):
        other = fit(*words, "model=linear", "logger=wandb", "pictures=false")
        (used,) = [one for one in wandb_records(other)["artifact"] if one.type == "dataset"]
        digests.append((used.name, used.digest))
    own = next(one for one in wandb_records(run)["artifact"] if one.type == "dataset")
    assert digests[0] == digests[1] == (own.name, own.digest) != digests[2], "the table is the same"


@pytest.mark.parametrize("name", ["my nets/Gated", "a" * 300, "größe"])
def test_wandb_takes_every_artifact(name):
    import wandb

    from src.logger.wandb import _name

    assert wandb.Artifact(_name(name), type="model").name == _name(name)


def test_wandb_s_summary_is_of_the_kept_epoch(outputs):
    """The last row of history must not overwrite it."""
    overrides = ("trainer.max_epochs=6", "model.lr=0.3", "model.patience=null", "seed=1")
    run = fit("dataset=wine", "logger=wandb", "logger.wait=300", *overrides)
    summary = {}
    for record in wandb_records(run)["summary"]:
        summary |= values(record.update)
    assert run.report["best_epoch"] < 6, "choose overrides whose best epoch is not the last"
    for name, value in run.report["metrics"].items():
        if name != "train/loss":
            assert np.array_equal(float(summary[name]), value, equal_nan=True), name


def test_two_fits_in_one_process_are_two_wandb_runs(run):
    second = fit("dataset=wine", "model=linear", "logger=wandb", "logger.wait=300")
    ids = [wandb_records(one)["run"][0].run_id for one in (run, second)]
    assert len(set(ids)) == 2
    assert [len(wandb_records(one)["exit"]) for one in (run, second)] == [1, 1]


# -- when things go wrong


def test_a_failed_run_is_marked_failed_everywhere(outputs, tmp_path):
    with pytest.raises(UserError):
        fit("dataset=wine", "model=knn", "class_weight=balanced")
    failed = Run.open(runs().index[-1])
    stored = mlflow_run(failed)
    assert stored.info.status == "FAILED" and stored.info.end_time == int(failed.report["finished"] * 1000)
    assert "takes no weights" in failed.report["error"] == stored.data.tags["error"]
    log = mlflow_client().download_artifacts(stored.info.run_id, "log.txt", str(tmp_path))
    assert f"error: {failed.report['error']}" in Path(log).read_text()
    records = wandb_records(failed)
    assert [record.exit_code for record in records["exit"]] == [1]
    summary = [values(record.update) for record in records["summary"]]
    assert failed.report["error"] in [found.get("error") for found in summary]


def test_a_pruned_run_is_marked_as_pruned_until_it_goes_on(outputs):
    def watch(row: dict) -> None:
        if row["epoch"] == 2:
            raise Pruned

    words = ["dataset=wine", "model=sgd", "trainer.max_epochs=3", "pictures=false", PATIENT]
    run = run_job(compose(words), watch=watch)
    stored, ended = mlflow_run(run), wandb_records(run)
    assert stored.info.status == "KILLED" and stored.data.tags["pruned"] == "true"
    curve = mlflow_client().get_metric_history(stored.info.run_id, "val/loss")
    assert [entry.step for entry in curve] == [row.step.num for row in ended["history"]] == [1, 2]
    assert [record.exit_code for record in ended["exit"]] == [0]
    assert {"pruned": True} in [values(record.update) for record in ended["summary"]]
    resume(run.name)
    stored, ended = mlflow_run(run), wandb_records(run)
    assert stored.info.status == "FINISHED" and "pruned" not in stored.data.tags
    assert {"pruned": False} in [values(record.update) for record in ended["summary"]]


def test_a_run_that_goes_on_after_an_error_has_none(outputs):
    """In MLflow; its times are those that it got."""
    described = {"name": "t1", "project": "again", "config": {}, "tags": {}, "parent": None, "started": 5.0}
    tracker = MLflow()
    known = tracker.start(described, {})
    tracker.log([{"epoch": 1, "val/loss": 1.0, "time": 6.5}])
    tracker.finish("failed", 7.25, "head\n" + "x" * 9000 + "\nthe reason")
    found = tracker.client.get_run(known["run_id"])
    assert found.data.tags["error"].endswith("x\nthe reason") and len(found.data.tags["error"]) == 5000
    assert (found.info.start_time, found.info.end_time) == (5000, 7250)
    tracker = MLflow()
    tracker.start(described, known)
    tracker.log([{"epoch": 1, "val/loss": 1.0, "time": 8.0}, {"epoch": 2, "val/loss": 0.5, "time": 8.5}])
    tracker.finish("done", 9.0)
    found = tracker.client.get_run(known["run_id"])
    assert "error" not in found.data.tags and (found.info.start_time, found.info.end_time) == (5000, 9000)
    curve = tracker.client.get_metric_history(known["run_id"], "val/loss")
    assert [(entry.step, entry.timestamp) for entry in curve] == [(1, 6500), (2, 8500)]


@pytest.mark.parametrize(
    ("project", "name"),
    [("reprise", "reprise"), ("a/b\\c#d?e%f:g", "a-b-c-d-e-f-g"), ("größe 1", "größe 1"),
     ("x" * 200, "x" * 128)],
)  # fmt: skip
def test_wandb_takes_every_project(project, name):
    from wandb import Settings

    assert allowed(project) == name == Settings(project=allowed(project)).project


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
    assert load(run.name).rows == [] and run.report["metrics"]["test/accuracy"] > 0.9


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


# -- trackers hold nobody


SHORT = ("dataset=wine", "model=linear", "pictures=false")
KEY = {"WANDB_API_KEY": "0" * 40}


def assert_missing_is_named_once(run, tracker: str, reason: str = "") -> None:
    """In the log with the command that brings it, and in trackers.json; the run is done."""
    assert run.status == "done" and (run.folder / "DONE").is_file()
    assert reason in run.trackers[tracker]["error"] and "closed" not in run.trackers[tracker]
    (line,) = [line for line in (run.folder / "log.txt").read_text().splitlines() if "failed" in line]
    assert f"{tracker} failed" in line and f"python -m src.sync run={run.name}" in line and reason in line


def test_a_hanging_server_holds_the_first_run_for_the_limit_and_the_others_shorter(outputs, monkeypatch):
    monkeypatch.setattr(fanout, "PATIENCE", 0.2)
    with hanging() as address, monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        first = fit(*SHORT, "logger=mlflow", "logger.wait=1.5")
        second = fit(*SHORT, "logger=mlflow", "logger.wait=20")
        assert 1.5 <= first.report["timings"]["trackers"] < 2.5
        assert second.report["timings"]["trackers"] < 1
        for run in (first, second):
            assert_missing_is_named_once(run, "mlflow", "did not answer in time")
    third = fit(*SHORT, "logger=mlflow")
    assert third.trackers["mlflow"]["closed"], "another address is another tracker"
    time.sleep(0.1)
    assert sync_run(first)["mlflow"]["closed"] and sync_run(second)["mlflow"]["closed"]
    (row,) = mlflow_client().get_metric_history(mlflow_run(first).info.run_id, "val/loss")
    assert first.report["started"] < row.timestamp / 1000 < first.report["finished"], "not of the sync"
    assert mlflow_run(first).info.end_time == int(first.report["finished"] * 1000)


def test_the_limit_is_for_all_trackers_together(outputs, monkeypatch):
    with hanging() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for name, value in (KEY | {"WANDB_BASE_URL": address, "WANDB_MODE": "online"}).items():
            monkeypatch.setenv(name, value)
        run = fit(*SHORT, "logger=all", "logger.wait=1")
    assert 1 <= run.report["timings"]["trackers"] < 2 and run.status == "done"
    assert set(run.trackers) == {"mlflow", "wandb"}
    assert all("error" in found for found in run.trackers.values())


def test_a_tracker_that_works_again_gets_all_its_time(outputs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fanout, "PATIENCE", 100)
        fanout._failed["mlflow"] = lasting_environment()
        assert fit(*SHORT, "logger=mlflow").trackers["mlflow"]["closed"]
    assert not fanout._failed["mlflow"]


def test_who_waits_for_ever_waits_for_a_tracker_that_failed_before(outputs, monkeypatch):
    """Such as sync."""
    monkeypatch.setattr(fanout, "PATIENCE", 0)
    fanout._failed["mlflow"] = lasting_environment()
    assert fit(*SHORT, "logger=mlflow", "logger.wait=null").trackers["mlflow"]["closed"]


@pytest.mark.parametrize("value", ["-1", "inf", "nan", "soon", "true"])
def test_the_limit_is_a_number(value):
    with pytest.raises(UserError, match=r"logger\.wait"):
        compose(["logger=csv", f"logger.wait={value}"])


def test_the_limit_may_be_left_out():
    assert compose(["logger=csv", "logger.wait=null"])["logger"]["wait"] is None
    assert compose(["logger=csv"])["logger"]["wait"] == 30


# -- a store that MLflow cannot use: the sentence, within seconds


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The path of a store that is not there yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "outputs"))
    return tmp_path / "store.db"


@pytest.fixture(scope="module")
def good_store(run):
    return (run.folder.parent.parent / "mlflow.db").read_bytes()


def refused() -> str:
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        client()
    assert time.monotonic() - began < 10 and "\n" not in str(caught.value)
    return str(caught.value)


def revise(store: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_a_locked_store(store, good_store, monkeypatch):
    monkeypatch.setattr("src.logger.mlflow.LOCKED", 0.2)
    store.write_bytes(good_store)
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert refused() == f"{store}: database is locked"
    client()


def test_a_store_of_an_older_or_newer_mlflow(store, good_store):
    store.write_bytes(good_store)
    revise(store, "451aebb31d03")
    assert f"mlflow db upgrade sqlite:///{store}" in refused()
    revise(store, "ffffffffffff")
    assert refused() == f"{store} is of a newer MLflow than the installed one: upgrade mlflow"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.parent)])
def test_a_store_that_is_no_file(store, make):
    make(store)
    assert refused() == f"{store} is not a file"


def test_a_store_that_is_no_database(store):
    store.write_bytes(b"all work and no play " * 1000)
    assert refused() == f"{store}: file is not a database"


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_store_that_may_not_be_written_to(store, good_store, mode):
    """As another user where the tests run as root, whom no mode stops."""
    store.write_bytes(good_store)
    store.chmod(mode)
    for folder in (store.parent, *store.parent.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "test_", "popen")):
            folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        os.seteuid(65534 if root else os.geteuid())
        with pytest.raises(UserError, match="cannot be written to"):
            check_file(store)
    finally:
        os.seteuid(0 if root else os.geteuid())


@pytest.mark.parametrize(("scheme", "package"), [("postgresql+pg8000", "pg8000"), ("mysql", "MySQLdb")])
def test_a_database_without_its_driver(monkeypatch, scheme, package):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://bob:s3cret@127.0.0.1/runs")
    assert refused() == f"{scheme}:// needs the Python package {package}: install it"


def test_a_kill_while_a_new_store_is_made_leaves_none(store, monkeypatch):
    """A file with a part of the tables would be refused from then on."""
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient", lambda tracking_uri: sys.exit("killed"))
        with pytest.raises(SystemExit):
            client()
    assert not store.exists()
    client()
    assert store.is_file() and not list(store.parent.glob("*.part"))


# -- W&B


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("", "offline"), ("dryrun", "offline"), ("OFFLINE", "offline"), ("run", "online"), ("shared", "shared")],
)
def test_every_mode_of_wandb(monkeypatch, given, wanted):
    monkeypatch.setattr("requests.utils.get_netrc_auth", lambda url: None)
    monkeypatch.setenv("WANDB_MODE", given)
    assert mode() == wanted


def test_wandb_that_is_switched_off_is_not_missing(outputs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        run = fit(*SHORT, "logger=wandb")
        assert run.status == "done" and run.trackers == {} == sync_run(run)
    assert "switched off by WANDB_MODE=disabled" in (run.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [({"WANDB_MODE": "bananas"}, "WANDB_MODE=bananas: should be online, offline"),
     ({"WANDB_MODE": "online", "WANDB_API_KEY": "too-short"}, "40+ characters")],
)  # fmt: skip
def test_what_wandb_cannot_use_is_one_sentence(outputs, monkeypatch, variables, reason):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = fit(*SHORT, "logger=wandb")
    assert_missing_is_named_once(run, "wandb", reason)
    assert "too-short" not in run.trackers["wandb"]["error"] and run.report["timings"]["trackers"] < 15


def test_wandb_s_folder_that_cannot_be_made(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    (tmp_path / "wandb").touch()
    assert_missing_is_named_once(fit(*SHORT, "logger=wandb"), "wandb", f"{tmp_path}/wandb")


# -- passwords


NASTY = [f"p{sign}ss-Wort" for sign in "@/?# :%'\"&;="] + ["12/ss-Wort", "@/?# @ss-Wort"]


@pytest.mark.parametrize("password", NASTY)
def test_no_tail_of_a_password(monkeypatch, password):
    """In free text; in the address that libraries get; and as what is left when they cut it to pieces."""
    address = f"http://bob:{password}@store.example:5000/path"
    assert without_password(f"cannot reach {address} today") == (
        "cannot reach http://***@store.example:5000/path today"
    )
    assert "ss-Wort" not in str(UserError(f"dataset.path={address}: no"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    parts = urlsplit(uri())
    assert (parts.hostname, parts.port, parts.path) == ("store.example", 5000, "/path")
    assert unquote(parts.password) == password
    assert "ss-Wort" not in without_password(f"the login {password} of {uri()} {quote(password)} is wrong")


@pytest.mark.parametrize("name", ["password", "token", "api_key", "apiKey", "X-Amz-Signature", "sslpassword"])
def test_no_secret_in_the_query_of_an_address(name):
    text = without_password(f"postgresql://host/db?user=bob&{name}=hunter2&sslmode=no failed")
    assert text == f"postgresql://host/db?user=bob&{name}=***&sslmode=no failed"


def test_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abcdef-123")
    assert without_password("401 for abcdef-123") == "401 for ***"
    assert without_password(f"in {os.getcwd()}/x") == f"in {os.getcwd()}/x"


@pytest.mark.parametrize("text", ["sqlite:////home/a@b/mlflow.db", "https://host/path", "bob@host", "a=1"])
def test_what_holds_no_password_stays(monkeypatch, text):
    assert without_password(text) == text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", text)
    assert uri() == text


# -- minutes


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
@pytest.mark.parametrize("trouble", ["hangs", "500", "401", "slow", "refused", "no name"])
def test_a_run_is_held_for_the_limit_at_most(tmp_path, tracker, trouble):
    """By the default limit, from the shell."""
    servers = {"hangs": hanging, "500": lambda: answering(500), "401": lambda: answering(401)}
    servers |= {"slow": lambda: answering(200, 8)}
    addresses = {"refused": "http://127.0.0.1:9", "no name": "http://no-such-host.invalid:5000"}
    open_server = servers.get(trouble) or (lambda: contextlib.nullcontext(addresses[trouble]))
    with open_server() as address:
        variables = {"MLFLOW_TRACKING_URI": address, "WANDB_BASE_URL": address, "WANDB_MODE": "online"} | KEY
        command = [sys.executable, "-m", "src.train", *SHORT, f"logger={tracker}"]
        environment = os.environ | variables | {"OUTPUTS_DIR": str(tmp_path)}
        streams = {"capture_output": True, "text": True, "timeout": 200}
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, **streams)
    assert done.returncode == 0 and done.stdout.count(f"{tracker} failed") == 1 and done.stderr == "", done
    report = json.loads((tmp_path / "runs/t1/report.json").read_text())
    assert report["status"] == "done" and report["timings"]["trackers"] < 32
    assert "error" in json.loads((tmp_path / "runs/t1/trackers.json").read_text())[tracker]

"""MLflow: a sqlite store under ``outputs/``, or the server that ``MLFLOW_TRACKING_URI`` names."""

import logging
import os
import re
import time

from src.logger.artifacts import artifacts
from src.system.files import locked
from src.system.paths import outputs

STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
MAX_VALUE = 6000  # characters of a parameter that every store takes


def uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{outputs() / 'mlflow.db'}"


def client():
    """A client that gives up on a dead server after seconds, not minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # of opening a sqlite file; ten take two minutes
    with locked(outputs() / ".mlflow.lock"):  # it lays out a new sqlite file: one process at a time
        return MlflowClient(tracking_uri=uri())


def experiment_id(mlflow, name: str) -> str:
    """The experiment's id; made where it is new, restored where it was deleted (its name cannot be given again).

    One process at a time: several that meet a new sqlite file would all try to lay out its tables.
    """
    with locked(outputs() / ".mlflow.lock"):
        known = mlflow.get_experiment_by_name(name)
        if known is None:
            local = uri().startswith("sqlite:")
            return mlflow.create_experiment(
                name, artifact_location=(outputs() / "mlartifacts").as_uri() if local else None
            )
        if known.lifecycle_stage == "deleted":
            mlflow.restore_experiment(known.experiment_id)
        return known.experiment_id


def start_parent(project: str, name: str) -> str:
    """A run for a whole sweep; its jobs stand under it. Returns its id."""
    mlflow = client()
    return mlflow.create_run(experiment_id(mlflow, project), run_name=name, tags={"sweep": name}).info.run_id


def finish_parent(run_id: str, status: str) -> None:
    client().set_terminated(run_id, STATUS[status])


class MLflow:
    """One run in MLflow."""

    def start(self, run: dict, known: dict) -> dict:
        """``run``: name, project, config (flat), tags, parent; ``known``: what this returned for a run that goes on.

        Returns what finds the run again.
        """
        from mlflow.entities import Param

        self.client = client()
        self.held = set()  # epochs that the run has already
        if "run_id" in known:
            self.run_id = known["run_id"]
            self.client.set_terminated(self.run_id, "RUNNING")
            self.held = {metric.step for metric in self.client.get_metric_history(self.run_id, "val/loss")}
            return {key: known[key] for key in ("run_id", "experiment_id")}
        tags = dict(run["tags"])
        if run["parent"]:
            tags["mlflow.parentRunId"] = run["parent"]
        experiment = experiment_id(self.client, run["project"])
        self.run_id = self.client.create_run(experiment, run_name=run["name"], tags=tags).info.run_id
        named = {re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII): value for key, value in run["config"].items()}
        params = [Param(key, str(value)[:MAX_VALUE]) for key, value in named.items()]
        for i in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[i : i + 100])
        return {"run_id": self.run_id, "experiment_id": experiment}

    def log(self, rows: list[dict]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [row for row in rows if row["epoch"] not in self.held]
        metrics = [
            Metric(name, value, now, row["epoch"]) for row in rows for name, value in row.items() if name != "epoch"
        ]
        whole = 1000 - 1000 % max(1, len(metrics) // max(1, len(rows)))  # at most, and no row in two pieces
        for i in range(0, len(metrics), whole):
            self.client.log_batch(self.run_id, metrics=metrics[i : i + whole])

    def record(self, folder: str, report: dict) -> None:
        """Final metrics, the data set as input, and the run's files.

        MLflow shows the last row of a curve; what the kept model has on train and val is ``best/val/...`` beside it.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, digest = report["dataset"], report["data_digest"]
        dataset = Dataset(name=name, digest=digest, source_type="reprise", source=f'{{"dataset": "{name}"}}')
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])
        self.held = set()
        known = self.client.get_run(self.run_id).data.metrics.get("test/loss")
        if known != report["metrics"]["test/loss"]:  # a resumed run may have told
            self.log([{"epoch": report["best_epoch"] or 0, **_final(report["metrics"])}])
        for path in artifacts(folder):
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(self.run_id, str(path), None if inside == "." else inside)

    def finish(self, status: str) -> None:
        self.client.set_terminated(self.run_id, STATUS[status])


def _final(metrics: dict) -> dict:
    names = {name: name if name.startswith("test/") else f"best/{name}" for name in metrics}
    return {names[name]: value for name, value in metrics.items() if value is not None}

"""MLflow: a sqlite store under ``outputs/``, or the server that ``MLFLOW_TRACKING_URI`` names."""

import logging
import os
import re
import time

from src.logger.artifacts import artifacts
from src.system.errors import without_password
from src.system.files import locked
from src.system.paths import outputs

STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
MAX_VALUE = 6000  # characters of a parameter that every store takes
MAX_METRICS = 1000  # in one request


def uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{outputs() / 'mlflow.db'}"


def client():
    """Return a client that gives up on a dead server after seconds, not minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # of opening a sqlite file; the default of 10 takes two minutes
    with locked(outputs() / ".mlflow.lock"):  # one process at a time makes the tables of a new sqlite file
        return MlflowClient(tracking_uri=uri())


def experiment_id(mlflow, name: str) -> str:
    """Return the experiment's id: made if new, restored if deleted, as its name cannot be given again.

    One process at a time: of six that meet a new sqlite file, five crash while making its tables.
    """
    with locked(outputs() / ".mlflow.lock"):
        known = mlflow.get_experiment_by_name(name)
        if known is None:
            local = uri().startswith("sqlite:")
            location = (outputs() / "mlartifacts").as_uri() if local else None
            return mlflow.create_experiment(name, artifact_location=location)
        if known.lifecycle_stage == "deleted":
            mlflow.restore_experiment(known.experiment_id)
        return known.experiment_id


def start_parent(project: str, name: str) -> str:
    """Start a run for a whole sweep, under which its jobs are shown, and return its id."""
    mlflow = client()
    return mlflow.create_run(experiment_id(mlflow, project), run_name=name, tags={"sweep": name}).info.run_id


def finish_parent(run_id: str, status: str) -> None:
    client().set_terminated(run_id, STATUS[status])


class MLflow:
    """One run in MLflow."""

    def start(self, run: dict, known: dict) -> dict:
        """Start a run and return its ids, or go on with the run of ``known``, what an earlier start returned.

        run : name, project, config (flat), tags, parent
        """
        from mlflow.entities import Param

        self.client = client()
        self.held = set()  # epochs that MLflow holds already
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
        params = []
        for key, value in run["config"].items():
            allowed = re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)
            params.append(Param(allowed, str(value)[:MAX_VALUE]))
        for i in range(0, len(params), 100):  # more are refused in one request
            self.client.log_batch(self.run_id, params=params[i : i + 100])
        return {"run_id": self.run_id, "experiment_id": experiment}

    def log(self, rows: list[dict]) -> None:
        """Log rows of history, without those that MLflow holds."""
        from mlflow.entities import Metric

        now, rows = int(time.time() * 1000), [row for row in rows if row["epoch"] not in self.held]
        width = max(map(len, rows), default=1)
        n = max(1, MAX_METRICS // width)  # whole rows: a row sent in part would pass for held
        for i in range(0, len(rows), n):
            batch = []
            for row in rows[i : i + n]:
                batch += [Metric(name, row[name], now, row["epoch"]) for name in row if name != "epoch"]
            self.client.log_batch(self.run_id, metrics=batch)

    def record(self, folder: str, report: dict) -> None:
        """Log the final metrics, the data set as input, and the run's files.

        MLflow shows the last row of a curve; the kept model's metrics on train and val are ``best/val/...``.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, digest, metrics = report["dataset"], report["data_digest"], report["metrics"]
        dataset = Dataset(name=name, digest=digest, source_type="reprise", source=f'{{"dataset": "{name}"}}')
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])
        self.held = set()
        known = self.client.get_run(self.run_id).data.metrics
        if known.get("test/loss") != metrics["test/loss"]:  # a resumed run may have logged them before
            row = {"epoch": report["best_epoch"] or 0}
            for key, value in metrics.items():
                if value is not None:
                    row[key if key.startswith("test/") else f"best/{key}"] = value
            self.log([row])
        for path in artifacts(folder):
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(self.run_id, str(path), None if inside == "." else inside)

    def finish(self, status: str) -> None:
        self.client.set_terminated(self.run_id, STATUS[status])

    @staticmethod
    def link(known: dict) -> str:
        """Return the command that shows all runs of the store."""
        return f"mlflow ui --backend-store-uri {without_password(uri())}"

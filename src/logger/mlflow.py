"""MLflow: a sqlite store under ``outputs/``, or the server that ``MLFLOW_TRACKING_URI`` names."""

import getpass
import logging
import os
import re
import shlex
import sqlite3
import time
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from src.logger.artifacts import artifacts
from src.system.errors import UserError, without_password
from src.system.files import locked, replacing
from src.system.paths import outputs

STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
STATUS["pruned"] = "KILLED"  # as in MLflow's own storage for Optuna; a tag tells it from stopped ones
MAX_VALUE = 6000  # characters of a parameter that every store takes
MAX_TAG = 5000  # characters
MAX_METRICS = 1000  # in one request
LOCKED = 5  # seconds that another program may keep a sqlite file locked
# variables MLFLOW_HTTP_..., unless the user sets them: a server that hangs is given up after 21 s
HTTP = {"REQUEST_MAX_RETRIES": "2", "REQUEST_BACKOFF_FACTOR": "1", "RESPECT_RETRY_AFTER_HEADER": "false"}
FIRST_TIMEOUT, TIMEOUT = 6, 60  # seconds for the first answer of a server; for later ones: large files
KIND = ("mlflow.experimentKind", "custom_model_development")  # else its pages are those of language models
USER_TIMEOUT = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")


def uri() -> str:
    """Return the address of the store; raw signs of a password, such as / or @, are in percent code."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(outputs() / "mlflow.db")
    scheme, _, rest = given.partition("://")
    login, at, host = rest.rpartition("@")
    if rest.startswith("/") or not at:
        return given
    user, colon, password = login.partition(":")
    return f"{scheme}://{quote(user, safe='%')}{colon}{quote(password, safe='%')}@{host}"


def client():
    """Return a client that gives up on a dead server after seconds, not minutes."""
    for name, value in HTTP.items():
        os.environ.setdefault(f"MLFLOW_HTTP_{name}", value)
    set_timeout(FIRST_TIMEOUT)
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with locked(outputs() / ".mlflow.lock"):  # one process at a time makes the tables of a new sqlite file
        path = sqlite_file()
        if path and path.exists():
            check_file(path)
        elif path:
            with replacing(path) as temporary:  # with a part of its tables a file would be refused for ever
                connect(sqlite_uri(temporary))
        return connect(uri())


def set_timeout(seconds: int) -> None:
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = USER_TIMEOUT or str(seconds)


def connect(address: str):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # of opening a sqlite file; the default of 10 takes two minutes
    try:
        return MlflowClient(tracking_uri=address)
    except ModuleNotFoundError as error:
        scheme = address.partition("://")[0]
        raise UserError(f"{scheme}:// needs the Python package {error.name}: install it") from None
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
        advice = f"back it up, then: mlflow db upgrade {address}"
        raise UserError(f"{address} is of an older MLflow: {advice}") from None


def sqlite_uri(path: Path) -> str:
    """Return the address of a sqlite file; a ? in its path, and a % before digits, are percent codes."""
    return "sqlite:///" + re.sub(r"\?|%(?=[0-9a-fA-F]{2})", lambda found: quote(found[0]), str(path))


def sqlite_file() -> Path | None:
    """Return the path of the store, if it is a file of sqlite."""
    from sqlalchemy.engine import make_url

    name = make_url(uri()).database if uri().startswith("sqlite:") else None
    return Path(name) if name and name != ":memory:" else None


def check_file(path: Path) -> None:
    """Refuse a file that sqlite cannot write to, or that a newer MLflow made, before MLflow is imported."""
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    for place in (path, path.parent):  # sqlite would take it for a store that is only read
        if not os.access(place, os.W_OK, effective_ids=True):
            raise UserError(f"{place} cannot be written to")
    rows = []
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # like a write
            if ("alembic_version",) in connection.execute("SELECT name FROM sqlite_master").fetchall():
                rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        raise UserError(f"{path}: {error}") from None
    versions = Path(find_spec("mlflow").origin).parent / "store/db_migrations/versions"
    for (revision,) in rows:
        if not any(versions.glob(f"{revision}_*.py")):
            raise UserError(f"{path} is of a newer MLflow than the installed one: upgrade mlflow")


def experiment_id(mlflow, name: str) -> str:
    """Return the experiment's id: made if new, restored if deleted, as its name cannot be given again.

    One process at a time: of six that meet a new sqlite file, five crash while making its tables.
    """
    with locked(outputs() / ".mlflow.lock"):
        known = mlflow.get_experiment_by_name(name)
        set_timeout(TIMEOUT)
        if known is None:
            local = uri().startswith("sqlite:")
            location = (outputs() / "mlartifacts").as_uri() if local else None
            return mlflow.create_experiment(name, artifact_location=location, tags=dict([KIND]))
        if known.lifecycle_stage == "deleted":
            mlflow.restore_experiment(known.experiment_id)
        if KIND[0] not in known.tags:
            mlflow.set_experiment_tag(known.experiment_id, *KIND)
        return known.experiment_id


class MLflow:
    """One run in MLflow."""

    def start(self, run: dict, known: dict) -> dict:
        """Start a run and return its ids, or go on with the run of ``known``, what an earlier start returned.

        run : as of `Fanout`
        """
        from mlflow.entities import Param

        self.client, self.log_file = client(), Path(run.get("log", ""))
        self.held = set()  # epochs that MLflow holds already
        if "run_id" in known:
            self.run_id = known["run_id"]
            self.client.set_terminated(self.run_id, "RUNNING")
            set_timeout(TIMEOUT)
            for tag in {"error", "pruned"} & {*self.client.get_run(self.run_id).data.tags}:
                self.client.delete_tag(self.run_id, tag)
            self.held = {metric.step for metric in self.client.get_metric_history(self.run_id, "val/loss")}
            return {key: known[key] for key in ("run_id", "experiment_id")}
        experiment = experiment_id(self.client, run["project"])
        started, tags = milliseconds(run.get("started")), tags_of(run)
        self.run_id = self.client.create_run(experiment, started, tags, run["name"]).info.run_id
        params = [Param(allowed(key), str(value)[:MAX_VALUE]) for key, value in run["config"].items()]
        for i in range(0, len(params), 100):  # more are refused in one request
            self.client.log_batch(self.run_id, params=params[i : i + 100])
        return {"run_id": self.run_id, "experiment_id": experiment}

    def log(self, rows: list[dict]) -> None:
        """Log rows of history, without those that MLflow holds."""
        from mlflow.entities import Metric

        rows = [row for row in rows if row["epoch"] not in self.held]
        width = max(map(len, rows), default=1)
        n = max(1, MAX_METRICS // width)  # whole rows: a row sent in part would pass for held
        for i in range(0, len(rows), n):
            batch = []
            for row in rows[i : i + n]:
                at, step = milliseconds(row.get("time")), row["epoch"]
                batch += [Metric(name, row[name], at, step) for name in row if name not in ("epoch", "time")]
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
            row = {"epoch": report["best_epoch"] or 0, "time": report.get("finished")}
            for key, value in metrics.items():
                if value is not None:
                    row[key if key.startswith("test/") else f"best/{key}"] = value
            self.log([row])
        for path in artifacts(folder):
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(self.run_id, str(path), None if inside == "." else inside)

    def finish(self, status: str, ended: float | None = None, error: str | None = None) -> None:
        if error:
            self.client.set_tag(self.run_id, "error", error[-MAX_TAG:])  # a traceback ends with its reason
        if status == "pruned":
            self.client.set_tag(self.run_id, "pruned", "true")
        self.client.set_terminated(self.run_id, STATUS[status], milliseconds(ended))
        if status != "done" and self.log_file.is_file():  # else `record` sent it
            self.client.log_artifact(self.run_id, str(self.log_file))

    @staticmethod
    def link(known: dict) -> str:
        """Return the command that shows all runs of the store."""
        return f"mlflow ui --backend-store-uri {shlex.quote(without_password(uri()))}"


def tags_of(run: dict) -> dict[str, str]:
    """Return the tags of a run: the user's, the project's, and MLflow's own columns User and Source."""
    tags = {allowed(tag): "true" for tag in run.get("labels", ()) if not tag.startswith("mlflow.")}
    tags |= run["tags"] | {"mlflow.source.type": "LOCAL"}
    own = {"parentRunId": run["parent"], "source.git.commit": run.get("commit")}
    own["source.name"] = run.get("source", "src.train")[:MAX_TAG]
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        own["user"] = getpass.getuser()
    return tags | {f"mlflow.{key}": value for key, value in own.items() if value}


def allowed(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)


def milliseconds(seconds: float | None) -> int:
    """Return a time as MLflow keeps it; None is now."""
    return int((time.time() if seconds is None else seconds) * 1000)

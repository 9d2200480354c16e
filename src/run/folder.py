"""Open and read a run: the folder ``outputs/runs/t7``, found by its name."""

import math
import re
import socket
from functools import cached_property
from pathlib import Path

from src.logger import csv
from src.run.trust import check_trust
from src.system.errors import UserError
from src.system.files import read_json
from src.system.paths import outputs, versions_in
from src.trainer.family import family


class Run:
    """A recorded run; it reads its folder and writes nothing.

    Attributes
    ----------
    name, folder : "t7" and its path
    cfg : dict, the resolved config
    report : dict, the content of report.json: status, metrics, timings, ...
    history : list of dict, one row an epoch
    trusted : bool, whether files that were not written here may run code
    """

    def __init__(self, folder: Path, cfg: dict, report: dict, trusted: bool = False):
        self.folder, self.name = folder, folder.name
        self.cfg, self.report, self.trusted = cfg, report, trusted

    @classmethod
    def open(cls, name: str | Path, trust: bool = False) -> "Run":
        """Open the run named ``t7``."""
        folder = find(name)
        return cls(folder, read_json(folder / "config.json"), read_json(folder / "report.json"), trust)

    @property
    def status(self) -> str:
        """done, failed, stopped, running, or killed: its process is gone and recorded no end."""
        status = self.report["status"]
        if status == "done" and not (self.folder / "DONE").is_file():
            status = "running"  # its trackers are not closed yet
        if status != "running" or self.report["host"] != socket.gethostname():
            return status
        return status if alive(self.report["pid"], self.report["started"]) else "killed"

    @property
    def objective(self) -> float:
        """The deciding metric on val: what a sweep optimises; nan where there is none."""
        value = self.report["metrics"].get(f"val/{self.report['metric']['name']}")
        return math.nan if value is None else value

    @cached_property
    def history(self) -> list[dict]:
        return csv.read(self.folder / "metrics.csv")

    @property
    def info(self) -> dict:
        return read_json(self.folder / "info.json")

    @property
    def predictions(self) -> dict:
        """Ids, targets and predictions as arrays: {"val_id", "val_y", "val_p", "test_id", ...}."""
        import numpy as np

        with np.load(self.folder / "predictions.npz", allow_pickle=False) as file:
            return dict(file)

    @property
    def trackers(self) -> dict:
        """Answers of the trackers: {"mlflow": {"run_id": ..., "closed": True}, "wandb": {"error": ...}}."""
        path = self.folder / "trackers.json"
        return read_json(path) if path.is_file() else {}

    def predict(self, frame):
        """Return class names, or values in the target's own units, for the rows of a DataFrame: (n,)."""
        return self._predictor.predict(frame)

    def predict_proba(self, frame):
        """Return probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        return self._predictor.predict_proba(frame)

    @cached_property
    def _predictor(self):
        from src.run.predictor import Predictor

        if not (self.folder / "DONE").is_file():
            advice = f"train it with: python -m src.resume run={self.name}"
            raise UserError(f"{self.name} is {self.status} and has no model yet; {advice}")
        check_trust(self)
        return Predictor(self, model_path(self.folder, self.cfg["model"]))

    def __repr__(self) -> str:
        text = f"{self.name}: {self.report['model']} on {self.report['dataset']}, {self.status}"
        if self.report["metric"] is not None:
            for name, value in self.report["metrics"].items():
                if name.partition("/")[2] == self.report["metric"]["name"]:
                    text += f", {name} {math.nan if value is None else value:.4f}"
        return text


def model_path(folder: Path, model: dict) -> Path:
    """Return where the model of the run in ``folder`` is saved; ``model`` is the section of its config."""
    return folder / "model" / f"model_{folder.name}.{family(model).SUFFIX}"


def runs_folder() -> Path:
    return outputs() / "runs"


def run_names() -> list[str]:
    """Return the names of all runs, ascending, without folders whose process died before the first report."""
    names = [f"t{number}" for number in versions_in(runs_folder(), "t")]
    return [name for name in names if (runs_folder() / name / "report.json").is_file()]


def find(name: str | Path) -> Path:
    """Return the folder of run ``t7``."""
    folder = runs_folder() / str(name)
    if not re.fullmatch(r"t\d+", str(name)) or not folder.is_dir():
        known = versions_in(runs_folder(), "t")
        there = f"there are t{known[0]} to t{known[-1]}" if known else "there are none yet"
        raise UserError(f"no run {name} in {runs_folder()}: {there}")
    return folder


def alive(pid: int, since: float) -> bool:
    """Return whether the process that had number ``pid`` at the time ``since`` still runs.

    Numbers are given again, so the start counts, too. A killed process stays a zombie if nobody waits for it.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

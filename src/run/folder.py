"""Open and read a run: the folder ``outputs/runs/t7``, found by its name."""

import math
import os
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from src.logger import csv
from src.run import shown
from src.run.lock import holder
from src.run.trust import check_trust
from src.system.errors import UserError, one_line, printable
from src.system.files import read_json
from src.system.paths import outputs, versions_in
from src.trainer.family import suffix

# what a listing needs of a run's files: a key and its type
NEEDED = {
    "config.json": {"model": dict, "dataset": dict, "trainer": dict, "logger": dict},
    "report.json": {
        "status": str, "model": str, "dataset": str, "metric": dict | None, "metrics": dict, "timings": dict,
    },
}
PUBLIC = (
    "name", "folder", "status", "report", "cfg", "info", "history", "predictions", "plots", "objective",
    "predict", "predict_proba",
)  # fmt: skip


class Run:
    """A recorded run; it reads its folder and writes nothing.

    name, folder : "t7" and its path
    cfg : dict, the resolved config
    report : dict, the content of report.json: status, metrics, timings, ...
    rows : list of dict, one an epoch; `history` is the same as a DataFrame
    arrays : dict of the arrays in predictions.npz; `predictions` is the same as a DataFrame
    trusted : bool, whether files that were not written here may run code
    """

    def __init__(self, folder: Path, cfg: dict, report: dict, trusted: bool = False):
        self.folder, self.name = folder, folder.name
        self.cfg, self.report, self.trusted = cfg, report, trusted

    @classmethod
    def open(cls, name: str | Path, trust: bool = False) -> "Run":
        """Open the run named ``t7``; a `BrokenRun` where its files cannot be read."""
        folder = find(name)
        return cls(folder, *(_read(folder, file) for file in NEEDED), trust)

    @property
    def status(self) -> str:
        """done, failed, stopped, pruned, running, or killed: nobody trains it and no end was recorded."""
        if self._ended(self.report):
            return self.report["status"]
        held = holder(self.folder)
        if held and held["verb"] in ("train", "resume"):
            return "running"
        report = _read(self.folder, "report.json")  # it may have ended after this one was read
        return report["status"] if self._ended(report) else "killed"

    def _ended(self, report: dict) -> bool:
        """Return whether an end was recorded; a run that is done closes its trackers before ``DONE``."""
        status = report["status"]
        return status != "running" and (status != "done" or (self.folder / "DONE").is_file())

    @property
    def objective(self) -> float:
        """The deciding metric on val: what a sweep optimises; nan where there is none."""
        value = self.report["metrics"].get(f"val/{self.report['metric']['name']}")
        return math.nan if value is None else value

    @cached_property
    def rows(self) -> list[dict]:
        try:
            return csv.read(self.folder / "metrics.csv")
        except (ValueError, TypeError, KeyError):
            raise BrokenRun(self.name, "metrics.csv is damaged") from None

    @property
    def history(self):
        """The metrics of each epoch as a DataFrame."""
        return shown.history(self.rows)

    @property
    def info(self) -> dict:
        return read_json(self.folder / "info.json")

    @property
    def predictions(self):
        """Id, target and prediction of each row of val and test as a DataFrame."""
        return shown.predictions(self.arrays, self.info)

    @property
    def plots(self) -> shown.Pictures:
        """The run's pictures, which a notebook shows."""
        return shown.Pictures(self.folder / "plots")

    @property
    def arrays(self) -> dict:
        """Ids, targets and predictions as arrays: {"val_id", "val_y", "val_p", "test_id", ...}."""
        if not (self.folder / "predictions.npz").is_file() and self.status != "done":
            raise UserError(f"{self.name} is {self.status} and has no predictions")
        try:
            import numpy as np

            with np.load(self.folder / "predictions.npz", allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # a damaged zip can raise anything
            raise BrokenRun(self.name, f"predictions.npz cannot be read: {one_line(error)}") from None

    @property
    def trackers(self) -> dict:
        """Answers of the trackers: {"mlflow": {"run_id": ..., "closed": True}, "wandb": {"error": ...}}."""
        path = self.folder / "trackers.json"
        return read_json(path) if path.is_file() else {}

    def predict(self, rows, etl: bool = True):
        """Return a DataFrame with id, prediction, and for classes a column p_<class>, for new rows.

        rows : a DataFrame as the file of the run's dataset has it, or a path; the target may be missing
        etl : False for rows as the dataset's ``etl`` returns them
        """
        return self._predictor.predict(rows, etl)

    def predict_proba(self, rows, etl: bool = True):
        """Return probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        return self._predictor.predict_proba(rows, etl)

    @cached_property
    def _predictor(self):
        from src.run.predictor import Predictor

        if not (self.folder / "DONE").is_file():
            advice = f"train it with: python -m src.resume run={self.name}"
            raise UserError(f"{self.name} is {self.status} and has no model yet; {advice}")
        check_trust(self)
        return Predictor(self)

    def __dir__(self) -> list[str]:
        return list(PUBLIC)  # completion in a notebook offers these

    def _repr_html_(self) -> str:
        return shown.html(self)

    def __repr__(self) -> str:
        text = f"{self.name}: {self.report['model']} on {self.report['dataset']}, {self.status}"
        if self.report["metric"] is not None:
            for name, value in self.report["metrics"].items():
                if name.partition("/")[2] == self.report["metric"].get("name"):
                    text += f", {name} {math.nan if value is None else value:.4f}"
        return printable(text)


class BrokenRun(UserError):
    """A run whose files cannot be read: listings show it and go on."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name} is broken: {reason}")
        self.name, self.status, self.report = name, f"broken: {printable(reason)}", {}

    def __repr__(self) -> str:
        return f"{self.name}  {self.status}"


def _read(folder: Path, file: str) -> dict:
    try:
        content = read_json(folder / file)
        for key, kind in NEEDED[file].items():
            value = content.get(key, None) if isinstance(content, dict) else ()
            numbers = value.values() if key in ("metrics", "timings") and isinstance(value, dict) else ()
            if not isinstance(value, kind) or not all(isinstance(x, int | float | None) for x in numbers):
                raise UserError(f"{file} has no valid {key!r}")
    except UserError as error:
        raise BrokenRun(folder.name, str(error).replace(f"{folder}/", "")) from None
    return content


def model_path(folder: Path, model: dict) -> Path:
    """Return where the model of the run in ``folder`` is saved; ``model`` is the section of its config."""
    return folder / "model" / f"model_{folder.name}.{suffix(model)}"


def runs_folder() -> Path:
    return outputs() / "runs"


def run_names() -> list[str]:
    """Return the names of all runs, ascending, without folders whose process died before the first report."""
    names = [f"t{number}" for number in versions_in(runs_folder(), "t")]
    return [name for name in names if os.path.exists(runs_folder() / name / "report.json")]


def all_runs() -> list[Run | BrokenRun]:
    """Return all runs, ascending; one that cannot be read is a `BrokenRun`, with a status of its own."""
    return [opened(name) for name in run_names()]


def opened(name: str) -> Run | BrokenRun:
    try:
        return Run.open(name)
    except BrokenRun as error:
        with suppress(BrokenRun):
            error.report = _read(find(name), "report.json")
        return error


def numbered(name) -> str:
    """Return the name of the run that "latest", -1 (the newest), 7 or "t7" means."""
    if name == "latest":
        name = -1
    if not re.fullmatch(r"-?\d+", str(name)):
        return str(name)
    known, number = run_names(), int(name)
    if number >= 0 or -number > len(known):
        return f"t{number}"
    return known[number]


def find(name: str | Path) -> Path:
    """Return the folder of run ``t7``, or of the run that `numbered` says."""
    name = numbered(name)
    folder = runs_folder() / name
    if not re.fullmatch(r"t\d+", name) or not folder.is_dir():
        known = versions_in(runs_folder(), "t")
        few = f"there is t{known[0]}" if known else "there are none yet"
        there = f"there are t{known[0]} to t{known[-1]}" if len(known) > 1 else few
        raise UserError(f"no run {name} in {runs_folder()}: {there}")
    return folder


def find_sweep(name: str) -> Path:
    """Return the folder of sweep ``s3``, or of the newest one, "latest"."""
    folder = outputs() / "sweeps"
    known = [f"s{number}" for number in versions_in(folder, "s")]
    found = known[-1] if name == "latest" and known else str(name)
    if found not in known or not (folder / found / "sweep.json").is_file():
        there = f"{known[0]} to {known[-1]}" if len(known) > 1 else "".join(known) or "none"
        raise UserError(f"there is no sweep {name!r}; known: {there}")
    return folder / found


def name_of(sweep: str, runs) -> str:
    """Return the name of a sweep, also of "latest", and where its folder is gone but not its runs."""
    return sweep if any(run.report.get("sweep") == sweep for run in runs) else find_sweep(sweep).name

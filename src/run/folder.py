"""A run is a folder, ``outputs/runs/t7``: claimed, recorded while it goes, opened again by its name."""

import logging
import math
import os
import re
import socket
import time
import traceback
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from src.config.tree import flat
from src.logger import csv
from src.logger.fanout import Fanout
from src.run.trust import signature
from src.system.code import snapshot_code
from src.system.environment import describe_environment
from src.system.errors import UserError
from src.system.files import read_json, write_json, write_yaml
from src.system.paths import claim, outputs, versions_in
from src.system.process import Child

log = logging.getLogger("reprise")
STARTED = time.time()
TRACKERS = ("mlflow", "wandb")


def runs_folder() -> Path:
    return outputs() / "runs"


class Run:
    """One run's folder and what is known of it.

    Attributes
    ----------
    name, folder : "t7" and its path
    cfg : dict, the resolved config
    report : dict, the content of report.json: status, metrics, timings, ...
    history : list of dict, one row an epoch
    """

    def __init__(self, folder: Path, cfg: dict, report: dict):
        self.folder, self.name, self.cfg, self.report = folder, folder.name, cfg, report
        self.history: list[dict] = []
        self.resumed = self.trusted = False
        self.progress = None
        self._trackers = None

    # -- making a run

    @classmethod
    def start(cls, cfg: dict, report: dict) -> "Run":
        """Begin in a folder claimed now; ``report`` is added to the run's."""
        folder = claim(runs_folder(), "t")
        run = cls(folder, cfg, {"run": folder.name, "dataset": cfg["dataset"]["name"], "model": cfg["model"]["name"]})
        run.report |= {
            "seed": cfg["seed"], "split_seed": cfg["dataset"]["split_seed"], "etl_version": None, "data_digest": None,
            "sweep": None, "parent": None, "replay_of": None,
            "metric": None, "best_epoch": None, "metrics": {}, "timings": {}, **report,
        }  # fmt: skip
        write_json(folder / "env.json", describe_environment(cfg["seed"]))
        names = [value for key, value in flat(cfg).items() if value and (key == "metric" or key.endswith(".class"))]
        snapshot_code(folder / "code.zip", names)
        run._begin()
        return run

    @classmethod
    def resume(cls, run: "Run", cfg: dict, kept_epochs: int) -> "Run":
        """Go on in the folder of ``run``, its history cut to the epochs that its last checkpoint knows."""
        again = cls(run.folder, cfg, run.report | {"metrics": {}, "resumed": run.report.get("resumed", 0) + 1})
        again.history = [row for row in run.history if row["epoch"] <= kept_epochs]
        again.resumed = True
        for key in ("error", "finished", "signed"):  # of the try before
            again.report.pop(key, None)
        (run.folder / "DONE").unlink(missing_ok=True)
        if (run.folder / "metrics.csv").is_file():
            csv.rewrite(run.folder / "metrics.csv", again.history)
        again._begin()
        for row in again.history if again._trackers else ():  # those that a tracker holds already, it leaves out
            again._trackers.log(row)
        return again

    def _begin(self) -> None:
        self.report |= {"status": "running", "pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}
        write_json(self.folder / "config.json", self.cfg)
        write_yaml(self.folder / "config.yaml", self.cfg)
        self._write_report()
        self._log_file = logging.FileHandler(self.folder / "log.txt", encoding="utf-8")
        self._log_file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        log.addHandler(self._log_file)
        names = [name for name in TRACKERS if self.cfg["logger"][name]]
        if names:
            self._trackers = self._fanout(names)
        if self._draws:
            Child.prestart("src.share.plots")

    def _fanout(self, names: list[str]) -> Fanout:
        sha = read_json(self.folder / "env.json")["git"]["sha"]
        tags = {"dataset": self.report["dataset"], "model": self.report["model"], "version": self.name}
        tags |= {"seed": str(self.cfg["seed"]), "git": sha or "none"} | dict.fromkeys(self.cfg["tags"], "true")
        if self.report["sweep"]:
            tags["sweep"] = self.report["sweep"]
        described = {
            "name": self.name, "project": self.cfg["logger"]["project"], "config": flat(self.cfg), "tags": tags,
            "parent": self.report["parent"],
        }  # fmt: skip
        return Fanout(names, described, self.folder / "trackers.json")

    def log_row(self, row: dict) -> None:
        """Take one epoch's row: {"epoch": 3, "train/loss": ..., "val/f1": ...}."""
        self.history.append(row)
        if self.cfg["logger"]["csv"]:
            csv.append(self.folder / "metrics.csv", row)
        if self._trackers:
            self._trackers.log(row)
        if self.progress:
            self.progress.row(row)

    @contextmanager
    def timed(self, stage: str):
        """Add the seconds of the block to ``timings[stage]``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.report["timings"][stage] = round(time.perf_counter() - began, 3)

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Record the end as "done", "failed" or "stopped": draw the pictures, and close the trackers."""
        self.report |= {"status": status, "finished": time.time()}
        if error is not None:
            mine = isinstance(error, UserError)
            self.report["error"] = str(error) if mine else "".join(traceback.format_exception(error))
            self._log_file.stream.write(f"error: {self.report['error']}\n")  # the shell shows it in its own way
        if status == "done":
            self.sign()
        self._write_report()
        with self.timed("trackers"):
            if status == "done" and self._draws:  # before the trackers take the files
                painter = Child.reuse("src.share.plots")
                painter.send("draw", str(self.folder))
                painter.wait()
            if self._trackers:
                if status == "done":
                    self._trackers.record(self.folder, self.report)
                self._trackers.finish(status)
        self._write_report()

    @property
    def _draws(self) -> bool:
        return self.cfg["pictures"] and self.cfg["logger"]["csv"]  # of what metrics.csv holds

    def sign(self) -> None:
        """Mark what can run code (config, code, model) as written here."""
        paths = [self.folder / "config.json", self.folder / "code.zip", *(self.folder / "model").glob("model_*")]
        names = (path.relative_to(self.folder).as_posix() for path in paths)
        self.report["signed"] = dict(zip(names, map(signature, paths), strict=True))

    @property
    def signed(self) -> bool:
        """Whether config, code and model are the ones that were written here, or that the user said to trust."""
        marks = self.report.get("signed", {})
        paths = {name: self.folder / name for name in marks}
        return len(marks) > 2 and all(p.is_file() and signature(p) == marks[name] for name, p in paths.items())

    def close(self) -> None:
        """Close the log, and mark a run that ended well: ``DONE`` is the last that is written."""
        log.removeHandler(self._log_file)
        self._log_file.close()
        if self.report["status"] == "done":
            (self.folder / "DONE").touch()

    def _write_report(self) -> None:
        write_json(self.folder / "report.json", self.report)

    # -- opening one

    @classmethod
    def open(cls, name: str | Path, trust: bool = False) -> "Run":
        """The run named ``t7``; with ``trust`` its files are used even if they were not written here."""
        folder = find(name)
        run = cls(folder, read_json(folder / "config.json"), read_json(folder / "report.json"))
        run.trusted = trust
        run.history = csv.read(folder / "metrics.csv")
        return run

    @property
    def status(self) -> str:
        """done, failed, stopped, running, or killed: its process is gone and it has not said why."""
        status = self.report["status"]
        if status == "done" and not (self.folder / "DONE").is_file():
            status = "running"  # its trackers were not through
        gone = self.report["host"] == socket.gethostname() and not alive(self.report["pid"], self.report["started"])
        return "killed" if status == "running" and gone else status

    @property
    def objective(self) -> float:
        """The chosen metric on val: what a sweep optimises."""
        value = self.report["metrics"].get(f"val/{self.report['metric']['name']}")
        return float("nan") if value is None else value

    def predict(self, frame):
        """Class names, or values in the target's own units, for the rows of a DataFrame: (n,)."""
        return self._predictor.predict(frame)

    def predict_proba(self, frame):
        """Probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        return self._predictor.predict_proba(frame)

    @cached_property
    def _predictor(self):
        from src.run.predictor import Predictor

        if not (self.folder / "DONE").is_file():
            raise UserError(
                f"{self.name} is {self.status}, it has no model to predict with; resume it: run={self.name}"
            )
        self.check_trust()
        return Predictor(self.folder, self.cfg["model"])

    @property
    def trackers(self) -> dict:
        """What each tracker said of itself: {"mlflow": {"run_id": ..., "closed": True}, "wandb": {"error": ...}}."""
        path = self.folder / "trackers.json"
        return read_json(path) if path.is_file() else {}

    def sync(self) -> dict:
        """Bring up what trackers missed: rows, files, status. Returns what each says of itself now."""
        names = [name for name in TRACKERS if self.cfg["logger"][name]]
        behind = [name for name in names if not self.trackers.get(name, {}).get("closed")]
        if behind and not self.cfg["logger"]["csv"]:
            raise UserError(f"{self.name} has no metrics.csv to bring up: it was made with logger.csv=false")
        if behind:
            fanout = self._fanout(behind)
            for row in self.history:
                fanout.log(row)
            if self.status == "done":
                fanout.record(self.folder, self.report)
            fanout.finish(self.status)
        return self.trackers

    @property
    def info(self) -> dict:
        return read_json(self.folder / "info.json")

    @property
    def predictions(self) -> dict:
        """{"val_id", "val_y", "val_p", "test_id", ...} as arrays."""
        import numpy as np

        with np.load(self.folder / "predictions.npz", allow_pickle=False) as file:
            return dict(file)

    def check_trust(self, code: bool = False) -> None:
        """Refuse files from elsewhere that can run code: a pickle, a class that is not the project's, its code."""
        if self.trusted or self.signed:
            return
        from src.model.build import is_own_net

        model = self.cfg["model"]
        harmless = "net" in model and is_own_net(str(model["net"]["class"])) and not code
        if not harmless:
            what = "its code" if code else "its model"
            raise UserError(
                f"{self.name} was not made here, and {what} could do anything: if you trust it, say trust=true"
            )

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{name} {math.nan if value is None else value:.4f}"
            for name, value in self.report["metrics"].items()
            if self._chosen(name)
        )
        what = f"{self.report['model']} on {self.report['dataset']}, {self.status}"
        return f"{self.name}: {what}{', ' + scores if scores else ''}"

    def _chosen(self, name: str) -> bool:
        return self.report["metric"] is not None and name.partition("/")[2] == self.report["metric"]["name"]


def find(name: str | Path) -> Path:
    """The folder of run ``t7``."""
    folder = runs_folder() / str(name)
    if not re.fullmatch(r"t\d+", str(name)) or not folder.is_dir():
        known = versions_in(runs_folder(), "t")
        there = f"there are t{known[0]} to t{known[-1]}" if known else "there are none yet"
        raise UserError(f"no run {name} in {runs_folder()}: {there}")
    return folder


def alive(pid: int, since: float) -> bool:
    """Whether process ``pid`` still runs, and is the one that ran at ``since``: numbers are given again.

    A killed process stays as a zombie where nobody waits for it, as in containers.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

"""Write a run's folder while the run goes."""

import logging
import os
import socket
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from src.config.tree import flat
from src.logger import csv
from src.run.folder import Run, runs_folder
from src.run.trackers import open_trackers, tracker_names
from src.run.trust import seals
from src.system.code import snapshot_code
from src.system.environment import describe_environment
from src.system.errors import UserError
from src.system.files import write_json, write_yaml
from src.system.paths import claim
from src.system.process import Child

log = logging.getLogger("reprise")
PLOTS = "src.share.plots"  # the module whose process draws the pictures
CODE_KEYS = (".metric", ".class", ".lit")  # keys whose values are dotted names of code


class Recorder:
    """Writes one run's folder, feeds its trackers, and has its pictures drawn; attributes as of a `Run`.

    resumed : bool, whether it goes on with a run that had begun before
    """

    def __init__(self, folder: Path, cfg: dict, report: dict, history: list[dict], resumed: bool):
        self.folder, self.name, self.cfg, self.report = folder, folder.name, cfg, report
        self.history, self.resumed = history, resumed
        self._draws = cfg["pictures"] and cfg["logger"]["csv"]  # curves are drawn from metrics.csv
        self._trackers = None

    @classmethod
    def start(cls, cfg: dict, report: dict) -> "Recorder":
        """Claim the next folder and begin a run there; ``report`` is added to the run's."""
        folder = claim(runs_folder(), "t")
        report = {
            "run": folder.name, "dataset": cfg["dataset"]["name"], "model": cfg["model"]["name"],
            "seed": cfg["seed"], "split_seed": cfg["dataset"]["split_seed"],
            "etl_version": None, "data_digest": None, "sweep": None, "parent": None, "replay_of": None,
            "metric": None, "best_epoch": None, "metrics": {}, "timings": {}, **report,
        }  # fmt: skip
        write_json(folder / "env.json", describe_environment(cfg["seed"]))
        dotted = [value for key, value in flat(cfg).items() if value and f".{key}".endswith(CODE_KEYS)]
        snapshot_code(folder / "code.zip", dotted)
        recorder = cls(folder, cfg, report, [], resumed=False)
        recorder._begin()
        return recorder

    @classmethod
    def resume(cls, run: Run, cfg: dict, kept_epochs: int) -> "Recorder":
        """Go on in the folder of ``run``, its history cut to the epochs that its last checkpoint holds."""
        report = run.report | {"metrics": {}, "resumed": run.report.get("resumed", 0) + 1}
        for key in ("error", "finished", "signed"):  # of the last attempt
            report.pop(key, None)
        history = [row for row in run.history if row["epoch"] <= kept_epochs]
        (run.folder / "DONE").unlink(missing_ok=True)
        if (run.folder / "metrics.csv").is_file():
            csv.rewrite(run.folder / "metrics.csv", history)
        recorder = cls(run.folder, cfg, report, history, resumed=True)
        recorder._begin()
        if recorder._trackers:
            for row in history:  # a tracker leaves out the rows that it holds
                recorder._trackers.log(row)
        return recorder

    def _begin(self) -> None:
        self.report |= {"status": "running", "started": time.time()}
        self.report |= {"pid": os.getpid(), "host": socket.gethostname()}
        write_json(self.folder / "config.json", self.cfg)
        write_yaml(self.folder / "config.yaml", self.cfg)
        self._write_report()
        self._log_file = logging.FileHandler(self.folder / "log.txt", encoding="utf-8")
        self._log_file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        log.addHandler(self._log_file)
        if which := tracker_names(self.cfg["logger"]):
            self._trackers = open_trackers(self, which)
        if self._draws:
            Child.prestart(PLOTS)

    def log_row(self, row: dict) -> None:
        """Record one epoch's row: {"epoch": 3, "train/loss": ..., "val/f1": ...}."""
        self.history.append(row)
        if self.cfg["logger"]["csv"]:
            csv.append(self.folder / "metrics.csv", row)
        if self._trackers:
            self._trackers.log(row)

    @contextmanager
    def timed(self, stage: str):
        """Record the seconds of the block as ``timings[stage]``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.report["timings"][stage] = round(time.perf_counter() - began, 3)

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Record the end as "done", "failed" or "stopped", draw the pictures, and close the trackers."""
        self.report |= {"status": status, "finished": time.time()}
        if error is not None:
            expected = isinstance(error, UserError)
            self.report["error"] = str(error) if expected else "".join(traceback.format_exception(error))
            self._log_file.stream.write(f"error: {self.report['error']}\n")  # the shell prints it itself
        if status == "done":
            self.report["signed"] = seals(self.folder)
        self._write_report()
        with self.timed("trackers"):
            if status == "done" and self._draws:  # before the trackers take the files
                painter = Child.reuse(PLOTS)
                painter.send("draw", str(self.folder))
                painter.wait()
            if self._trackers:
                if status == "done":
                    self._trackers.record(self.folder, self.report)
                self._trackers.finish(status)
        self._write_report()

    def close(self) -> None:
        """Close the log; ``DONE`` is written last, and only for a run that ended well."""
        log.removeHandler(self._log_file)
        self._log_file.close()
        if self.report["status"] == "done":
            (self.folder / "DONE").touch()

    def opened(self) -> Run:
        """Return the run, its history also with logger.csv=false, its nan as nan: JSON keeps them as null."""
        run = Run.open(self.name)
        run.history, run.report = self.history, self.report
        return run

    def _write_report(self) -> None:
        write_json(self.folder / "report.json", self.report)

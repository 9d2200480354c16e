"""Write a run's folder while the run goes."""

import hashlib
import logging
import os
import time
import traceback
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from src.logger import csv
from src.logger.fanout import Fanout, tracker_names
from src.run.folder import Run
from src.run.own import named_code
from src.run.trackers import describe, final, row_times
from src.run.trust import START, seal, seal_of
from src.system.code import snapshot_code
from src.system.environment import describe_environment
from src.system.errors import Lines, UserError, log, printable, without_password
from src.system.files import host, is_hidden, settle, to_json, write_json, write_text, write_yaml
from src.system.process import Child
from src.trainer import val_epochs

PLOTS = "src.share.plots"  # the module whose process draws the pictures


class Recorder:
    """Writes one run's folder, feeds its trackers, and has its pictures drawn; attributes as of a `Run`.

    The folder of a run that is resumed stays as it is until there is something new, see `begin`: a run that
    was done is still done if its data cannot be read any more.

    times : {epoch: time} of the history of a run that is resumed
    """

    def __init__(self, folder: Path, cfg: dict, report: dict, history: list, times: dict | None = None):
        self.folder, self.name, self.cfg, self.report = folder, folder.name, cfg, report
        self.rows, self.resumed = history, times is not None
        self._draws = cfg["pictures"] and cfg["logger"]["csv"]  # curves are drawn from metrics.csv
        self._trackers, self._begun, self._waiting, self._times = None, False, {}, times
        self._log_file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        self._log_file.setFormatter(Lines("%(asctime)s  %(message)s", "%H:%M:%S"))
        log.addHandler(self._log_file)

    @classmethod
    def start(cls, folder: Path, cfg: dict, report: dict) -> "Recorder":
        """Start a run in the folder that was claimed for it; ``report`` is added to the run's."""
        report = {
            "run": folder.name, "dataset": cfg["dataset"]["name"], "model": cfg["model"]["name"],
            "seed": cfg["seed"], "split_seed": cfg["dataset"]["split_seed"],
            "etl_version": None, "data_digest": None, "sweep": None, "parent": None, "replay_of": None,
            "metric": None, "best_epoch": None, "metrics": {}, "timings": {}, **report,
        }  # fmt: skip
        write_json(folder / "env.json", describe_environment(cfg["seed"]))
        snapshot_code(folder / "code.zip", named_code(cfg))
        return cls(folder, cfg, report, [])

    @classmethod
    def resume(cls, run: Run, cfg: dict, report: dict, kept_epochs: int) -> "Recorder":
        """Go on in the folder of ``run``, its history cut to the epochs that its last checkpoint holds.

        report : entries that are added to the run's report
        """
        history = [row for row in run.rows if row["epoch"] <= kept_epochs]
        report = run.report | report | {"timings": dict(run.report["timings"])}
        return cls(run.folder, cfg, report, history, row_times(run))

    def begin(self) -> None:
        """Record that the run is running, and start its trackers; a second call does nothing.

        A run that is resumed begins with its first new epoch, or when it turns out that none was left.
        """
        if self._begun:
            return
        self._begun = True
        if self.resumed:
            self._undo_end()
        self.report |= {"status": "running", "started": time.time(), "pid": os.getpid(), "host": host()}
        write_json(self.folder / "config.json", self.cfg)
        write_yaml(self.folder / "config.yaml", self.cfg)
        self.report["sealed"] = seal(self.folder, *START)
        self.write_report()
        for name, value in self._waiting.items():
            write_json(self.folder / name, value)
        if which := tracker_names(self.cfg["logger"]):
            wait = self.cfg["logger"].get("wait", 30)  # older runs have no such key
            self._trackers = Fanout(which, describe(self), self.folder / "trackers.json", wait)
            for row in self.rows:  # a tracker leaves out the rows that it holds
                self._trackers.log(row, self._times[row["epoch"]])
        if self._draws:
            Child.prestart(PLOTS)

    def _undo_end(self) -> None:
        """Remove what the last attempt recorded as its end, and the rows after its last checkpoint."""
        content = to_json(self.cfg)  # sealed before it is written: a kill leaves the old one or the new one
        sealed = [*self.report.get("sealed", [])]
        sealed.append(seal_of(self.name, "config.json", hashlib.sha256(content.encode()).hexdigest()))
        write_json(self.folder / "report.json", self.report | {"sealed": sealed})
        write_text(self.folder / "config.json", content)
        self.report |= {"metrics": {}, "resumed": self.report.get("resumed", 0) + 1}
        for key in ("error", "finished", "signed"):
            self.report.pop(key, None)
        (self.folder / "DONE").unlink(missing_ok=True)
        if (self.folder / "metrics.csv").is_file():
            csv.rewrite(self.folder / "metrics.csv", self.rows)
        same_data = "data" not in self.report.get("changed", [])
        n_epochs = self.rows[-1]["epoch"] if self.rows and same_data else 0
        val_epochs.cut(self.folder / val_epochs.NAME, n_epochs)
        if (self.folder / "times.csv").is_file():
            times = [{"epoch": row["epoch"], "time": self._times[row["epoch"]]} for row in self.rows]
            csv.rewrite(self.folder / "times.csv", times)

    def mlflow_id(self) -> str | None:
        """Return the run's id in MLflow, below which its folds are."""
        there = self._trackers and self.cfg["logger"]["mlflow"]
        return self._trackers.started("mlflow").get("run_id") if there else None

    def write(self, name: str, value) -> None:
        """Write a JSON file into the folder, after `begin`."""
        self._waiting[name] = value
        if self._begun:
            write_json(self.folder / name, value)

    def log_row(self, row: dict) -> None:
        """Record one epoch's row: {"epoch": 3, "train/loss": ..., "val/f1": ...}."""
        self.begin()
        now = time.time()
        self.rows.append(row)
        if self.cfg["logger"]["csv"]:
            csv.append(self.folder / "metrics.csv", row)
        if self._trackers:
            csv.append(self.folder / "times.csv", {"epoch": row["epoch"], "time": now})
            self._trackers.log(row, now)

    @contextmanager
    def timed(self, stage: str):
        """Record the seconds of the block as ``timings[stage]``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.report["timings"][stage] = round(time.perf_counter() - began, 3)

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Record the end as a run's `status`, draw the pictures, and close the trackers."""
        if error is not None:
            expected = isinstance(error, UserError)
            text = str(error) if expected else "".join(traceback.format_exception(error))
            self.report["error"] = printable(without_password(text), keep="\n")
            with suppress(OSError):  # a full disk
                self._log_file.stream.write(f"error: {self.report['error']}\n")  # the shell prints it itself
                self._log_file.flush()  # trackers take the file
        if not self._begun:
            return
        self.report |= {"status": status, "finished": time.time()}
        if status == "done":
            settle()  # a disk that is full fails the run here
            models = sorted(path.name for path in (self.folder / "model").iterdir() if not is_hidden(path))
            self.report["sealed"] += seal(self.folder, *(f"model/{name}" for name in models))
            if self._waiting.get("transforms.json", {}).get("etl"):  # code
                self.report["sealed"] += seal(self.folder, "transforms.json")
        full_disk = nullcontext() if status == "done" else suppress(OSError)  # it may be the error
        with full_disk:
            self.write_report()
        with self.timed("trackers"):
            if status in ("done", "pruned") and self._draws:  # before the trackers take the files
                painter = Child.reuse(PLOTS)
                painter.send("draw", str(self.folder))
                if reason := painter.wait():
                    log.warning("the pictures are missing: %s", reason)
            if self._trackers:
                if status == "done":
                    self._trackers.record(self.folder, final(self.report))
                self._trackers.finish(status, self.report["finished"], self.report.get("error"))
        with full_disk:
            self.write_report()

    def close(self) -> None:
        """Close the log; ``DONE`` is written last, and only for a run that ended well."""
        log.removeHandler(self._log_file)
        with suppress(OSError):  # a full disk
            self._log_file.close()
        if self._begun and self.report["status"] == "done":
            settle()
            (self.folder / "DONE").touch()

    def opened(self) -> Run:
        """Return the run, its history also with logger.csv=false, its nan as nan: JSON keeps them as null."""
        run = Run.open(self.name)
        run.rows, run.report = self.rows, self.report
        return run

    def write_report(self) -> None:
        write_json(self.folder / "report.json", self.report)

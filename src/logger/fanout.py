"""Send each row of a run to its trackers: the training thread fills a queue, child processes do the rest."""

import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from src.logger.mlflow import MLflow
from src.logger.wandb import WandB, is_off
from src.system.errors import log
from src.system.files import locked, read_json, write_json
from src.system.paths import outputs
from src.system.process import Child, lasting_environment

# name in the logger section of the config -> class with start, log, record, finish, link; see docs/adding.md
TRACKERS = {"mlflow": MLflow, "wandb": WandB}
PATIENCE = 3  # seconds that the end of a run waits for a tracker that failed in an earlier run
_failed = {}  # tracker -> environment variables with which it failed in this process


def tracker_names(logger: dict) -> list[str]:
    """Return the trackers that the config's section names, a class of the user's by its dotted name."""
    names = [name for name in TRACKERS if logger[name]]
    if "wandb" in names and is_off():
        log.info("wandb is switched off by WANDB_MODE=disabled")
        names.remove("wandb")
    return [*names, logger["class"]] if "class" in logger else names


def prestart(logger: dict) -> None:
    """Let the processes of trackers load their libraries while this one still loads its own."""
    for name in TRACKERS:
        if logger[name]:
            Child.prestart("src.logger.worker", name)


class Fanout:
    """The trackers of one run, each in its own `src.logger.worker` process.

    names : keys of `TRACKERS`
    run : name, project, config (flat), tags, parent, advice (for the sentence about a tracker that failed);
        of a run also nested (the config), labels (the user's tags), commit, source, started, log (a path)
    path : JSON file with each tracker's answer, or {"error": ...}
    wait : seconds that the end waits at most for all trackers together; None: for ever
    """

    def __init__(self, names: list[str], run: dict, path: Path, wait: float | None = None):
        self.run, self.path, self.finishing = run, path, False
        self.wait = math.inf if wait is None else wait
        here = list(map(os.path.abspath, sys.path))  # where the user's own module is
        paths = {name: [] if name in TRACKERS else here for name in names}
        self.workers = {name: Child.reuse("src.logger.worker", name, *paths[name]) for name in names}
        self._send("start", run, str(path))

    def started(self, name: str) -> dict:
        """Return what a tracker returned at its start; {} if it failed, or does not answer in time."""
        end, process = time.monotonic() + self.wait, self.workers[name].process
        while not (found := known(self.path, name)) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if not found:
            self._end(name, end)
        elif "error" in found:
            self._remember(name)
        return {} if "error" in found else found

    def log(self, row: dict, logged: float | None = None) -> None:
        """Send a row of history, and when it was logged (None: now)."""
        self._send("log", row | {"time": logged or time.time()})

    def record(self, folder: Path, report: dict) -> None:
        self._send("record", str(folder), report)

    def finish(self, status: str, ended: float | None = None, error: str | None = None) -> dict:
        """Close all trackers, wait for them, and return their answers; a second call goes on waiting.

        ended, error : when the run ended (None: now), and by what
        """
        if not self.finishing:
            self._send("finish", status, ended, error)
        self.finishing, began = True, time.monotonic()
        for name in list(self.workers):
            failed = _failed.get(name) == lasting_environment() or any(map(Path.exists, self._marks(name)))
            limit = min(self.wait, PATIENCE) if failed and self.wait < math.inf else self.wait
            self._end(name, began + limit)
        return read_json(self.path) if self.path.is_file() else {}

    def _end(self, name: str, end: float) -> None:
        """Wait until the time ``end`` for a tracker to close."""
        if reason := self.workers[name].wait(end - time.monotonic()):
            keep(self.path, name, known(self.path, name) | {"error": reason})
            log.warning(failure(name, self.run, reason))
        del self.workers[name]
        self._remember(name)

    def _remember(self, name: str) -> None:
        """Keep for the next runs whether the tracker failed."""
        failed = "error" in known(self.path, name)
        _failed[name] = lasting_environment() if failed else None
        for mark in self._marks(name):
            with suppress(OSError):  # the sweep's folder may be gone
                mark.touch() if failed else mark.unlink(missing_ok=True)

    def _marks(self, name: str) -> list[Path]:
        """Return the files by which the jobs of a sweep, perhaps in several processes, share a failure."""
        sweep = self.run["tags"].get("sweep")
        return [outputs() / "sweeps" / sweep / f".{name}.failed"] if sweep else []

    def _send(self, method: str, *arguments) -> None:
        for worker in self.workers.values():
            worker.send(method, *arguments)


def known(path: Path, name: str) -> dict:
    """Return what a tracker of the run returned so far, from the run's trackers.json."""
    return read_json(path).get(name, {}) if path.is_file() else {}


def keep(path: Path, name: str, found: dict) -> None:
    if path.parent.is_dir():
        with locked(path.with_name(".trackers.lock")):
            others = read_json(path) if path.is_file() else {}
            write_json(path, others | {name: found})


def failure(name: str, run: dict, reason: str) -> str:
    return f"{name} failed, {run['advice']} ({reason})"

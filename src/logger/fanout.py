"""Sends every row to every tracker from one background thread; a tracker that fails is left out, and said once."""

import logging
import queue
import threading
from pathlib import Path

from src.logger.mlflow import MLflow
from src.logger.wandb import WandB

log = logging.getLogger("reprise")
# name in the logger section of the config -> class
TRACKERS = {"mlflow": MLflow, "wandb": WandB}


class Fanout:
    """The trackers of one run. `log` costs the training thread a queue's put; `finish` waits for all of it.

    Parameters
    ----------
    names : list of str
        keys of `TRACKERS`.
    run : dict
        name, project, config (flat), tags, parent, known: see the trackers' ``start``.
    """

    def __init__(self, names: list[str], run: dict):
        self.trackers = {name: TRACKERS[name]() for name in names}
        self.found = {}  # name -> what finds the run again, or {"error": ...}
        self.queue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self.queue.put(("start", (run,)))
        if self.trackers:
            self.thread.start()

    def log(self, row: dict) -> None:
        self.queue.put(("log", row))

    def record(self, folder: Path, report: dict) -> None:
        self.queue.put(("record", (folder, report)))

    def finish(self, status: str) -> dict:
        """Close all trackers; returns what each said of itself."""
        self.queue.put(("finish", (status,)))
        if self.trackers:
            self.thread.join()
        return self.found

    def _work(self) -> None:
        method = None
        while method != "finish":
            method, arguments = self.queue.get()
            if method != "log":
                self._tell(method, *arguments)
                continue
            rows, after = [arguments], None  # take all rows that wait: one call for many is cheaper
            while after is None and not self.queue.empty():
                method, arguments = self.queue.get()
                if method == "log":
                    rows.append(arguments)
                else:
                    after = (method, arguments)
            self._tell("log", rows)
            if after:
                self._tell(after[0], *after[1])

    def _tell(self, method: str, *arguments) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                found = getattr(tracker, method)(*arguments)
            except Exception as error:  # whatever a tracker does, the run goes on
                del self.trackers[name]
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                self.found[name] = {**self.found.get(name, {}), "error": reason}
                log.warning("%s failed, the run goes on without it: %s", name, reason)
            else:
                if method == "start":
                    self.found[name] = found

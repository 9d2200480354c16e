"""Sends every row to every tracker from one background thread; a tracker that fails is left out, and said once."""

import logging
import queue
import threading
from pathlib import Path

from src.logger.mlflow import MLflow
from src.logger.wandb import WandB
from src.storage import write_json

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
        name, project, config (flat), tags, parent; known: {tracker: what finds the run again}, {} for a new one.
    path : Path
        where it is kept what each tracker said of itself, or {"error": ...}; written as soon as it is known, so that
        a killed run can be found again.
    """

    def __init__(self, names: list[str], run: dict, path: Path):
        self.trackers = {name: TRACKERS[name]() for name in names}
        self.path, self.found = path, dict(run["known"])
        self.queue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self.queue.put(("start", (run,)))
        self.thread.start()

    def log(self, row: dict) -> None:
        self.queue.put(("log", (row,)))

    def call(self, function, *arguments) -> None:
        """Let the thread call ``function`` between its rows: what is slow and nobody waits for."""
        self.queue.put(("call", (function, arguments)))

    def record(self, folder: Path, report: dict) -> None:
        self.queue.put(("record", (folder, report)))

    def finish(self, status: str) -> dict:
        """Close all trackers; returns what each said of itself."""
        self.queue.put(("finish", (status,)))
        self.thread.join()
        return self.found

    def _work(self) -> None:
        waiting = []
        while True:
            method, arguments = waiting.pop(0) if waiting else self.queue.get()
            if method == "log":  # take all rows that wait: one call for many is cheaper
                rows = [*arguments]
                while not self.queue.empty() and not waiting:
                    following = self.queue.get()
                    if following[0] == "log":
                        rows += following[1]
                    else:
                        waiting.append(following)
                self._tell("log", rows)
            elif method == "call":
                self._call(*arguments)
            else:
                self._tell(method, *arguments)
            if method == "finish":
                return

    def _call(self, function, arguments) -> None:
        try:
            function(*arguments)
        except Exception as error:  # a picture that cannot be drawn stops nothing
            log.warning("%s failed: %s", function.__name__, error)

    def _tell(self, method: str, *arguments) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                found = getattr(tracker, method)(*arguments)
            except Exception as error:  # whatever a tracker does, the run goes on
                del self.trackers[name]
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                self._keep(name, {"error": reason})
                log.warning("%s failed, the run goes on without it (python -m src.sync later): %s", name, reason)
                continue
            if method == "start":
                self.found.pop(name, None)
                self._keep(name, found)
            if method == "finish":
                self._keep(name, {"closed": True})

    def _keep(self, name: str, found: dict) -> None:
        self.found[name] = self.found.get(name, {}) | found
        if self.path.parent.is_dir():
            write_json(self.path, self.found)

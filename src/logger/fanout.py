"""Sends every row of a run to its trackers: a queue's put for the training thread, the rest in processes beside it."""

import json
import logging
import queue
import subprocess
import sys
import threading
from pathlib import Path

from src.storage import CHECKOUT, read_json

log = logging.getLogger("reprise")


class Fanout:
    """The trackers of one run, side by side, each in a `src.logger.worker` of its own.

    Parameters
    ----------
    names : list of str
        keys of ``src.logger.worker.TRACKERS``.
    run : dict
        name, project, config (flat), tags, parent.
    path : Path
        where it is kept what each tracker said of itself, or {"error": ...}.
    """

    def __init__(self, names: list[str], run: dict, path: Path):
        self.path = path
        self.workers = [_Worker(name, path) for name in names]
        self._send("start", run)

    def log(self, row: dict) -> None:
        self._send("log", row)

    def record(self, folder: Path, report: dict) -> None:
        self._send("record", str(folder), report)

    def finish(self, status: str) -> dict:
        """Close all trackers, wait for them, and return what each said of itself."""
        self._send("finish", status)
        for worker in self.workers:
            worker.messages.put(None)
        for worker in self.workers:
            worker.wait()
        return read_json(self.path) if self.path.is_file() else {}

    def _send(self, method: str, *arguments) -> None:
        for worker in self.workers:
            worker.messages.put([method, *arguments])


class _Worker:
    """The process of one tracker; None among its messages is the last."""

    def __init__(self, name: str, path: Path):
        self.name, self.messages = name, queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "src.logger.worker", name, str(path)],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._feed, self._listen)]
        for thread in self.threads:
            thread.start()

    def wait(self) -> None:
        for thread in self.threads:
            thread.join()
        if code := self.process.wait():
            log.warning("the process of %s ended with %s; python -m src.sync later", self.name, code)

    def _feed(self) -> None:
        try:
            with self.process.stdin as stream:
                while (message := self.messages.get()) is not None:
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()
        except OSError:
            return  # the worker is gone; `wait` tells

    def _listen(self) -> None:
        for line in self.process.stdout:
            log.warning("%s", json.loads(line))

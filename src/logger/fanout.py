"""Sends every row of a run to its trackers: a queue's put for the training thread, the rest in a process beside it."""

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
    """The trackers of one run, in a `src.logger.worker`.

    Parameters
    ----------
    names : list of str
        keys of ``src.logger.worker.TRACKERS``; none for pictures alone.
    run : dict
        name, project, config (flat), tags, parent; known: {tracker: what finds the run again}, {} for a new one.
    path : Path
        where it is kept what each tracker said of itself, or {"error": ...}.
    """

    def __init__(self, names: list[str], run: dict, path: Path):
        self.path, self.messages = path, queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "src.logger.worker", str(path.with_name(".trackers.lock"))],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._feed, self._listen)]
        for thread in self.threads:
            thread.start()
        self._send("start", names, run, str(path))

    def log(self, row: dict) -> None:
        self._send("log", row)

    def load(self, module: str) -> None:
        self._send("load", module)

    def call(self, function: str, *arguments) -> None:
        """Let the worker call ``function`` (a dotted name) between its rows: what is slow and nobody waits for."""
        self._send("call", function, *arguments)

    def record(self, folder: Path, report: dict) -> None:
        self._send("record", str(folder), report)

    def finish(self, status: str) -> dict:
        """Close all trackers, wait for it, and return what each said of itself."""
        self._send("finish", status)
        self.messages.put(None)
        for thread in self.threads:
            thread.join()
        if self.process.wait():
            log.warning("the trackers' process ended with %s; python -m src.sync later", self.process.returncode)
        return read_json(self.path) if self.path.is_file() else {}

    def _send(self, method: str, *arguments) -> None:
        self.messages.put([method, *arguments])

    def _feed(self) -> None:
        try:
            with self.process.stdin as stream:
                while (message := self.messages.get()) is not None:
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()
        except OSError:
            return  # the worker is gone; `finish` tells

    def _listen(self) -> None:
        for line in self.process.stdout:
            log.warning("%s", json.loads(line))

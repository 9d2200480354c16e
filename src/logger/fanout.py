"""Sends every row of a run to its trackers: a queue's put for the training thread, the rest in processes beside it."""

import logging
from pathlib import Path

from src.system.files import read_json
from src.system.process import Child

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
        self.path, self.finishing = path, False
        self.workers = {name: Child.reuse("src.logger.worker", name) for name in names}
        self._send("start", run, str(path))

    def log(self, row: dict) -> None:
        self._send("log", row)

    def record(self, folder: Path, report: dict) -> None:
        self._send("record", str(folder), report)

    def finish(self, status: str) -> dict:
        """Close all trackers, wait for them, and return what each said of itself; after an interrupt, wait on."""
        if not self.finishing:
            self._send("finish", status)
        self.finishing = True
        for name in list(self.workers):
            if not self.workers[name].wait():
                log.warning("what %s lacks now: python -m src.sync brings it", name)
            del self.workers[name]
        return read_json(self.path) if self.path.is_file() else {}

    def _send(self, method: str, *arguments) -> None:
        for worker in self.workers.values():
            worker.send(method, *arguments)

"""Send each row of a run to its trackers: the training thread fills a queue, child processes do the rest."""

import logging
from pathlib import Path

from src.logger.mlflow import MLflow
from src.logger.wandb import WandB
from src.system.files import read_json
from src.system.process import Child

log = logging.getLogger("reprise")

# name in the logger section of the config -> class with start, log, record, finish, link
TRACKERS = {"mlflow": MLflow, "wandb": WandB}


def prestart(logger: dict) -> None:
    """Let the processes of trackers load their libraries while this one still loads its own."""
    for name in TRACKERS:
        if logger[name]:
            Child.prestart("src.logger.worker", name)


class Fanout:
    """The trackers of one run, each in its own `src.logger.worker` process.

    Parameters
    ----------
    names : list of str
        keys of `TRACKERS`.
    run : dict
        name, project, config (flat), tags, parent.
    path : Path
        JSON file with each tracker's answer, or {"error": ...}.
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
        """Close all trackers, wait for them, and return their answers; a second call goes on waiting."""
        if not self.finishing:
            self._send("finish", status)
        self.finishing = True
        for name in list(self.workers):
            if not self.workers[name].wait():
                log.warning("%s is incomplete; complete it with: python -m src.sync", name)
            del self.workers[name]
        return read_json(self.path) if self.path.is_file() else {}

    def _send(self, method: str, *arguments) -> None:
        for worker in self.workers.values():
            worker.send(method, *arguments)

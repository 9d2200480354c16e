"""Jobs whose process died, by a signal or for want of memory: failed jobs whose runs can be resumed."""

import logging
import math
import os
import sys
import time
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from src.config import shell
from src.run.folder import Run
from src.study.jobs import STOP, ended, newest, rows, told
from src.system.errors import without_password
from src.system.files import write_json

log = logging.getLogger("reprise")


def lost(number: int, overrides, reason: str, launcher) -> JobReturn:
    """Record that the process of a job died, show it, and return Hydra's record of the job."""
    folder, run = Path(os.environ["REPRISE_SWEEP"]), None
    if name := newest(folder.name).get(str(number)):
        run = Run.open(name)
        report = run.report | {"status": "failed", "error": reason, "finished": time.time()}
        write_json(run.folder / "report.json", report)
        run.report = report
    shell.show(f"error: {name or f'job {number}'}: {reason}", sys.stderr)
    ended(folder, run, number, [*map(without_password, overrides)], reason)
    if launcher.config.on_error == "stop":
        (folder / STOP).touch()
    return JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan)


def show_end(number: int) -> None:
    """Show in this process how a job ended whose own output is elsewhere."""
    folder = Path(os.environ["REPRISE_SWEEP"])
    for row in rows(folder):
        if row["job"] == number:
            if row["error"]:
                shell.show(f"error: {row['run']}: {row['error'].splitlines()[-1]}", sys.stderr)
            log.info(told(row, folder))

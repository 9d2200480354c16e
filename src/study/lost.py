"""Jobs whose process died, by a signal or for want of memory: failed jobs whose runs can be resumed."""

import logging
import math
import os
import re
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


def killed_by(text: str) -> str:
    """Return why a process died, by the text in which joblib says its exit code.

    >>> killed_by("The exit codes of the workers are {SIGKILL(-9)}"), killed_by("{EXIT(3)}")
    ('its process was killed by SIGKILL, perhaps out of memory', 'its process ended with exit code 3')
    """
    if found := re.search(r"\bSIG[A-Z0-9]+\b", text):
        return f"its process was killed by {found[0]}" + ", perhaps out of memory" * (found[0] == "SIGKILL")
    code = re.search(r"EXIT\((\d+)\)", text)
    return f"its process ended with exit code {code[1]}" if code else "its process died"

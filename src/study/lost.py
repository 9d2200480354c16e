"""Jobs whose process died, by a signal or for want of memory: failed jobs whose runs can be resumed."""

import math
import os
import re
import sys
import time
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from src.config import shell
from src.run.folder import BrokenRun, Run, all_runs
from src.study.jobs import STOP, ended
from src.system.errors import without_password
from src.system.files import write_json


def lost(number: int, overrides, reason: str, on_error: str, failed: list[str]) -> JobReturn:
    """Record that the process of a job died, show it, and return Hydra's record of the job.

    failed : gets the name of the job's run, or of the job if it died before it had one
    """
    folder = Path(os.environ["REPRISE_SWEEP"])
    name = newest(folder.name).get(str(number))
    run = Run.open(name) if name else None
    if run and run.status != "done":
        report = run.report | {"status": "failed", "error": reason, "finished": time.time()}
        write_json(run.folder / "report.json", report)
        run = Run.open(name)
    shell.show(f"error: {name or f'job {number}'}: {reason}", sys.stderr)
    ended(folder, run, number, [*map(without_password, overrides)], reason)
    if on_error == "stop":
        (folder / STOP).touch()
    if name is None or run.status != "done":
        failed.append(name or f"job {number}")
    value = run.objective if run and run.status == "done" else math.nan
    return JobReturn(status=JobStatus.COMPLETED, _return_value=value)


def newest(sweep: str) -> dict[str, str]:
    """Return {number of the job: its newest run} of a sweep; a job whose run is broken begins anew."""
    readable = (run for run in all_runs() if not isinstance(run, BrokenRun))
    return {str(run.report["job"]): run.name for run in readable if run.report.get("sweep") == sweep}


def killed_by(text: str) -> str:
    """Return the reason for which a process died, by the text in which its exit code is.

    >>> killed_by("The exit codes of the workers are {SIGKILL(-9)}")
    'its process was killed by SIGKILL, perhaps out of memory'
    >>> killed_by("{EXIT(3)}")
    'its process ended with exit code 3'
    """
    if found := re.search(r"\b(SIG[A-Z0-9]+)\b", text):
        memory = ", perhaps out of memory" if found[1] == "SIGKILL" else ""
        return f"its process was killed by {found[1]}{memory}"
    code = re.search(r"EXIT\((\d+)\)", text)
    return f"its process ended with exit code {code[1]}" if code else "its process died"

"""Hydra's launchers of parallel jobs: on this machine by joblib, on SLURM or in local processes by submitit.

Joblib's jobs get processes that are pools by themselves. Submitit's own launcher waits for jobs in their
order, shows nothing meanwhile, and ends the sweep with the first one that died. Here each is shown when it
ends, one that died, by a signal or for want of memory, is one failed job whose run can be resumed, and Ctrl-C
stops all.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from types import SimpleNamespace

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from src.config import shell
from src.config.jobs import compose_once
from src.run.folder import Run
from src.study.jobs import STOP, ended, newest, rows, told
from src.study.workers import device_shares, side_by_side
from src.system.errors import UserError, log, one_line, without_password
from src.system.files import write_json

PAUSE, STOPPING = 0.5, 10  # seconds between two looks at submitit's jobs; for those that are interrupted


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


# -- joblib


def replace_joblib() -> None:
    """Let Hydra's joblib launcher call `launch`."""
    with suppress(ImportError):  # without the plugin Hydra names the launchers that are there
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

        JoblibLauncher.takes_iterators = True
        JoblibLauncher.launch = launch


def launch(launcher, job_overrides, initial_job_idx: int) -> list:
    """Run all jobs, ``hydra.launcher.n_jobs`` at a time; return Hydra's records of them, in their order.

    job_overrides : lists of overrides, or an iterator of (number, overrides): a search, which is asked for a
        job whenever one of the processes is idle
    """
    from joblib import effective_n_jobs

    shared = (launcher.hydra_context, launcher.config, launcher.task_function, Singleton.get_state())
    waiting, n_pools = job_overrides, effective_n_jobs(launcher.joblib["n_jobs"])
    if isinstance(job_overrides, Sequence):
        n_pools = min(n_pools, len(job_overrides))
        waiting = iter(enumerate(job_overrides, initial_job_idx))
    shares = device_shares(n_pools, launcher.config.trainer.devices)
    return side_by_side(waiting, shares, partial(_job, shared=shared), partial(lost, launcher=launcher))


def _job(number: int, overrides, shared: tuple):
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    compose_once()
    try:
        return execute_job(number, overrides, *shared)
    finally:
        if not parent_process().is_alive():  # nobody waits for the result
            os._exit(1)


# -- submitit


def replace_submitit() -> None:
    """Let Hydra's submitit launchers wait as the top of this file says."""
    from submitit import AutoExecutor, Executor, LocalJob

    def map_array(executor, launcher, overrides, keys, numbers, *others) -> list:
        try:
            jobs = Executor.map_array(executor, launcher, overrides, keys, numbers, *others)
        except Exception as error:  # of sbatch, for example for a partition that is unknown
            raise UserError(f"the jobs could not be submitted: {one_line(error)}") from None
        waiting, found = {job: i for i, job in enumerate(jobs)}, {}
        try:
            while waiting:
                for job in [job for job in waiting if job.done()]:
                    i = waiting.pop(job)
                    found[i] = _record(job, numbers[i], overrides[i], launcher)
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            _interrupt(waiting)
            raise
        return [SimpleNamespace(results=partial(list, [found[i]])) for i in sorted(found)]

    AutoExecutor.map_array = map_array
    LocalJob._results_timeout_s = 1  # 15 s are for results on a slow file system


def _record(job, number: int, overrides, launcher):
    """Return Hydra's record of a job that ended, and show here how it ended: its output is in a file."""
    try:
        record = job.results()[0]
    except Exception:  # no result, or one that cannot be read; a local job's state is always FINISHED
        state = "" if hasattr(job, "_process") else f" ({job.state})"
        reason = f"its process died{state}, perhaps out of memory; its output is in {job.paths.stderr}"
        return lost(number, overrides, reason, launcher)
    show_end(number)
    return record


def _interrupt(jobs) -> None:
    """Interrupt jobs, so that they record that they stopped; those that did not begin never will."""
    for job in jobs:
        if hasattr(job, "_process"):
            job.cancel()
        else:
            subprocess.run(["scancel", "--state=PENDING", job.job_id], check=False)
            subprocess.run(["scancel", "--signal=INT", job.job_id], check=False)
    end = time.monotonic() + STOPPING
    while time.monotonic() < end and not all(job.done(force_check=True) for job in jobs):
        time.sleep(PAUSE)

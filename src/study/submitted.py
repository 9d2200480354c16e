"""Jobs on SLURM, ``hydra/launcher=submitit_slurm``, or in processes of this machine, ``submitit_local``.

The plugin's launcher waits for jobs in their order, shows nothing meanwhile, and ends the sweep with the
first one that died. Here each is shown when it ends, one that died is one failed job, and Ctrl-C stops all.
"""

import subprocess
import time
from functools import partial
from types import SimpleNamespace

from src.study.lost import lost, show_end
from src.system.errors import UserError, one_line

PAUSE, STOPPING = 0.5, 10  # seconds between two looks at the jobs; for those that are interrupted


def replace_submitit() -> None:
    """Let Hydra's submitit launchers wait as said above."""
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

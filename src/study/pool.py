"""Jobs of a sweep side by side, ``hydra/launcher=joblib``: every process is a pool by itself.

Joblib's own pool is lost as a whole, with all its runs, when one of its processes is killed, as the kernel
does for want of memory. Here one killed process is one failed job. All end with the process that began them.
"""

import math
import os
import signal
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from contextlib import suppress

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

STOPPING = 60  # seconds in which an interrupted job closes its trackers


def replace_joblib(failed: list[str]) -> None:
    """Let Hydra's joblib launcher call `launch`; jobs whose process was killed are appended to ``failed``."""
    with suppress(ImportError):  # without the plugin Hydra names the launchers that are there
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

        JoblibLauncher.launch = lambda *args, **options: launch(*args, **options, failed=failed)


def launch(launcher, job_overrides, initial_job_idx: int, failed: list[str]) -> list:
    """Run all jobs, ``hydra.launcher.n_jobs`` at a time; return Hydra's records of them, in their order."""
    from joblib import effective_n_jobs

    shared = (launcher.hydra_context, launcher.config, launcher.task_function, Singleton.get_state())
    waiting = list(enumerate(job_overrides, initial_job_idx))
    n_pools = min(effective_n_jobs(launcher.joblib["n_jobs"]), len(waiting))
    idle, running, returned = [_pool() for _ in range(n_pools)], {}, {}
    try:
        while waiting or running:
            while waiting and idle:
                (number, overrides), pool = waiting.pop(0), idle.pop()
                running[pool.submit(_job, number, overrides, *shared)] = (number, pool)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, pool = running.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    print(f"error: the process of job {number} was killed", file=sys.stderr)
                    failed.append(f"job {number}")
                    pool = _pool()
                    returned[number] = JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan)
                else:
                    returned[number] = future.result()
                idle.append(pool)
    finally:
        _stop(running)
        for pool in idle:
            pool.shutdown()
    return [returned[number] for number in sorted(returned)]


def _pool():
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(1, initializer=_enter, initargs=(os.getpid(),))


def _stop(running: dict) -> None:
    """Interrupt the jobs that still run after Ctrl-C, and kill those that do not end."""
    for stop in (signal.SIGINT, signal.SIGKILL):
        for future, (_, pool) in running.items():
            for pid in () if future.done() else list(pool._processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)
        wait(running, timeout=STOPPING)


def _enter(parent: int) -> None:
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and & let it be ignored
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Stop this process's job as by Ctrl-C when the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOPPING)
    os._exit(1)


def _job(number: int, overrides, *shared):
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    parent = os.getppid()
    try:
        return execute_job(number, overrides, *shared)
    finally:
        if os.getppid() != parent:  # nobody waits for the result
            os._exit(1)

"""Jobs of a sweep side by side, ``hydra/launcher=joblib``: every process is a pool by itself.

Joblib's own pool is lost as a whole, with all its runs, when one of its processes is killed, as the kernel
does for want of memory. Here one killed process is one failed job. All end with the process that began them.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from contextlib import suppress
from itertools import cycle, islice, takewhile
from multiprocessing import parent_process
from pathlib import Path

from hydra.core.singleton import Singleton

from src.config.jobs import compose_once
from src.study.lost import killed_by, lost
from src.study.workers import CONTEXT

STOPPING = 60  # seconds in which an interrupted job closes its trackers


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
    pools = [[share, None] for share in device_shares(n_pools, launcher.config.trainer.devices)]

    def submit(pool: list, number: int, overrides):
        pool[1] = pool[1] or _pool(pool[0])
        return pool[1].submit(_job, number, overrides, *shared)

    def reason(error, pool: list) -> str | None:
        pool[1] = None if isinstance(error, BrokenExecutor) else pool[1]
        return killed_by(str(error)) if pool[1] is None else None

    try:
        return work(waiting, list(pools), submit, reason, _stop, launcher)
    finally:
        for _, pool in pools:
            if pool:
                pool.shutdown()


def work(jobs, idle: list, submit, reason, stop, launcher) -> list:
    """Run jobs by workers that are ``idle``; return Hydra's records of them, in their order.

    jobs : iterator of (number, overrides)
    submit : called with a worker, number and overrides; returns a Future
    reason : called with the exception of a Future and the worker; returns why the process died, or None
    stop : called at the end with {Future of a job that still runs: (number, overrides, worker)}
    """
    running, returned = {}, {}
    try:
        while True:
            while idle and (job := next(jobs, None)):
                worker = idle.pop()
                running[submit(worker, *job)] = (*job, worker)
            if not running:
                return [returned[number] for number in sorted(returned)]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, overrides, worker = running.pop(future)
                error = future.exception()
                why = error and reason(error, worker)
                returned[number] = lost(number, overrides, why, launcher) if why else future.result()
                idle.append(worker)
    finally:
        stop(running)


def device_shares(n_pools: int, n_each: int | str = 1) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES of each pool, the visible GPUs in turn.

    None where there are too few, and where ``trainer.devices`` names devices or takes all. They are counted
    without torch, which reads the variable when it loads.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        given = ",".join(str(i) for i, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))
    known = [*takewhile(lambda one: one.strip()[:1] not in ("", "-"), given.split(","))]  # as CUDA: up to -1
    n_each = 1 if n_each == "auto" else n_each
    if not isinstance(n_each, int) or not 0 < n_each <= len(known):
        return [None] * n_pools
    turns = cycle(known)
    return [",".join(islice(turns, n_each)) for _ in range(n_pools)]


def _pool(share: str | None):
    from joblib.externals.loky import ProcessPoolExecutor

    changed = {} if share is None else {"CUDA_VISIBLE_DEVICES": share}
    environment = {**os.environ, **changed}  # the server may be older than some of it
    return ProcessPoolExecutor(1, context=CONTEXT, initializer=_enter, initargs=(environment,))


def _stop(running: dict) -> None:
    """Interrupt the jobs that still run after Ctrl-C, and kill those that do not end."""
    for stop in (signal.SIGINT, signal.SIGKILL):
        for future, (*_, pool) in running.items():
            for pid in () if future.done() else list(pool[1]._processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)
        wait(running, timeout=STOPPING)


def _enter(environment: dict) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and & let it be ignored
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Stop this process's job as by Ctrl-C when the process that started it is gone."""
    parent_process().join()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOPPING)
    os._exit(1)


def _job(number: int, overrides, *shared):
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    compose_once()
    try:
        return execute_job(number, overrides, *shared)
    finally:
        if not parent_process().is_alive():  # nobody waits for the result
            os._exit(1)

"""Jobs of a sweep side by side, ``hydra/launcher=joblib``: every process is a pool by itself."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import parent_process

from hydra.core.singleton import Singleton

from src.config.jobs import compose_once
from src.study.lost import lost
from src.study.workers import device_shares, side_by_side


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

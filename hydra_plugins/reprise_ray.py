"""Hydra's plugin for ``hydra/launcher=ray``: jobs on a Ray cluster whose machines share outputs/."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

PASSED = ("OUTPUTS_DIR", "DATA_DIR", "REPRISE_", "MLFLOW_", "WANDB_", "PG")  # variables for jobs begin so


@dataclass
class RayConfig:
    _target_: str = "hydra_plugins.reprise_ray.RayLauncher"
    address: str = "local"  # Ray starts on this machine for this sweep; auto: the cluster that is there
    cpus_per_task: int = 1
    gpus_per_task: int = 0


class RayLauncher(Launcher):
    """Run each job as a task of Ray; a search is asked for a job whenever the cluster has room for one."""

    takes_iterators = True

    def __init__(self, **options):
        self.options = options

    def setup(self, *, hydra_context, task_function, config):
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx: int) -> list:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # else a dead address takes over 10 minutes
        import ray
        from hydra.core.singleton import Singleton

        from src.study.launchers import lost, show_end
        from src.study.workers import STOPPING, wait, work
        from src.system.errors import UserError
        from src.system.paths import CHECKOUT

        cpus, gpus, address = (self.options[name] for name in ("cpus_per_task", "gpus_per_task", "address"))
        places = os.pathsep.join([os.getcwd(), str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
        env = {"env_vars": {"PYTHONPATH": places}}  # not the others: Ray writes these into its logs
        try:
            ray.init(address, runtime_env=env, log_to_driver=False, logging_level="ERROR")
        except Exception:
            advice = "start one with ray start --head, or leave hydra.launcher.address out"
            raise UserError(f"no Ray cluster answers at hydra.launcher.address={address}: {advice}") from None
        shared = (self.hydra_context, self.config, self.task_function, Singleton.get_state())
        shared = ray.put((os.getcwd(), {k: v for k, v in os.environ.items() if k.startswith(PASSED)}, shared))
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_job)
        jobs, n, refs = job_overrides, int(ray.cluster_resources().get("CPU", 1)) // (cpus or 1) or 1, {}
        if isinstance(jobs, Sequence):
            n, jobs = len(jobs), iter(enumerate(jobs, initial_job_idx))

        def submit(_, number, overrides):
            ref = task.remote(number, overrides, shared)
            refs[future := ref.future()] = ref
            future.add_done_callback(lambda future: future.exception() or show_end(number))
            return future

        def reason(error, _):
            if isinstance(error, ray.exceptions.RayError) and not hasattr(error, "cause"):
                return f"its process died on Ray ({type(error).__name__}), perhaps out of memory"

        def stop(running):
            for force in (False, True):
                for future in running:
                    ray.cancel(refs[future], force=force)
                wait(running, timeout=STOPPING)
            ray.shutdown()

        return work(jobs, [None] * n, submit, reason, stop, partial(lost, launcher=self))


def _job(number: int, overrides, shared):
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    folder, environment, shared = shared
    os.environ.update(environment)
    with suppress(OSError):  # a machine without this folder
        os.chdir(folder)
    return execute_job(number, overrides, *shared)


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConfig, provider="reprise")

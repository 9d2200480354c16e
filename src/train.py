"""``python -m src.train model=mlp dataset=sst2``, and ``--multirun`` for several."""

import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import config, shell, storage
from src.storage import UserError

log = logging.getLogger("reprise")


@hydra.main(version_base=None, config_path="../conf", config_name="train")
def job(cfg) -> float:
    """One run in the folder that Hydra has claimed; returns the chosen metric on val."""
    from src.job import run_job

    shell.log_to_console()
    of_hydra = HydraConfig.get()
    folder = Path(of_hydra.runtime.output_dir)
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
        return run_job(plain, folder=folder, overrides=list(of_hydra.overrides.task)).objective
    except UserError as error:  # said now, as Hydra would tell of the first failed job only, and at the end
        print(f"error: {folder.name}: {error}", file=sys.stderr)
        failed.append(folder.name)
        return float("nan")
    except Exception as error:
        print(f"error: {folder.name}: {type(error).__name__}: {error}", file=sys.stderr)
        raise


failed: list[str] = []  # runs of this process that ended in a UserError


def main() -> None:
    from hydra._internal.utils import get_args_parser

    args = get_args_parser().parse_args()
    if args.help:
        print(shell.help_text())
        return
    if args.cfg or args.info or args.hydra_help:
        os.environ["REPRISE_CLAIM"] = "no"
        job()
        return
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors on, instead of printing them
    try:
        storage.check_outputs()
        n_jobs, first = config.check(args.overrides, args.multirun)
        if args.multirun:
            divide_cores(args.overrides)
            with sweep(first["logger"], n_jobs):
                job()
        else:
            job()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        shell.refuse(config.one_line(error), 2)
    sys.exit(1 if failed else 0)


def divide_cores(words: list[str]) -> None:
    """Tell the jobs of a parallel launcher how many stand side by side; their processes inherit it."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if values.get("hydra/launcher") == "joblib":
        said = values.get("hydra.launcher.n_jobs", "-1")
        if not said.removeprefix("-").isdigit():
            raise UserError(f"hydra.launcher.n_jobs={said}: should be a whole number")
        n_jobs = int(said)
        os.environ["REPRISE_PARALLEL_JOBS"] = str(n_jobs if n_jobs > 0 else os.cpu_count())


@contextmanager
def sweep(logger: dict, n_jobs: int):
    """A number for the sweep, ``s3``, and one parent run in MLflow, closed also when a job fails."""
    from src.logger import mlflow
    from src.overview import runs_of, sweep_summary
    from src.run import Run

    folder = storage.claim(storage.outputs() / "sweeps", "s")
    os.environ |= {"REPRISE_SWEEP": folder.name, "REPRISE_SWEEP_DIR": str(folder)}
    log.info("%s   %d jobs", folder.name, n_jobs)
    parent, status = None, "failed"
    if logger["mlflow"]:
        try:
            parent = os.environ["REPRISE_PARENT"] = mlflow.start_parent(logger["project"], folder.name)
        except Exception as error:  # a tracker that is down stops nothing
            log.warning("mlflow has no parent run for %s: %s", folder.name, config.one_line(error))
    try:
        yield
        status = "done"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        if parent:
            try:
                mlflow.finish_parent(parent, status)
            except Exception as error:
                log.warning("mlflow's parent run of %s stays open: %s", folder.name, config.one_line(error))
        log.info(sweep_summary(folder.name))
        failed.extend(name for name in runs_of(folder.name) if Run.open(name).status != "done")


if __name__ == "__main__":
    shell.run(main)

"""Train one model on one dataset, or many with ``--multirun``: ``model=mlp dataset=sst2``."""

import os
import sys
from contextlib import nullcontext

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from src.config import shell
from src.config.check import check
from src.config.own import for_hydra
from src.config.resolve import resolve
from src.logger.fanout import prestart
from src.system.errors import UserError, is_told, one_line, sentence, without_password
from src.system.paths import check_outputs
from src.trainer import ranks

failed = []  # the runs of this process that ended in a `UserError`


@hydra.main(version_base=None, config_path="../conf", config_name="train")
def job(cfg) -> float:
    """Train one run and return its deciding metric on val, which a sweep optimises."""
    if ranks.rank() == 0:
        prestart(cfg.logger)  # before the next import, which loads pandas
    from src.run.job import run_job
    from src.study.sweep import membership

    shell.console()
    settings = HydraConfig.get()
    report = membership(settings) | {"overrides": [*map(without_password, settings.overrides.task)]}
    try:
        run = run_job(resolve(cfg), report=report, n_side_by_side=settings.launcher.get("n_jobs") or 1)
        return run.objective if run else float("nan")  # only rank 0 has a run
    except Exception as error:  # print now: Hydra reports only the first failed job, and only at the end
        run = getattr(error, "run", None)
        if run is None and isinstance(error, UserError):  # refused before it became a run
            raise
        shell.show(f"error: {run + ': ' if run else ''}{sentence(error)}", sys.stderr)
        if not is_told(error):
            raise
        failed.append(run)
        return float("nan")


def main() -> None:
    try:
        args = shell.arguments()
        if args.help or args.cfg or args.info or args.hydra_help:
            return print(shell.help_text()) if args.help else job()
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
        check_outputs()
        n_jobs, first = check(args.overrides, args.multirun)
        sys.argv[1:] = for_hydra(sys.argv[1:])
        from src.study.sweep import sweep  # here: a typo is refused without it
        with sweep(first["logger"], n_jobs, failed) if args.multirun else nullcontext():
            job()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        shell.refuse(one_line(error), 2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    shell.run(main)

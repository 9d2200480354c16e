"""Train one model on one dataset, or many with ``--multirun``: ``model=mlp dataset=sst2``."""

import os
import sys

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config import shell
from src.config.check import check
from src.config.tree import addable
from src.logger.fanout import prestart
from src.study.sweep import membership, sweep
from src.system.errors import UserError, one_line
from src.system.paths import check_outputs
from src.trainer import ranks

failed = []  # the runs of this process that ended in a `UserError`


@hydra.main(version_base=None, config_path="../conf", config_name="train")
def job(cfg) -> float:
    """Train one run and return its deciding metric on val, which a sweep optimises."""
    if ranks.rank() == 0:
        prestart(cfg.logger)  # before the next import, which loads pandas
    from src.run.job import run_job

    shell.console()
    settings = HydraConfig.get()
    report = {"overrides": list(settings.overrides.task)} | membership(settings)
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
        run = run_job(plain, report=report, n_side_by_side=settings.launcher.get("n_jobs") or 1)
        return run.objective if run else float("nan")  # only rank 0 has a run
    except UserError as error:  # print now: Hydra reports only the first failed job, and only at the end
        if error.run is None:  # refused before it became a run
            raise
        print(f"error: {error.run}: {error}", file=sys.stderr)
        failed.append(error.run)
        return float("nan")
    except Exception as error:
        print(f"error: {getattr(error, 'run', '')}: {type(error).__name__}: {error}", file=sys.stderr)
        raise


def main() -> None:
    args = get_args_parser().parse_args()
    if args.help:
        return print(shell.help_text())
    if args.cfg or args.info or args.hydra_help:
        return job()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
    try:
        check_outputs()
        n_jobs, first = check(args.overrides, args.multirun)
        sys.argv[1:] = map(addable, sys.argv[1:])
        if args.multirun:
            with sweep(first["logger"], n_jobs) as found:
                sys.argv.append(f"hydra.sweep.dir={found.folder}")
                job()
            failed.extend(found.failed)
        else:
            job()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        shell.refuse(one_line(error), 2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    shell.run(main)

"""Train one model on one dataset, or many with ``--multirun``: ``model=mlp dataset=sst2``."""

import os
import sys
from contextlib import nullcontext
from functools import partial

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from src.config import shell
from src.config.check import check
from src.config.own import for_hydra
from src.config.resolve import resolve
from src.logger.fanout import prestart
from src.system.errors import UserError, one_line
from src.system.paths import check_outputs
from src.trainer import ranks

failed = []  # the runs of this process that ended in a `UserError`


@hydra.main(version_base=None, config_path="../conf", config_name="train")
def job(cfg) -> float:
    """Train one run and return its deciding metric on val, which a sweep optimises."""
    if ranks.rank() == 0:
        prestart(cfg.logger)  # before the next import, which loads pandas
    from src.study.jobs import run_once

    shell.console()
    cfg, then = resolve(cfg), None
    if cfg["register"]:
        from src.share.registry import registered
        then = partial(registered, cfg["register"])
    return run_once(cfg, HydraConfig.get(), failed, then)


def main() -> None:
    try:
        args = shell.arguments()
        if args.help or args.cfg or args.info or args.hydra_help:
            return shell.show(shell.wrapped(shell.help_text())) if args.help else job()
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
        check_outputs()
        words, again, force = args.overrides, None, False
        if any(word.startswith("sweep_resume=") for word in words):
            from src.study.sweep import begun
            words, again, force = begun(words)
        multirun = args.multirun or again is not None
        if multirun and any(word.startswith("register=") for word in words):
            raise UserError("register= is for one run: register the best job by python -m src.register")
        if args.multirun and "hydra/launcher=joblib" in words:
            from src.study.workers import prestart as prestart_workers
            prestart_workers(words)
        n_jobs, first = check(words, multirun)
        from src.config.jobs import plain_hydra  # here: a typo is refused without them
        from src.study.sweep import sweep
        with sweep(words, first, n_jobs, failed, again, force) if multirun else nullcontext():
            sys.argv[1:] = for_hydra(sys.argv[1:])
            plain_hydra()
            job()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        shell.refuse(one_line(error), 2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    shell.run(main)

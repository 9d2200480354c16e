"""Go on with a run that was stopped, killed or failed: ``run=t7``."""

import logging

from src.config import shell
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError
from src.trainer import ranks

log = logging.getLogger("reprise")


def resume(run: str, max_epochs: int | None = None):
    """Train the rest of a run from its last checkpoint, by its recorded config; returns the `Run`.

    python -m src.resume run=t7
    python -m src.resume run=t7 max_epochs=200

    run : the run, t7
    max_epochs : train longer than the run's trainer.max_epochs; may only rise
    """
    from src.run.job import run_job  # here: it loads pandas

    started = Run.open(run)
    cfg, before = started.cfg, started.cfg["trainer"]["max_epochs"]
    if started.report.get("received_as"):
        check_trust(started, code=True)
    longer = max_epochs is not None and max_epochs != before
    if longer and before is None:
        raise UserError(f"{run} was started with max_epochs=null, it has no limit: leave max_epochs out")
    if longer and max_epochs < before:
        raise UserError(f"max_epochs={max_epochs} is less than the {before} of {run}; it may only rise")
    if longer:
        cfg = {**cfg, "trainer": {**cfg["trainer"], "max_epochs": max_epochs}}
    if ranks.rank() > 0:  # rank 0 checks the rest, and may have started
        return run_job(cfg, resume=started)
    if started.status == "running":
        report = started.report
        raise UserError(f"{run} is still running, in process {report['pid']} on {report['host']}")
    if started.status == "done" and not longer:
        log.info("%s is done already: %s", run, started)
        return started
    if not cfg["logger"]["csv"] and (started.folder / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"{run} was made with logger.csv=false, it has no history: train it again")
    if cfg["dataset"]["name"] == "frame":
        raise UserError(f"{run} was trained on a DataFrame of a notebook, which is gone: fit again there")
    return run_job(cfg, resume=started)


if __name__ == "__main__":
    shell.call(resume)

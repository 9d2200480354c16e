"""Go on with a run that was stopped, killed or failed: ``run=t7``."""

import logging

from src.config import shell
from src.run.folder import Run, find
from src.run.lock import hold
from src.run.trust import check_trust
from src.system.errors import UserError
from src.trainer import ranks

log = logging.getLogger("reprise")


def resume(run: str, max_epochs: int | None = None, trust: bool = False, force: bool = False):
    """Train the rest of a run from its last checkpoint, by its recorded config; returns the `Run`.

    python -m src.resume run=t7
    python -m src.resume run=t7 max_epochs=200

    run : the run, t7
    max_epochs : train longer than the run's trainer.max_epochs; may only rise
    trust : run its code though it was not made here, or was changed since
    force : even if another process seems to hold the run; two in one folder spoil it
    """
    from src.run.job import run_job  # here: it loads pandas

    if ranks.rank() > 0:  # rank 0 holds the run and checks it, and may have started
        started = Run.open(run, trust)
        return run_job(_config(started, max_epochs), resume=started)
    with hold(find(run), "resume", force):
        started = Run.open(run, trust)
        cfg = _config(started, max_epochs)
        if started.status == "done" and cfg is started.cfg:
            log.info("%s is done already: %s", run, started)
            return started
        if not cfg["logger"]["csv"] and (started.folder / "checkpoints" / "last.ckpt").is_file():
            raise UserError(f"{run} was made with logger.csv=false, it has no history: train it again")
        if cfg["dataset"]["name"] == "frame":
            raise UserError(f"{run} was trained on a DataFrame of a notebook, which is gone: fit again there")
        return run_job(cfg, resume=started)


def _config(started: Run, max_epochs: int | None) -> dict:
    """Return the config to go on with: the run's, if it may run code here, with more epochs if wanted."""
    run, cfg, before = started.name, started.cfg, started.cfg["trainer"]["max_epochs"]
    check_trust(started, code=True)
    if max_epochs is None or max_epochs == before:
        return cfg
    if before is None:
        raise UserError(f"{run} was started with max_epochs=null, it has no limit: leave max_epochs out")
    if max_epochs < before:
        raise UserError(f"max_epochs={max_epochs} is less than the {before} of {run}; it may only rise")
    return {**cfg, "trainer": {**cfg["trainer"], "max_epochs": max_epochs}}


if __name__ == "__main__":
    shell.call(resume)

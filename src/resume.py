"""``python -m src.resume run=t7``: go on with a run that did not end."""

import logging
import sys

from src.config import shell
from src.system.errors import UserError

log = logging.getLogger("reprise")


def main() -> None:
    words = shell.verb("resume", sys.argv[1:])
    if (epochs := words["max_epochs"]) is not None and not epochs.isdecimal():
        shell.refuse(f"max_epochs={epochs}: should be a whole number", 2)
    resume(words["run"], None if epochs is None else int(epochs))


def resume(name: str, max_epochs: int | None = None):
    """Train the rest of run ``name`` by its own recorded config; returns the `Run`."""
    from src.run.folder import Run
    from src.run.job import run_job
    from src.run.trust import check_trust

    run = Run.open(name)
    cfg = run.cfg
    if run.report.get("received_as"):
        check_trust(run, code=True)
    before = cfg["trainer"]["max_epochs"]
    longer = max_epochs is not None and max_epochs != before
    if longer and before is None:
        raise UserError(f"{name} began without an end, max_epochs=null: it goes on as it is")
    if longer and max_epochs < before:
        raise UserError(f"max_epochs={max_epochs} is less than the {before} that {name} began with; it may only rise")
    if run.status == "running":
        raise UserError(f"{name} is still running, in process {run.report['pid']} on {run.report['host']}")
    if run.status == "done" and not longer:
        log.info("%s is done already: %s", name, run)
        return run
    if not cfg["logger"]["csv"] and (run.folder / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"{name} was made with logger.csv=false and has no history to go on from; train it anew")
    if cfg["dataset"]["name"] == "frame":
        raise UserError(f"{name} was trained on a DataFrame of a notebook, which is gone; fit again there")
    if longer:
        cfg = {**cfg, "trainer": {**cfg["trainer"], "max_epochs": max_epochs}}
    return run_job(cfg, resume=run)


if __name__ == "__main__":
    shell.run(main)

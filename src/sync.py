"""Send MLflow and W&B what they missed of a run: ``run=t7``, or of every run."""


from src.config import shell
from src.run.folder import BrokenRun, Run, find, run_names
from src.run.lock import Held, hold
from src.run.trackers import sync_run
from src.system.errors import UserError, log


def sync(run: str | None = None, force: bool = False, trust: bool = False) -> None:
    """Send trackers the rows and files that they missed while they were down; close runs that were killed.

    python -m src.sync run=t7
    python -m src.sync

    run : the run, t7; left out: every run
    force : even if another process seems to hold the run
    trust : use a logger of your own though the run was not made here, or was changed since
    """
    behind = []
    for name in run_names() if run is None else [find(run).name]:
        try:
            with hold(find(name), "sync", force):
                trackers = sync_run(Run.open(name, trust))
        except (Held, BrokenRun) as error:
            if run is not None:
                raise
            log.info("%s", error)
        except UserError as error:
            log.info("%s: %s", name, error)
            behind.append(name)
        else:
            failed = [tracker for tracker, found in trackers.items() if "error" in found]
            behind += [f"{name} in {tracker}" for tracker in failed]
            states = [f"{tracker} {'behind' if tracker in failed else 'complete'}" for tracker in trackers]
            log.info("%s: %s", name, ", ".join(states))
    if behind:
        raise UserError(f"still behind: {', '.join(behind)}")


if __name__ == "__main__":
    shell.call(sync)

"""Run a recorded run again in a clean process and compare: ``run=t7``."""

import sys

from src.config import shell
from src.config.compose import change
from src.run.again import run_again
from src.run.compare import compare, describe
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError, log


def replay(run: str, *changes: str, code: str = "recorded", trust: bool = False, data=None) -> dict:
    """Run a recorded run again, with its code, data version and threads, and compare the two bit by bit.

    python -m src.replay run=t7
    python -m src.replay run=t7 code=now
    python -m src.replay run=t7 model.lr=1e-3
    python -m src.replay run=t7 dataset.path=/new/my.csv

    run : the run, t7
    changes : overrides of its config, model.lr=1e-3; the new run is then recorded as an experiment.
        dataset.path= with the same data is none: the file was moved
    code : recorded, or now: did a change of the code alter results?
    trust : run its code though it was not made here, or was changed since
    data : in a notebook, the DataFrame that the run was trained on

    Returns a dict: run (the new one), changes, identical, and by kind the largest absolute difference.
    """
    shell.console()
    old = Run.open(run, trust)
    run = old.name  # of "latest"
    if old.status != "done":
        raise UserError(f"{run} is {old.status}: only a run that is done can be replayed")
    check_trust(old, code=True)
    if code not in ("recorded", "now"):
        raise UserError(f"code={code} is unknown; known: recorded, now")
    if old.cfg["dataset"]["name"] == "frame" and data is None:
        raise UserError(f'{run} was trained on a DataFrame: in a notebook, replay_train("{run}", data=df)')
    try:
        cfg = change(old.cfg, changes)
    except UserError as error:
        error.code = 2
        raise
    report = {"replay_of": run, "overrides": list(changes), "code": code}
    same_data = not any(change.startswith("dataset.path=") for change in changes)
    new = run_again(old, cfg, report, recorded_code=code == "recorded", data=data, same_data=same_data)
    if old.report["data_digest"] == new.report["data_digest"]:  # its data was only moved
        changes = [change for change in changes if not change.startswith("dataset.path=")]
    found = compare(old, new) | {"changes": list(changes)}
    log.info(describe(old, new, found))
    return found


if __name__ == "__main__":
    found = shell.call(replay)
    sys.exit(0 if found["identical"] or found["changes"] else 1)

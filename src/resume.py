"""Go on with a run that was stopped, killed or failed: ``run=t7``."""

import os
import sys
from contextlib import nullcontext

from src.config import shell
from src.run.again import check_resumable, config_to_resume, origin, report_of_resume
from src.run.folder import Run, find
from src.run.lock import hold
from src.system.errors import UserError, log
from src.trainer import ranks


def resume(
    run: str | None = None, max_epochs: int | None = None, trust: bool = False, force: bool = False,
    finish: bool = False, changed: bool = False, dataset_path: str | None = None, sweep: str | None = None,
    data=None,
):  # fmt: skip
    """Train the rest of a run from its last checkpoint, by its recorded config; returns the `Run`.

    python -m src.resume run=t7
    python -m src.resume run=t7 max_epochs=200
    python -m src.resume sweep=s3

    run : the run, t7
    max_epochs : train longer than the run's trainer.max_epochs; may only rise
    trust : run its code though it was not made here, or was changed since
    force : even if another process seems to hold the run; two in one folder spoil it
    finish : train no further; the best epoch so far is evaluated and kept
    changed : go on though its data or its code has changed since it began
    dataset_path : where the file of its data is now, if it was moved: dataset.path=/new/my.csv
    sweep : instead of a run, a sweep, s3: trains what is missing of it; returns a row for each of its runs
    data : in a notebook, the DataFrame that the run was trained on
    """
    from src.study.run import run_config  # here: it loads pandas
    from src.study.sweep import run_sweep

    if sweep is not None:
        return run_sweep(f"sweep_resume={sweep}")
    if run is None:
        raise UserError("name what to go on with: python -m src.resume run=t7, or sweep=s3")
    run = find(run).name  # of "latest", once: another run may begin meanwhile
    holder = hold(find(run), "resume", force) if ranks.rank() == 0 else nullcontext()
    with holder:  # rank 0 holds the run and checks it, and may have started when the others come
        started = Run.open(run, trust)
        cfg = config_to_resume(started, max_epochs, finish, dataset_path)
        if ranks.rank() == 0 and started.status == "done" and cfg["trainer"] is started.cfg["trainer"]:
            log.info("%s is done already: %s", run, started)
            return started
        if ranks.rank() == 0:
            check_resumable(started, cfg, data)
        report = report_of_resume(started, cfg, finish, changed)
        return run_config(cfg, resume=started, report=report, frame=data, origin=origin(started, not changed))


if __name__ == "__main__":
    if any(word.startswith("sweep=") for word in sys.argv):  # its exit code and its Ctrl-C
        words = [word.replace("sweep=", "sweep_resume=") for word in sys.argv[1:]]
        os.execv(sys.executable, [sys.executable, "-m", "src.train", *words])
    shell.call(resume)

"""A sweep, ``outputs/sweeps/s3``: a number and a parent run in MLflow for the jobs of a ``--multirun``."""

import logging
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from hydra.types import RunMode

from src.logger.fanout import Fanout
from src.run.folder import opened
from src.run.overview import runs_of, sweep_summary
from src.study.leaderboard import leaderboards, shown
from src.study.pool import replace_joblib
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import claim, outputs
from src.trainer import ranks

log = logging.getLogger("reprise")


@contextmanager
def sweep(logger: dict, n_jobs: int, failed: list):
    """Claim the next sweep and tell Hydra its folder; at the end add runs that are not done to ``failed``.

    The parent run in MLflow is done if there are none.
    """
    if ranks.launcher():
        raise UserError(f"{ranks.launcher()} starts the ranks of one run: leave --multirun out")
    folder = claim(outputs() / "sweeps", "s")
    os.environ["REPRISE_SWEEP"] = str(folder)  # an override would read ', \ and ${ of a path
    sys.argv.append("hydra.sweep.dir=${oc.env:REPRISE_SWEEP}")
    name = folder.name
    log.info("%s   %d jobs", name, n_jobs)
    described = {
        "name": name, "project": logger["project"], "config": {}, "tags": {"sweep": name}, "parent": None,
        "started": time.time(),
        "advice": f"{name} goes on without a parent run there",
    }  # fmt: skip
    names, status = ["mlflow"] if logger["mlflow"] else [], "failed"
    trackers = Fanout(names, described, folder / "trackers.json", logger["wait"])
    parent = trackers.started("mlflow").get("run_id") if names else None
    write_json(folder / "sweep.json", {"parent": parent})
    replace_joblib(failed)
    try:
        yield
        status = "done"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        log.info(sweep_summary(name))
        failed += [run for run in runs_of(name) if opened(run).status != "done"]
        if len(failed) < len(runs_of(name)) > 1:
            log.info("\n%s", shown(leaderboards({"sweep": name}), "text"))
        if status == "done" and failed:
            status = "failed"
        trackers.finish(status, error=f"not done: {', '.join(failed)}" if failed else None)
        for mark in folder.glob(".*.failed"):  # for the jobs of this sweep
            mark.unlink()


def membership(hydra_cfg) -> dict:
    """Return the sweep and the MLflow parent run of a job, for its report; nulls for a single run."""
    if hydra_cfg.mode != RunMode.MULTIRUN:
        return {"sweep": None, "parent": None}
    folder = Path(hydra_cfg.sweep.dir)
    return {"sweep": folder.name, "parent": read_json(folder / "sweep.json")["parent"]}

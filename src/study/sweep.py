"""A sweep, ``outputs/sweeps/s3``: a number and a parent run in MLflow for the jobs of a ``--multirun``."""

import logging
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from hydra.types import RunMode

from src.logger.mlflow import finish_parent, start_parent
from src.run.folder import opened
from src.run.overview import runs_of, sweep_summary
from src.system.errors import UserError, one_line
from src.system.files import read_json, write_json
from src.system.paths import claim, outputs
from src.trainer import ranks

log = logging.getLogger("reprise")


@contextmanager
def sweep(logger: dict, n_jobs: int):
    """Claim the next sweep and yield its ``folder``; at the end ``failed`` names its runs that are not done.

    The parent run in MLflow is also closed when a job fails.
    """
    if ranks.launcher():
        raise UserError(f"{ranks.launcher()} starts the ranks of one run: leave --multirun out")
    found = SimpleNamespace(folder=claim(outputs() / "sweeps", "s"), failed=[])
    name = found.folder.name
    log.info("%s   %d jobs", name, n_jobs)
    parent, status = None, "failed"
    if logger["mlflow"]:
        try:
            parent = start_parent(logger["project"], name)
        except Exception as error:  # a tracker that is down stops no sweep
            log.warning("MLflow gets no parent run for %s: %s", name, one_line(error))
    write_json(found.folder / "sweep.json", {"parent": parent})
    try:
        yield found
        status = "done"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        if parent:
            try:
                finish_parent(parent, status)
            except Exception as error:
                log.warning("the parent run of %s in MLflow stays open: %s", name, one_line(error))
        log.info(sweep_summary(name))
        found.failed += [run for run in runs_of(name) if opened(run).status != "done"]


def membership(hydra_cfg) -> dict:
    """Return the sweep and the MLflow parent run of a job, for its report; nulls for a single run."""
    if hydra_cfg.mode != RunMode.MULTIRUN:
        return {"sweep": None, "parent": None}
    folder = Path(hydra_cfg.sweep.dir)
    return {"sweep": folder.name, "parent": read_json(folder / "sweep.json")["parent"]}

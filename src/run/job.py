"""The only path from words to a run: data, model, fit, record. Shell, notebook and sweeps all call `run_job`."""

import cProfile
import io
import logging
import pstats
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from src.data.load import load_data
from src.data.prepare import Data, describe
from src.metric.choose import better, choose, compute, loss
from src.run.folder import STARTED, Run
from src.run.overview import summary
from src.system.environment import n_threads, set_seed, set_threads
from src.system.errors import UserError
from src.system.files import replacing, write_json
from src.trainer import family, ranks
from src.trainer.history import Progress

log = logging.getLogger("reprise")


def run_job(
    cfg: dict, *, frame=None, resume: Run | None = None, report: dict | None = None, n_side_by_side: int = 1
) -> Run:
    """Train ``cfg["model"]`` on ``cfg["dataset"]`` and return the finished run.

    Parameters
    ----------
    cfg : dict
        the resolved config, plain.
    frame : DataFrame, optional
        data to use instead of reading the dataset's.
    resume : Run, optional
        a stopped run to go on with instead of beginning a new one.
    report : dict, optional
        goes into the run's report.
    n_side_by_side : int
        how many jobs share this machine's cores.

    Raises
    ------
    UserError
        for what the user can mend; the run is then recorded as failed. Ctrl-C leaves it stopped.
    """
    set_threads(n_threads(cfg["threads"], n_side_by_side))
    if resume is not None:
        run = Run.resume(resume, cfg, _checkpoint_epoch(resume))
    else:
        run = Run.start(cfg, report or {})
    run.report["timings"]["start"] = round(time.time() - STARTED, 3) if not _DONE_BEFORE else 0.0
    _DONE_BEFORE.append(run.name)
    log.info("%s   %s on %s", run.name, cfg["model"]["name"], cfg["dataset"]["name"])
    try:
        _train(cfg, run, frame)
        run.finish("done")
        log.info(summary(run))
    except KeyboardInterrupt:
        if run.report["status"] == "done":
            log.info("%s is done; what trackers lack: python -m src.sync run=%s", run.name, run.name)
        else:
            run.finish("stopped")
            log.info("%s stopped; go on with: python -m src.resume run=%s", run.name, run.name)
        raise
    except BaseException as error:
        run.finish("failed", error)
        error.run = run.name  # the shell names it
        raise
    finally:
        run.close()
    return run


_DONE_BEFORE: list[str] = []  # runs of this process: only the first waited for the start of Python


def _train(cfg: dict, run: Run, frame) -> None:
    set_seed(cfg["seed"])
    with run.timed("data"):
        data = load_data(cfg, frame)
        log.info(describe(data))
        chosen = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
        run.report |= {"data_digest": data.info["digest"], "etl_version": data.info["etl_version"]}
        run.report |= {"metric": {"name": chosen["name"], "mode": chosen["mode"]}}
        write_json(run.folder / "info.json", data.info)
        write_json(run.folder / "transforms.json", data.transforms)
    with run.timed("fit"):
        run.progress = Progress(chosen, _expected_epochs(cfg))
        with side_by_side(cfg, run, frame), profiled(run.folder / "profile.txt") if cfg["profile"] else nullcontext():
            model = family.fit(cfg, data, run, run.progress)
        run.progress.flush()
    with run.timed("evaluate"):
        predictions = {part: family.predict(model, data.parts[part], data.info) for part in ("val", "test")}
        _evaluate(run, data, predictions, chosen)
    with run.timed("record"):
        _save_predictions(run.folder / "predictions.npz", data, predictions)
        family.save(model, run.folder / "model", run.name)


@contextmanager
def side_by_side(cfg: dict, run: Run, frame):
    """The other ranks, where the trainer asks for several devices."""
    n = ranks.n_devices(cfg["trainer"]) if family.is_torch(cfg["model"]) else 1
    if n == 1:
        yield
        return
    copy = run.folder / "frame.pkl"  # what only this process has, for the others to read
    if frame is not None:
        frame.to_pickle(copy)
    try:
        with ranks.others(n, run.folder):
            yield
    finally:
        copy.unlink(missing_ok=True)


@contextmanager
def profiled(path: Path):
    """Write where the block's seconds went, by function, and show the top."""
    profile = cProfile.Profile()
    with profile:
        yield
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(60)
    path.write_text(text.getvalue())
    log.info("profile, by cumulative seconds (more in %s):\n%s", path, "\n".join(text.getvalue().splitlines()[6:30]))


def _evaluate(run: Run, data: Data, predictions: dict, chosen: dict) -> None:
    best = None
    for row in run.history:
        if better(row, best, chosen):
            best = row
    staged = run.cfg["model"].get("progress") in ("once", "staged", "grow")  # the last stage is the model
    if best is None and run.history:
        log.warning("%s on val was never a number: the last epoch is kept", chosen["name"])
    kept = run.history[-1] if run.history and (staged or best is None) else best
    values = {"train/loss": kept["train/loss"]} if kept else {}
    for part, p in predictions.items():
        y = data.parts[part]["y"]
        scores = {"loss": loss(y, p, data.info)} | compute(data.info["task"], chosen, y, p)
        values |= {f"{part}/{name}": value for name, value in scores.items()}
    run.report |= {"best_epoch": kept and kept["epoch"], "metrics": values}


def _save_predictions(path: Path, data: Data, predictions: dict) -> None:
    import numpy as np

    arrays = {}
    for part, p in predictions.items():
        arrays |= {f"{part}_id": data.parts[part]["id"], f"{part}_y": data.parts[part]["y"], f"{part}_p": p}
    with replacing(path) as file, file.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def _expected_epochs(cfg: dict) -> int:
    model = cfg["model"]
    return cfg["trainer"]["max_epochs"] or 0 if family.is_torch(model) or model["progress"] == "partial_fit" else 100


def _checkpoint_epoch(run: Run) -> int:
    """Epochs that the run's last checkpoint has behind it; 0 where there is none."""
    last = run.folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return 0
    import torch

    try:
        return torch.load(last, weights_only=True, map_location="cpu")["epoch"] + 1
    except Exception as error:  # of many kinds, by which byte is damaged
        raise UserError(
            f"{last} is damaged ({error or type(error).__name__}); without it, the run begins anew"
        ) from None

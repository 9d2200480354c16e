"""The only path from a config to a run: data, fit, evaluate, record. Shell, notebook and sweeps all call `run_job`."""

import cProfile
import io
import logging
import pstats
from contextlib import contextmanager
from pathlib import Path

from src.data.load import load_data
from src.data.prepare import Data, describe
from src.metric.choose import better, choose, compute, loss
from src.run.folder import Run
from src.run.overview import summary
from src.run.record import Recorder
from src.system.environment import n_threads, seconds_of_start, set_seed, set_threads
from src.system.errors import UserError
from src.system.files import replacing, write_json
from src.trainer import family, ranks
from src.trainer.history import Progress

log = logging.getLogger("reprise")


def run_job(
    cfg: dict, *, frame=None, resume: Run | None = None, report: dict | None = None, n_side_by_side: int = 1
) -> Run:
    """Train ``cfg["model"]`` on ``cfg["dataset"]`` and return the finished run.

    cfg : the resolved config, as plain values
    frame : DataFrame to use instead of reading the dataset's
    resume : an unfinished run to go on with, instead of a new one
    report : entries that are added to the run's report
    n_side_by_side : how many jobs share this machine's cores

    A `UserError` or any other exception leaves the run recorded as failed, Ctrl-C as stopped.
    """
    set_threads(n_threads(cfg["threads"], n_side_by_side))
    if resume is None:
        recorder = Recorder.start(cfg, report or {})
    else:
        recorder = Recorder.resume(resume, cfg, _checkpoint_epoch(resume))
    log.info("%s   %s on %s", recorder.name, cfg["model"]["name"], cfg["dataset"]["name"])
    with recorded(recorder):
        set_seed(cfg["seed"])
        with recorder.timed("data"):
            data = load_data(cfg, frame)
            chosen = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
            _record_data(recorder, data, chosen)
        with recorder.timed("fit"), side_by_side(cfg, recorder, frame), profiled(cfg["profile"], recorder.folder):
            recorder.progress = Progress(chosen, _expected_epochs(cfg))
            model = family.fit(cfg, data, recorder, recorder.progress)
            recorder.progress.flush()
        with recorder.timed("evaluate"):
            predictions = {part: family.predict(model, data.parts[part], data.info) for part in ("val", "test")}
            _evaluate(recorder, data, predictions, chosen)
        with recorder.timed("record"):
            _save_predictions(recorder.folder / "predictions.npz", data, predictions)
            family.save(model, recorder.folder / "model", recorder.name)
    return recorder.opened()


@contextmanager
def recorded(recorder: Recorder):
    """Record how the block ended: done, stopped by Ctrl-C, or failed."""
    recorder.report["timings"]["start"] = seconds_of_start()
    try:
        yield
        recorder.finish("done")
        log.info(summary(recorder.opened()))
    except KeyboardInterrupt:
        name = recorder.name
        if recorder.report["status"] == "done":
            log.info("%s is done; if a tracker is incomplete: python -m src.sync run=%s", name, name)
        else:
            recorder.finish("stopped")
            log.info("%s stopped; go on with: python -m src.resume run=%s", name, name)
        raise
    except BaseException as error:
        recorder.finish("failed", error)
        error.run = recorder.name  # the shell prints it
        raise
    finally:
        recorder.close()


def _record_data(recorder: Recorder, data: Data, chosen: dict) -> None:
    log.info(describe(data))
    recorder.report |= {"data_digest": data.info["digest"], "etl_version": data.info["etl_version"]}
    recorder.report |= {"metric": {"name": chosen["name"], "mode": chosen["mode"]}}
    write_json(recorder.folder / "info.json", data.info)
    write_json(recorder.folder / "transforms.json", data.transforms)


@contextmanager
def side_by_side(cfg: dict, run: Recorder, frame):
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
def profiled(wanted: bool, folder: Path):
    """Write the seconds of the block by function into ``profile.txt``, and show the top, where ``wanted``."""
    if not wanted:
        yield
        return
    profile, text = cProfile.Profile(), io.StringIO()
    with profile:
        yield
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(60)
    path = folder / "profile.txt"
    path.write_text(text.getvalue())
    top = "\n".join(text.getvalue().splitlines()[6:30])
    log.info("profile, by cumulative seconds (more in %s):\n%s", path, top)


def _evaluate(run: Recorder, data: Data, predictions: dict, chosen: dict) -> None:
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

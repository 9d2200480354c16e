"""The only path from a config to a run: data, fit, evaluate, record; shell, notebook and sweeps take it."""

import cProfile
import io
import logging
import pstats
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from src.config.shell import of_job
from src.config.tree import flat
from src.data.digest import arrays_digest
from src.data.load import load_data
from src.data.prepare import Data, describe_data
from src.data.shared import load_shared
from src.metric.choose import choose
from src.metric.decision import check
from src.model.build import described
from src.run.again import epochs_behind
from src.run.folder import Run, model_path, runs_folder
from src.run.lock import hold
from src.run.overview import places
from src.run.own import named_code, own_modules, with_notebook
from src.run.record import Recorder
from src.run.refit import refit
from src.run.results import evaluate, save_arrays
from src.run.table import table
from src.system import notebook
from src.system.code import locate, point_out
from src.system.environment import n_threads, seconds_of_start, set_seed, set_threads
from src.system.errors import UserError, log
from src.system.files import together
from src.system.paths import claim
from src.system.process import uncollected, uninterrupted
from src.system.tables import located
from src.trainer import ranks
from src.trainer.family import family
from src.trainer.history import Progress, Pruned


def run_job(
    cfg: dict, *, frame=None, resume: Run | None = None, report: dict | None = None, n_side_by_side: int = 1,
    origin: dict | None = None, shared: Path | None = None, cuts: tuple | None = None, watch=None, train=None,
) -> Run | None:  # fmt: skip
    """Train ``cfg["model"]`` on ``cfg["dataset"]``; return the finished run, or None on ranks above 0.

    A `UserError` or any other exception leaves the run recorded as failed, Ctrl-C as stopped; if ``watch``
    raises `Pruned`, the run is returned as pruned.

    cfg : the resolved config, as plain values
    frame : DataFrame to use instead of reading the dataset's
    resume : a run to go on with, instead of a new one; the caller holds it
    report : entries that are added to the run's report
    n_side_by_side : how many jobs share this machine's cores
    origin : of the data that a run was trained on before, see `load_frame`
    shared : folder in which the jobs of a sweep share their data
    cuts : of `load_data`, where the run is one of several folds
    watch : function that gets each row of history, {"epoch": 3, "train/loss": ..., "val/accuracy": ...}
    train : function that fills the folder of a run that is made of other runs
    """
    train = train or _train
    options = {"frame": frame, "origin": origin, "shared": shared, "cuts": cuts, "watch": watch}
    if resume is not None:
        notebook.unpack(resume.folder / "code.zip", named_code(cfg))
    cfg = with_notebook(cfg)
    if cfg["pictures"] is None:  # of a small job they would take longer than its fit
        cfg = cfg | {"pictures": shared is None}
    threads = n_threads(cfg["threads"], n_side_by_side)
    ranks.check(cfg["trainer"], bool(cfg.get("refit")))
    if ranks.rank() > 0:
        return follow(cfg, threads, resume and resume.folder / "checkpoints", frame, origin)
    set_threads(threads)
    if resume is not None:
        recorder = Recorder.resume(resume, cfg, report or {}, epochs_behind(resume))
        return train(recorder, threads, **options)
    cfg = cfg | {"dataset": located(cfg["dataset"])}
    folder = claim(runs_folder(), "t")
    with hold(folder, "train"), together():
        return train(Recorder.start(folder, cfg, report or {}), threads, **options)


def follow(cfg: dict, n_threads: int, checkpoints: Path | None, frame=None, origin=None) -> None:
    """Fit ``cfg["model"]`` as rank 1, 2, ... of a run that torchrun or srun started; rank 0 alone writes.

    An estimator has one rank only.

    checkpoints : the folder of rank 0's checkpoints, for a run that is resumed; every node must see it.
    """
    log.setLevel(logging.WARNING)  # rank 0 talks
    if "net" not in cfg["model"]:
        return
    from torch.distributed.elastic.multiprocessing.errors import record

    set_threads(n_threads)
    set_seed(cfg["seed"])
    model = cfg["model"]
    data = load_data(
        cfg["dataset"], scaler=model["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
        frame=frame, origin=origin, cv=cfg.get("cv"),
    )  # fmt: skip
    metric = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
    with tempfile.TemporaryDirectory() as folder:
        record(family(model).fit)(  # an error is written to torchrun's error file, where rank 0 finds it
            model, data, metric, seed=cfg["seed"], trainer=cfg["trainer"], folder=checkpoints or Path(folder),
            resume=checkpoints is not None, log_row=lambda row: None, progress=Progress(metric, 0),
            n_threads=n_threads,
        )  # fmt: skip


def _train(recorder: Recorder, threads: int, *, frame, origin, shared: Path | None, cuts, watch) -> Run:
    """Train what a new or resumed run's config says; its folder is held."""
    cfg, model, seed = recorder.cfg, recorder.cfg["model"], recorder.cfg["seed"]
    name = recorder.name if shared or cuts else None
    with of_job(name), recorded(recorder), ranks.launched(lambda error: recorder.finish("failed", error)):
        log.info("%s   %s on %s", recorder.name, model["name"], cfg["dataset"]["name"])
        set_seed(seed)
        with recorder.timed("data"):
            options = {"scaler": model["scaler"], "class_weight": cfg["class_weight"], "seed": seed}
            load = partial(load_shared, shared) if shared else partial(load_data, frame=frame)
            data = load(cfg["dataset"], origin=origin, cv=cfg.get("cv"), cuts=cuts, **options)
            data.info = data.info | described(model.get("net"))  # shared data stays as it is
            metric = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
            check(metric, data.info, cfg.get("calibrate"), cfg.get("threshold"))
            _record_data(recorder, data, metric)
        with recorder.timed("import"), uninterrupted(), uncollected():
            _import(model)
        with recorder.timed("fit"), profiled(cfg["profile"], recorder.folder):
            limit = {"keep_predictions": cfg.get("keep_predictions", 0)}  # older configs have no such key
            options = {"seed": seed, "trainer": cfg["trainer"], "n_threads": threads, "watch": watch}
            fitted, kept = _fit(recorder, model | limit, data, metric, **options)
            last = data, fitted
            if cfg.get("refit"):
                last = refit(recorder, (frame, origin, shared), metric, kept, **options)
        with recorder.timed("evaluate"):
            arrays = evaluate(recorder, data, fitted, metric, kept, last)
            log.info(table(recorder))
        with recorder.timed("record"):
            save_arrays(recorder.folder / "predictions.npz", arrays)
            family(model).save(last[1], model_path(recorder.folder, model))
    return recorder.opened()


@contextmanager
def recorded(recorder: Recorder):
    """Record how the block ended: done, pruned, stopped by Ctrl-C, or failed."""
    recorder.report["timings"]["start"] = seconds_of_start()
    try:
        if not recorder.resumed:
            recorder.begin()
        yield
        recorder.finish("done")
        log.info(places(recorder.opened()))
    except Pruned:
        recorder.finish("pruned")
        name, epoch = recorder.name, recorder.rows[-1]["epoch"]
        log.info("%s pruned after epoch %d; go on with: python -m src.resume run=%s", name, epoch, name)
    except KeyboardInterrupt as error:
        name = recorder.name
        advice = f'{name} is stopped; resume_train("{name}") goes on with it'
        error._render_traceback_ = lambda: [f"KeyboardInterrupt: {advice}"]  # a notebook asks for it
        if recorder.report["status"] == "done":
            log.info("%s is done; if a tracker is incomplete: python -m src.sync run=%s", name, name)
        else:
            recorder.finish("stopped")
            hint = "; finish=true keeps its best epoch" if (recorder.folder / "checkpoints").is_dir() else ""
            log.info("%s stopped; go on with: python -m src.resume run=%s%s", name, name, hint)
        raise
    except BaseException as error:
        error.run = recorder.name  # the shell prints it
        point_out(error, own_modules(recorder.cfg))
        recorder.finish("failed", error)
        raise
    finally:
        recorder.close()


def _record_data(recorder: Recorder, data: Data, metric: dict) -> None:
    """Record what is known before the fit; a new run predicts by info.json and transforms.json."""
    log.info(describe_data(data))
    record_source(recorder, data.info["digest"], data.info["etl_version"], data.source)
    recorder.report |= {"arrays_digest": arrays_digest(data.parts), "notes": data.notes}
    recorder.report |= {"metric": {"name": metric["name"], "mode": metric["mode"]}}
    recorder.write("info.json", data.info)
    recorder.write("transforms.json", data.transforms)


def record_source(recorder: Recorder, digest: str, version: str | None, source: dict) -> None:
    """Record which data it is, and in a run that is resumed whether it has changed."""
    known = recorder.report
    if recorder.resumed and known["data_digest"] not in (None, digest):
        known["changed"] = [*known.get("changed", []), "data"]
    known |= {"data_digest": digest, "etl_version": version, **source}


def _import(model: dict) -> None:
    """Import the libraries of the model's family and classes: seconds that are not those of the fit."""
    family(model)
    for key, value in flat(model).items():
        if key.rpartition(".")[2] == "class" and value:
            with suppress(UserError):  # the other kind's; the fit needs one of them and will say so
                locate(value)


def _fit(recorder: Recorder, model: dict, data: Data, metric: dict, *, trainer: dict, **options):
    """Return the fitted model and the epoch that it kept; each row of history is recorded and shown."""
    progress = Progress(metric, family(model).n_epochs(model, trainer))

    def log_row(row: dict) -> None:
        recorder.log_row(row)
        progress.row(row)

    fitted = family(model).fit(
        model, data, metric, trainer=trainer, folder=recorder.folder / "checkpoints", resume=recorder.resumed,
        log_row=log_row, progress=progress, **options,
    )  # fmt: skip
    progress.flush()
    recorder.begin()  # also where no epoch was left
    return fitted


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

"""Cross-validation, ``cv=kfold``: the folds are runs of their own, t8, t9, ..., of one parent, t7.

The parent's val predictions are those of the rows that each fold held out, its test predictions the mean of
the fold models. Its history has a row for each fold. The table is read, and its rows are cut, once.
"""

import logging
import math
from functools import partial

import numpy as np

from src.config import shell
from src.data.load import prepared_frame
from src.data.prepare import cut
from src.data.shared import kept_frame
from src.metric.choose import choose, scores
from src.metric.decision import learn
from src.run.again import check_code, config_to_resume
from src.run.folder import BrokenRun, Run, all_runs, find
from src.run.job import recorded, run_job
from src.run.lock import hold
from src.run.members import combine, node_of, write
from src.run.record import Recorder
from src.run.results import save_arrays
from src.run.table import table
from src.study.statistics import sd
from src.study.table import aligned
from src.study.workers import device_shares, prestart, side_by_side
from src.system.errors import NOTE, UserError, is_told, sentence
from src.system.files import read_json
from src.trainer import ranks

log = logging.getLogger("reprise")
MAX_ROWS = 20  # of the table by fold


def run_folds(cfg: dict, *, n_side_by_side: int = 1, **options) -> Run:
    """Train all folds of what ``cfg`` describes; ``options`` are those of `run_job`."""
    if ranks.launcher():
        raise UserError(f"{ranks.launcher()} starts the ranks of one run: leave cv={cfg['cv']['name']} out")
    train = partial(train_folds, n_side_by_side=n_side_by_side)
    return run_job(cfg, n_side_by_side=n_side_by_side, train=train, **options)


def train_folds(
    recorder: Recorder, threads: int, *, frame, origin, shared, cuts, watch, n_side_by_side: int
) -> Run:  # fmt: skip
    """Train the folds that a new or resumed run lacks, and record what they are together."""
    cfg, name = recorder.cfg, recorder.name
    with shell.of_job(name if shared else None), recorded(recorder):
        dataset, cv = cfg["dataset"], cfg["cv"]
        log.info("%s   %s on %s, cv=%s", name, cfg["model"]["name"], dataset["name"], cv["name"])
        with recorder.timed("data"):
            known = kept_frame(dataset, origin) if shared else prepared_frame(dataset, frame, origin)
            rows = cut(known[0], dataset, cfg["seed"], cv)
            _record_data(recorder, known[1])
        with recorder.timed("fit"):
            runs = _trained(recorder, known, rows, {"shared": shared, "n_side_by_side": n_side_by_side})
        with recorder.timed("evaluate"):
            arrays = together(runs, [one["val"] for one in rows])
            _evaluate(recorder, runs, arrays)
            log.info("%s\n%s", by_fold(recorder), table(recorder))
        with recorder.timed("record"):
            save_arrays(recorder.folder / "predictions.npz", arrays)
            write(recorder.folder, {"members": [node_of(run) for run in runs]})
    return recorder.opened()


def _record_data(recorder: Recorder, record: dict) -> None:
    """Record which data it is, also for a resume: ``record`` is that of the table's version."""
    known, digest = recorder.report, record["output"]
    if recorder.resumed and known["data_digest"] not in (None, digest):
        known["changed"] = [*known.get("changed", []), "data"]
    known |= {"data_digest": digest, "etl_version": record["version"]}
    known |= {"input_path": record["path"], "input_digest": record["input"]}
    recorder.begin()
    recorder.write_report()


# -- the folds


def folds_of(name: str) -> dict[int, Run]:
    """Return {fold: its newest run} of the parent ``name``."""
    readable = (run for run in all_runs() if not isinstance(run, BrokenRun))
    return {run.report["fold"]: run for run in readable if run.report.get("cv_of") == name}


def _trained(recorder: Recorder, known: tuple, rows: list[dict], options: dict) -> list[Run]:
    """Return the run of each fold; one that is done is not trained again, one that was begun goes on.

    known : the table and the record of its version
    rows : of each part, for each fold
    """
    cfg, report, jobs = recorder.cfg, recorder.report, []
    begun = folds_of(recorder.name) if recorder.resumed else {}
    n_jobs, parent = min(cfg["cv"]["n_jobs"], len(rows)), recorder.mlflow_id()
    options["n_side_by_side"] *= n_jobs
    for fold, one in enumerate(rows):
        if fold in begun and begun[fold].status == "done":
            continue
        own = {"overrides": [*report.get("overrides", ()), f"cv.fold={fold}"], "parent": parent}
        job = {"report": {"cv_of": recorder.name, "fold": fold} | own, "cuts": (*known, one)}
        job["cfg"] = cfg | {"cv": cfg["cv"] | {"fold": fold}, "pictures": bool(cfg["pictures"])}
        jobs.append((fold, job | options | {"run": begun[fold].name if fold in begun else None}))
    if n_jobs > 1 and len(jobs) > 1:
        prestart([f"model={cfg['model']['name']}"])
        names = side_by_side(iter(jobs), device_shares(n_jobs, cfg["trainer"]["devices"]), _in_process, _lost)
    else:
        names = [_train(fold, job) for fold, job in jobs]
    runs = begun | {fold: Run.open(name) for (fold, _), name in zip(jobs, names, strict=True)}
    for fold, run in runs.items():
        if run.report["data_digest"] != report["data_digest"]:
            advice = f"python -m src.clean remove={run.name}, then resume {recorder.name}"
            raise UserError(f"fold {fold}, {run.name}, was trained on data that has changed since: {advice}")
    return [runs[fold] for fold in range(len(rows))]


def _train(fold: int, job: dict) -> str:
    """Train a fold, or go on with its run, and return the run's name."""
    cfg, report, name = (job[key] for key in ("cfg", "report", "run"))
    options = {key: job[key] for key in ("cuts", "shared", "n_side_by_side")}
    try:
        if name is None:
            run = run_job(cfg, report=report, **options)
        else:
            with hold(find(name), "resume"):
                begun = Run.open(name)
                cfg = config_to_resume(begun, None, False, None)
                run = run_job(cfg, resume=begun, report=check_code(begun, changed=True), **options)
    except Exception as error:
        if not is_told(error):
            raise
        raise UserError(f"fold {fold}, {getattr(error, 'run', name)}: {sentence(error)}") from None
    log.log(NOTE, "fold %d   %s", fold, run)
    return run.name


def _in_process(fold: int, job: dict) -> str:
    shell.console()
    return _train(fold, job)


def _lost(fold: int, job: dict, reason: str):
    raise UserError(f"fold {fold}: {reason}")


# -- what they are together


def together(runs: list[Run], rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of predictions.npz: val of each row that was held out, test of the mean model.

    rows : of the table, that each run held out; a row of repeated folds gets the mean of its predictions
    """
    each = [run.arrays for run in runs]
    held, p = np.concatenate(rows), np.concatenate([arrays["val_p"] for arrays in each])
    _, first, place, counts = np.unique(held, return_index=True, return_inverse=True, return_counts=True)
    total = np.zeros((len(counts), *p.shape[1:]))  # (n,), or (n, n_classes)
    np.add.at(total, place, p)
    found = {key: np.concatenate([arrays[key] for arrays in each])[first] for key in ("val_id", "val_y")}
    found["val_p"] = (total.T / counts).T
    found |= {key: each[0][key] for key in ("test_id", "test_y")}
    return found | {"test_p": combine([arrays["test_p"] for arrays in each])}


def _evaluate(recorder: Recorder, runs: list[Run], arrays: dict) -> None:
    """Record a row for each fold, means and deviations on val, and the metrics of the mean model on test."""
    cfg, reports = recorder.cfg, [run.report for run in runs]
    info, pooled = describe_together(recorder, runs[0].info, arrays)
    mean, deviation = _statistics([one["metrics"] for one in reports])
    if cfg["cv"]["name"] == "loo":  # most metrics are not defined for one row
        mean |= {key: value for key, value in pooled.items() if key[:4] == "val/"}
    folds = []
    for fold, one in enumerate(reports):
        keys = ["train/loss", *(key for key in pooled if key[:4] == "val/")]
        recorder.log_row({"epoch": fold + 1} | {key: number(one["metrics"].get(key)) for key in keys})
        seconds = round(sum(one["timings"].values()), 1)
        own = {key: one[key] for key in ("fold", "run", "best_epoch", "metrics")}
        folds.append(own | {"seconds": seconds})
    recorder.report |= {key: reports[0][key] for key in ("metric", "train_rows", "notes")}
    recorder.report |= {
        "best_epoch": None, "folds": folds, "sd": deviation,
        "metrics": mean | {key: value for key, value in pooled.items() if key[:5] == "test/"},
        "out_of_fold": {key: value for key, value in pooled.items() if key[:4] == "val/"},
    }  # fmt: skip
    for key in ("train_metrics", "baseline"):
        recorder.report[key] = _statistics([one[key] for one in reports])[0]
    recorder.write("info.json", info)
    recorder.write("transforms.json", read_json(runs[0].folder / "transforms.json"))


def describe_together(recorder: Recorder, info: dict, arrays: dict) -> tuple[dict, dict]:
    """Return ``info``, with a threshold, and metrics of models, calibrated each, that predict as one."""
    cfg, found = recorder.cfg, {}
    metric = choose(cfg["metric"], cfg["metric_mode"], info["task"])
    info = {key: value for key, value in info.items() if key not in ("calibration", "threshold")}
    info |= learn(arrays["val_y"], arrays["val_p"], metric, None, cfg.get("threshold"))
    for part in ("val", "test"):
        values = scores(arrays[f"{part}_y"], arrays[f"{part}_p"], metric, info)
        found |= {f"{part}/{name}": value for name, value in values.items()}
    return info, found


def _statistics(several: list[dict]) -> tuple[dict, dict]:
    """Return mean and standard deviation of the values of each key; a value that is None is nan."""
    values = {key: [number(one.get(key)) for one in several] for key in several[0]}
    means = {key: float(np.mean(x)) for key, x in values.items()}
    return means, {key: sd(np.array(x)) for key, x in values.items()}


def number(value: float | None) -> float:
    return math.nan if value is None else value  # JSON keeps nan as null


def by_fold(recorder: Recorder) -> str:
    """Return a table of the folds, and the mean ± standard deviation of each column."""
    report, name = recorder.report, recorder.report["metric"]["name"]
    keys = [*dict.fromkeys(["val/loss", f"val/{name}", f"test/{name}"])]
    rows = [["fold", "run", *keys, "epoch", "seconds"]]
    for one in report["folds"][:MAX_ROWS]:
        values = [f"{number(one['metrics'].get(key)):.4f}" for key in keys]
        epoch = str(one["best_epoch"] or "")
        rows.append([str(one["fold"]), one["run"], *values, epoch, f"{one['seconds']:.1f}"])
    means = _statistics([one["metrics"] for one in report["folds"]])[0]
    rows.append(["mean", "", *(f"{means[key]:.4f} ± {report['sd'][key]:.4f}" for key in keys), "", ""])
    return "\n" + aligned(rows)

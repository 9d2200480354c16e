"""Cross-validation, ``cv=kfold``: the folds are runs of their own, t8, t9, ..., of one parent, t7.

The parent's val predictions are those of the rows that each fold held out, its test predictions the mean of
the fold models. Its history has a row for each fold. The table is read, and its rows are cut, once.
"""

from functools import partial

import numpy as np
import pandas as pd

from src.config import shell
from src.data.load import load_frame, source_of
from src.data.prepare import cut
from src.data.shared import kept_frame
from src.metric.choose import choose, scores
from src.metric.decision import learn
from src.run.again import check_code, config_to_resume
from src.run.folder import BrokenRun, Run, all_runs
from src.run.job import record_source, recorded, run_job
from src.run.lock import hold
from src.run.members import combine, node_of, write
from src.run.record import Recorder
from src.run.results import save_arrays
from src.run.table import table
from src.study.workers import device_shares, prestart, side_by_side
from src.system.errors import NOTE, UserError, log
from src.system.files import read_json
from src.trainer import ranks

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
            known = kept_frame(dataset, origin) if shared else load_frame(dataset, frame, origin)
            rows = cut(known[0], dataset, cfg["seed"], cv)
            record_source(recorder, known[1]["output"], known[1]["version"], source_of(known[1]))
            recorder.begin()
            recorder.write_report()  # a resume after a kill checks that the data is the same
        with recorder.timed("fit"):
            runs = _trained(recorder, known, rows, {"shared": shared, "n_side_by_side": n_side_by_side})
        with recorder.timed("evaluate"):
            arrays = together(runs, [one["val"] for one in rows])
            _evaluate(recorder, runs, arrays)
        with recorder.timed("record"):
            save_arrays(recorder.folder / "predictions.npz", arrays)
            write(recorder.folder, {"members": [node_of(run) for run in runs]})
    return recorder.opened()


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
    runs = folds_of(recorder.name) if recorder.resumed else {}
    n_jobs = min(cfg["cv"]["n_jobs"], len(rows))
    own = {"cv_of": recorder.name, "parent": recorder.mlflow_id()}
    options |= {"n_side_by_side": options["n_side_by_side"] * n_jobs}
    for fold, one in enumerate(rows):
        if fold not in runs or runs[fold].status != "done":
            job = cfg | {"cv": cfg["cv"] | {"fold": fold}, "pictures": bool(cfg["pictures"])}
            more = {"fold": fold, "overrides": [*report.get("overrides", ()), f"cv.fold={fold}"]}
            jobs.append((fold, (job, own | more, runs.get(fold), options | {"cuts": (*known, one)})))
    if n_jobs > 1 and len(jobs) > 1:
        prestart([f"model={cfg['model']['name']}"])
        names = side_by_side(iter(jobs), device_shares(n_jobs, cfg["trainer"]["devices"]), _train, _lost)
    else:
        names = [_train(*job) for job in jobs]
    runs |= {fold: Run.open(name) for (fold, _), name in zip(jobs, names, strict=True)}
    for fold, run in runs.items():
        if run.report["data_digest"] != report["data_digest"]:
            advice = f"python -m src.clean remove={run.name}, then resume {recorder.name}"
            raise UserError(f"fold {fold}, {run.name}, was trained on data that has changed since: {advice}")
    return [runs[fold] for fold in range(len(rows))]


def _train(fold: int, job: tuple) -> str:
    """Train a fold, or go on with its run, perhaps in a process of its own, and return the run's name."""
    cfg, report, begun, options = job
    shell.console()
    try:
        if begun is None:
            run = run_job(cfg, report=report, **options)
        else:
            with hold(begun.folder, "resume"):
                cfg, report = config_to_resume(begun, None, False, None), check_code(begun, changed=True)
                run = run_job(cfg, resume=begun, report=report, **options)
    except UserError as error:
        raise UserError(f"fold {fold}, {error.run or begun}: {error}") from None
    log.log(NOTE, "fold %d   %s", fold, run)
    return run.name


def _lost(fold: int, job: tuple, reason: str):
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
    """Record and show a row for each fold, means and deviations, and the metrics of the mean model."""
    info, pooled = describe_together(recorder, runs[0].info, arrays)
    report, several, name = recorder.report, [run.report for run in runs], runs[0].report["metric"]["name"]
    of_folds = _numbers([one["metrics"] for one in several])
    mean, of_val = of_folds.mean(skipna=False), [key for key in pooled if key[:4] == "val/"]
    if recorder.cfg["cv"]["name"] == "loo":  # most metrics are not defined for one row
        mean[of_val] = [pooled[key] for key in of_val]
    for fold, row in enumerate(of_folds[["train/loss", *of_val]].to_dict("records")):
        recorder.log_row({"epoch": fold + 1} | row)
    report |= {key: several[0][key] for key in ("metric", "train_rows", "notes")} | {"best_epoch": None}
    report["sd"] = of_folds.std(skipna=False).to_dict()
    report["out_of_fold"] = {key: pooled[key] for key in of_val}
    report["metrics"] = mean.to_dict() | {key: x for key, x in pooled.items() if key not in of_val}
    own = ("fold", "run", "best_epoch", "metrics", "timings")
    report["folds"] = [{key: one[key] for key in own} for one in several]
    for key in ("train_metrics", "baseline"):
        report[key] = _numbers([one[key] for one in several]).mean().to_dict()
    recorder.write("info.json", info)
    recorder.write("transforms.json", read_json(runs[0].folder / "transforms.json"))
    shown = of_folds[[*dict.fromkeys(["val/loss", f"val/{name}", f"test/{name}"])]]
    shown = shown.set_axis([f"fold {i}  {run.name}" for i, run in enumerate(runs)])
    shown = pd.concat([shown.head(MAX_ROWS), shown.agg(["mean", "std"])])
    log.info("\n%s\n%s", shown.to_string(float_format="{:.4f}".format), table(recorder))


def _numbers(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=float)  # JSON keeps nan as null


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

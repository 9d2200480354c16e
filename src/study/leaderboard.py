"""Rank settings over their seeds, and say which differences on the test rows are more than chance."""

import hashlib
import json
import math
from contextlib import suppress
from itertools import chain

import numpy as np
import pandas as pd

from src.config.tree import flat
from src.metric.choose import choose
from src.run.folder import BrokenRun, Run, all_runs, name_of
from src.run.needed import NO_RESULT
from src.study.jobs import rows
from src.study.statistics import N_GROUPS, difference, holm, jackknife, sd
from src.system.errors import UserError, log, one_line
from src.system.paths import outputs

LEVEL = 0.05  # of the corrected tests: how often equal settings may pass for different
SEEDS = ("seed", "dataset.split_seed", "cv.fold", "cv.outer")  # repetitions of one setting differ in these
# keys of a config that are not part of a setting
ASIDE = (*NO_RESULT, *SEEDS, "threads", "trainer.devices")


def comparable(runs: list[Run], metric: str | None = None) -> list[list[Run]]:
    """Return the done runs in groups that may be compared: same data, test rows and deciding metric."""
    groups = {}
    for run in runs:
        if isinstance(run, BrokenRun) or run.status != "done":
            continue
        try:
            test_id = run.arrays["test_id"]
        except BrokenRun:  # stops no other run from being ranked
            continue
        ids = hashlib.blake2b(np.ascontiguousarray(test_id).tobytes(), digest_size=8)
        key = (run.report["dataset"], run.report["data_digest"], ids.hexdigest())
        groups.setdefault((*key, metric or run.report["metric"]["name"]), []).append(run)
    return list(groups.values())


def settings(runs: list[Run]) -> dict[str, list[Run]]:
    """Return {label: runs that differ only in their seed}; the label names what differs between settings.

    Of runs with the same seed the newest counts: a replay, or a value that a search draws twice, is no seed.
    """
    configs = [{k: v for k, v in flat(run.cfg).items() if not k.startswith(ASIDE)} for run in runs]
    texts = [{key: json.dumps(value) for key, value in config.items()} for config in configs]
    names = dict.fromkeys(key for text in texts for key in text)
    same_model = {}
    for run, text in zip(runs, texts, strict=True):
        same_model.setdefault(run.report["model"], []).append(text)
    found = {}
    for run, text in zip(runs, texts, strict=True):
        model = run.report["model"]
        others = same_model[model]
        differs = [key for key in names if len({other.get(key) for other in others}) > 1]
        label = " ".join([model, *(f"{key}={text[key]}" for key in differs if key in text)])
        seed = tuple(str(value) for key, value in flat(run.cfg).items() if key.startswith(SEEDS))
        found.setdefault(label, {})[seed] = run
    return {label: [*members.values()] for label, members in found.items()}


def board(runs: list[Run], metric: str | None = None) -> pd.DataFrame:
    """Return a row for each setting of comparable ``runs``, the best on val first.

    Columns: seeds, val and test (means over seeds), val_sd, test_sd, gap (val less test: the choice by val is
    biased), seconds, p (of the difference to the first on test, corrected by Holm 1979) and verdict.
    """
    first = runs[0]
    chosen = _metric(first, metric)
    rows, jackknives = [], []
    groups = settings(runs)
    by_seed = {label: [*chain(*map(with_folds, members))] for label, members in groups.items()}
    n_compared = sum(len(members) > 1 for members in by_seed.values())  # with one seed there is no test
    n_groups = N_GROUPS if n_compared > 1 else 0
    for label, members in groups.items():
        scores = [_scores(run, chosen, n_groups) for run in by_seed[label]]
        jackknives.append(np.array([test for _, test in scores]))  # (n_seeds, 1 + n_groups)
        val, test = np.array([val for val, _ in scores]), jackknives[-1][:, 0]
        seconds = np.mean([sum(run.report["timings"].values()) for run in members])
        row = {"setting": label, "runs": ",".join(run.name for run in members), "seeds": len(val)}
        row |= {"val": val.mean(), "val_sd": sd(val), "test": test.mean(), "test_sd": sd(test)}
        rows.append(row | {"gap": val.mean() - test.mean(), "seconds": seconds})
    sign = -1 if chosen["mode"] == "max" else 1
    order = sorted(range(len(rows)), key=lambda i: (math.isnan(rows[i]["val"]), sign * rows[i]["val"]))
    table = pd.DataFrame([rows[i] for i in order]).set_index("setting")
    best, rest = jackknives[order[0]], [jackknives[i] for i in order[1:]]
    table["p"] = [math.nan, *holm([difference(best, other)[2] for other in rest])]
    table["verdict"] = _verdicts(table, chosen["mode"])
    table.attrs |= {"metric": chosen["name"], "mode": chosen["mode"], "dataset": first.report["dataset"]}
    table.attrs["n_test"] = len(first.arrays["test_y"])
    return table


def with_folds(run: Run) -> list[Run]:
    """Return the runs of a cross-validation's folds, which count like seeds, if all are still there."""
    names = [fold["run"] for fold in run.report.get("folds", ())]
    with suppress(UserError):
        return [Run.open(name) for name in names] or [run]
    return [run]


def _metric(run: Run, name: str | None) -> dict:
    own = run.cfg["metric"] or run.report["metric"]["name"]
    mode = run.cfg["metric_mode"] if name is None else None
    return choose(name or own, mode, run.info["task"])


def _scores(run: Run, metric: dict, n_groups: int) -> tuple[float, np.ndarray]:
    """Return the metric on val, and on test: of all rows, then without each group (1 + n_groups,)."""
    arrays = run.arrays
    try:
        test = jackknife(metric["fn"], arrays["test_y"], arrays["test_p"], n_groups)
        return metric["fn"](arrays["val_y"], arrays["val_p"]), test
    except Exception as error:  # a user's own metric may raise anything, on fewer rows than in training
        raise UserError(f"{run.name}: {one_line(error)}") from None


def _verdicts(table: pd.DataFrame, mode: str) -> list[str]:
    """Return for each row: best, tie with the best, worse, better on test, unknown, or alone."""
    sign = 1 if mode == "max" else -1
    verdicts = []
    for p, test, n in zip(table["p"][1:], table["test"][1:], table["seeds"][1:], strict=True):
        if math.isnan(p):
            one = min(n, table["seeds"].iloc[0]) == 1
            verdicts.append("unknown: one seed" if one else "unknown: not defined on all rows")
        elif p > LEVEL:
            verdicts.append("tie with the best")
        else:
            verdicts.append("worse" if sign * test < sign * table["test"].iloc[0] else "better on test")
    if not verdicts:
        return ["alone"]
    return ["best" if all(v == "worse" for v in verdicts) else "best on val", *verdicts]


def leaderboards(
    sweep: str | None = None, *, dataset: str | None = None, model: str | None = None,
    metric: str | None = None,
) -> list[pd.DataFrame]:  # fmt: skip
    """Return a board for each group of comparable runs, the largest first: ``leaderboards("s3")[0]``.

    sweep, dataset, model : only its runs; None: any
    metric : another metric than the one that decided
    """
    known = all_runs()
    sweep = name_of(sweep, known) if sweep else None
    ends = rows(outputs() / "sweeps" / sweep) if sweep else ()
    filters, runs = {"dataset": dataset, "model": model, "sweep": sweep}, []
    reused = {row["run"] for row in ends if row.get("reused")}
    parents = {run.name for run in known if run.report.get("folds")}  # stand for their folds
    for run in known:
        report = run.report | ({"sweep": sweep} if run.name in reused else {})
        if report.get("cv_of") in parents:
            continue
        if all(value in (None, str(report.get(key))) for key, value in filters.items()):
            runs.append(run)
    groups = comparable(runs, metric)
    if not groups:
        wanted = " ".join(f"{key}={value}" for key, value in filters.items() if value)
        raise UserError(f"no run is done{' with ' + wanted if wanted else ''}: train some")
    boards, refused = [], []
    for group in sorted(groups, key=len, reverse=True):
        try:
            boards.append(board(group, metric))
        except UserError as error:  # a metric of another task, or a damaged file
            refused.append(error)
            log.warning("%s on %s: %s", group[0].name, group[0].report["dataset"], error)
    if not boards:
        raise refused[0]
    return boards

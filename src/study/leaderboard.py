"""Rank settings over their seeds, and say which differences on the test rows are more than chance."""

import hashlib
import json
import logging
import math

import numpy as np
import pandas as pd
from scipy.special import stdtr

from src.config.tree import flat
from src.metric.choose import choose
from src.run.folder import BrokenRun, Run, all_runs
from src.system.errors import UserError, nearest, one_line

log = logging.getLogger("reprise")
N_GROUPS = 50  # of test rows that the jackknife leaves out in turn
LEVEL = 0.05  # of the corrected tests: how often equal settings may pass for different
# keys of a config that are not part of a setting
ASIDE = ("seed", "dataset.split_seed", "dataset.path", "on_error", "tags", "threads", "pictures", "profile")
ASIDE += ("logger.", "trainer.devices")


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
    """Return {label: runs that differ only in their seed}; the label names what differs between settings."""
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
        found.setdefault(label, []).append(run)
    return found


def board(runs: list[Run], metric: str | None = None) -> pd.DataFrame:
    """Return a row for each setting of comparable ``runs``, the best on val first.

    Columns: seeds, val and test (means over seeds), val_sd, test_sd, gap (val less test: the choice by val is
    biased), seconds, p (of the difference to the first on test, corrected by Holm 1979) and verdict.
    """
    first = runs[0]
    chosen = _metric(first, metric)
    rows, jackknives = [], []
    for label, members in settings(runs).items():
        scores = [_scores(run, chosen) for run in members]
        jackknives.append(np.array([test for _, test in scores]))  # (n_seeds, 1 + n_groups)
        val, test = np.array([val for val, _ in scores]), jackknives[-1][:, 0]
        seconds = np.mean([sum(run.report["timings"].values()) for run in members])
        row = {"setting": label, "runs": ",".join(run.name for run in members), "seeds": len(members)}
        row |= {"val": val.mean(), "val_sd": _sd(val), "test": test.mean(), "test_sd": _sd(test)}
        rows.append(row | {"gap": val.mean() - test.mean(), "seconds": seconds})
    sign = -1 if chosen["mode"] == "max" else 1
    order = sorted(range(len(rows)), key=lambda i: (math.isnan(rows[i]["val"]), sign * rows[i]["val"]))
    table = pd.DataFrame([rows[i] for i in order]).set_index("setting")
    best, rest = jackknives[order[0]], [jackknives[i] for i in order[1:]]
    table["p"] = [math.nan, *holm([difference(best, other)[2] for other in rest])]
    table["verdict"] = _verdicts(table, chosen["mode"])
    table.attrs |= {"metric": chosen["name"], "dataset": first.report["dataset"]}
    table.attrs["n_test"] = len(first.arrays["test_y"])
    return table


def difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Return the mean difference of two settings on the same test rows, its standard error, and two-sided p.

    a, b : (n_seeds, 1 + n_groups), a run's metric on all test rows, then without each group of them

    The variance is that of the rows, by the delete-a-group jackknife (Kott 2001), plus that of the seeds.
    With one seed the variance between seeds is unknown and p is nan. With three, equal settings pass for
    different in 5% of comparisons, and a difference of two standard errors is found in about a third.
    """
    gap = a.mean(0) - b.mean(0)  # (1 + n_groups,)
    n_groups = len(gap) - 1
    by_rows = (n_groups - 1) / n_groups * np.sum((gap[1:] - gap[1:].mean()) ** 2)
    by_seeds = [side[:, 0].var(ddof=1) / len(side) if len(side) > 1 else math.nan for side in (a, b)]
    if np.isnan(by_seeds).any():
        return float(gap[0]), math.nan, math.nan
    parts = np.array([by_rows, *by_seeds])
    freedom = np.array([n_groups - 1, len(a) - 1, len(b) - 1])
    total = parts.sum()
    if total == 0:
        return float(gap[0]), 0.0, 1.0 if gap[0] == 0 else 0.0
    n = total**2 / np.sum(parts**2 / freedom)  # degrees of freedom by Welch and Satterthwaite
    error = math.sqrt(total)
    return float(gap[0]), error, float(2 * stdtr(n, -abs(gap[0]) / error))


def holm(p: list[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979); nan stays nan.

    >>> holm([0.01, 0.04, 0.5])
    [0.03, 0.08, 0.5]
    """
    known = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    corrected, highest = list(p), 0.0
    for rank, (value, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[i] = highest
    return corrected


def _metric(run: Run, name: str | None) -> dict:
    own = run.cfg["metric"] or run.report["metric"]["name"]
    mode = run.cfg["metric_mode"] if name is None else None
    return choose(name or own, mode, run.info["task"])


def _scores(run: Run, metric: dict) -> tuple[float, np.ndarray]:
    """Return the metric on val, and on test: of all rows, then without each group (1 + n_groups,)."""
    arrays = run.arrays
    try:
        test = jackknife(metric["fn"], arrays["test_y"], arrays["test_p"])
        return metric["fn"](arrays["val_y"], arrays["val_p"]), test
    except Exception as error:  # a user's own metric may raise anything, on fewer rows than in training
        raise UserError(f"{run.name}: {one_line(error) or type(error).__name__}") from None


def jackknife(fn, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return a metric of all rows, then without each group of them: (1 + n_groups,).

    The groups of rows are the same in every run.
    """
    n_groups = min(N_GROUPS, len(y))
    group = np.random.default_rng(0).permutation(len(y)) % n_groups
    return np.array([fn(y, p), *(fn(y[group != k], p[group != k]) for k in range(n_groups))], np.float64)


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


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


def leaderboards(filters: dict[str, str | None], metric: str | None = None) -> list[pd.DataFrame]:
    """Return a board for each group of comparable runs, the largest first.

    filters : dataset, model, sweep -> the value that a run's report should have; None: any
    """
    runs = []
    for run in all_runs():
        if all(value in (None, str(run.report.get(key))) for key, value in filters.items()):
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


def shown(boards: list[pd.DataFrame], form: str) -> str:
    """Return boards as text, markdown, latex or csv."""
    if form not in FORMATS:
        raise UserError(f"format={form} is unknown{nearest(form, FORMATS)}; known: {', '.join(FORMATS)}")
    return "\n\n".join(FORMATS[form](table) for table in boards)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Return the head and the rows of a board as text."""
    rows = [["", "setting", "seeds", f"val {table.attrs['metric']}", "test", "val-test", "seconds", "p", ""]]
    for rank, (label, row) in enumerate(table.iterrows(), start=1):
        parts = [f"{row[part]:.4f}{_plus_minus(row[part + '_sd'])}" for part in ("val", "test")]
        p = "" if math.isnan(row["p"]) else f"{row['p']:.3f}"
        more = [f"{row['gap']:+.4f}", f"{row['seconds']:.1f}", p, row["verdict"]]
        rows.append([str(rank), label, str(row["seeds"]), *parts, *more])
    return rows


def _plus_minus(deviation: float) -> str:
    return "" if math.isnan(deviation) else f" ± {deviation:.4f}"


def _text(table: pd.DataFrame) -> str:
    return "\n".join([f"{_title(table)}:", aligned(_cells(table)), NOTE])


def aligned(rows: list[list[str]]) -> str:
    """Return rows of cells as lines in which the columns stand below each other."""
    widths, lines = [max(map(len, column)) for column in zip(*rows, strict=True)], []
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _markdown(table: pd.DataFrame) -> str:
    head, *rows = ([cell.replace("|", r"\|") for cell in row] for row in _cells(table))
    lines = [f"**{_title(table)}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), "", NOTE])


def _latex(table: pd.DataFrame) -> str:
    head, *rows = _cells(table)
    frame = pd.DataFrame(rows, columns=head)
    return frame.to_latex(index=False, escape=True, caption=f"{_title(table)}. {NOTE}")


def _title(table: pd.DataFrame) -> str:
    return f"{table.attrs['dataset']}, {table.attrs['n_test']:,} test rows"


NOTE = (
    "Sorted by val; means ± standard deviations over seeds. p: of the difference to the first on the same "
    "test rows, with the chance of rows and seeds, corrected by Holm"
)
FORMATS = {"text": _text, "markdown": _markdown, "latex": _latex, "csv": pd.DataFrame.to_csv}

"""Which columns the predictions of a run rest on: shuffle one and score again, set one and predict again."""

import logging
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.data.cells import numbers
from src.data.prepare import columns_of
from src.data.target import class_names
from src.metric.choose import choose
from src.metric.decision import decided
from src.metric.words import depends_on_threshold
from src.run.folder import Run
from src.run.members import node_of
from src.run.rows import rows_of
from src.share.evaluation import with_target
from src.share.plots import BLUE, GREY, MAX_CURVES, literal
from src.system.code import needed
from src.system.errors import UserError
from src.system.files import replacing

N_ROWS, REPEATS = 2000, 5  # that are scored; shuffles of each column
N_DRAWN, N_BARS = 6, 25  # columns with a curve, with a bar
N_CELLS, N_AVERAGED = 15, 300  # values of a column that a curve tries, rows that each is tried on
N_SHAP, N_BACKGROUND = 100, 50  # rows that SHAP explains, rows that stand for an unknown value
SECONDS = 10  # that a report may take for importances
BY = ("permutation", "shap")
NAMES = ("importance", "shap", "dependence")  # of the pictures
log = logging.getLogger("reprise")


def explain(run: Run, rows=None, n: int | None = None, by: str | None = None, seconds=math.inf) -> tuple:
    """Write the columns' importances and partial dependence into a run; return the importances, the pictures.

    rows : a file or a frame with targets; None for the run's val rows, or its test rows where its model has
        learned from val: folds, ensembles, ``refit=true``
    n : how many rows, drawn at random
    seconds : importances that would take longer are refused; a finite number leaves out the dependence
    """
    if by not in (None, *BY):
        raise UserError(f"by={by}: should be {' or '.join(BY)} for the columns of a table")
    frame, y, part = _labelled(run, rows, n or (N_SHAP if by == "shap" else N_ROWS))
    columns = columns_of(run._predictor.transforms)
    if by == "shap":
        table, label = shapley(run, frame, columns), "mean |SHAP value|"
    else:
        table, label = permuted(run, frame, y, columns, seconds)
    title = f"{run.name}   {run.report['model']} on {run.report['dataset']}, {len(frame):,} rows of {part}"
    pictures = [_write(run, NAMES[by == "shap"], table, _bars(table, label, title))]
    if by != "shap" and math.isinf(seconds):
        curves = dependence(run, frame, table["column"])
        pictures += [_write(run, NAMES[2], curves, _curves(curves, title))] if len(curves) else []
    return table, pictures


def for_report(name: str) -> None:
    """Write the importances of a run that has none yet, if that takes seconds; say so where it does not."""
    run = Run.open(name)
    path, done = run.folder / "plots" / "importance.csv", run.folder / "DONE"
    if run.status != "done" or (path.is_file() and path.stat().st_mtime > done.stat().st_mtime):
        return
    try:
        if len(columns_of(run._predictor.transforms)) > 1:
            explain(run, seconds=SECONDS)
    except UserError as error:
        log.warning("the report has no importances: %s", error)


def _labelled(run: Run, rows, n: int) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Return at most ``n`` rows as the ETL returns them, their targets (n,), and where they are from."""
    predictor, part = run._predictor, "input"
    if rows is None:
        part = "test" if "members" in node_of(run) or run.cfg.get("refit") else "val"
        frame, y = rows_of(run, part), run.arrays[f"{part}_y"]
    else:
        predictor.also = [run.info["target"]]
        frame, y = with_target(run, predictor.prepared(rows)[1])
    if not len(y):
        raise UserError(f"no row has a target in {run.info['target']}")
    some = np.sort(np.random.default_rng(0).permutation(len(y))[:n])
    return frame.iloc[some], y[some], part


def permuted(run: Run, frame, y: np.ndarray, columns: list[str], seconds: float) -> tuple[pd.DataFrame, str]:
    """Return column, importance and sd, the most important first, and a label of the importance.

    importance : how much worse the deciding metric is when the column's cells are shuffled (Breiman 2001)
    sd : over `REPEATS` shuffles
    """
    predictor, info, rng = run._predictor, run.info, np.random.default_rng(0)
    metric = choose(run.cfg["metric"], run.cfg["metric_mode"], info["task"])
    threshold = info.get("threshold") if depends_on_threshold(metric["name"]) else None
    sign = 1 if metric["mode"] == "max" else -1

    def score(rows: pd.DataFrame) -> float:
        return sign * metric["fn"](y, decided(predictor.output(rows), threshold))

    began, best = time.perf_counter(), score(frame)
    needs = (time.perf_counter() - began) * REPEATS * len(columns)
    if math.isnan(best):
        raise UserError(f"{metric['name']} has no value on these {len(y)} rows: take more with n=")
    if needs > seconds:
        raise UserError(f"they take about {needs:.0f} s: python -m src.explain run={run.name}")
    found = []
    for name in columns:
        orders = [rng.permutation(len(y)) for _ in range(REPEATS)]
        worse = [best - score(frame.assign(**{name: frame[name].array.take(order)})) for order in orders]
        found.append({"column": name, "importance": np.mean(worse), "sd": np.std(worse, ddof=1)})
    table = pd.DataFrame(found).sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    return table, f"loss of {metric['name']} when shuffled"


def shapley(run: Run, frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return column and importance, the mean size of its SHAP values (Lundberg & Lee 2017).

    SHAP changes numbers, so it gets of each cell the number of its row.
    """
    shap, rng = needed("shap", "shap", "by=shap"), np.random.default_rng(0)

    def predict(codes: np.ndarray) -> np.ndarray:  # (n, columns) row numbers
        changed = {name: frame[name].array.take(codes[:, j].astype(int)) for j, name in enumerate(columns)}
        return run._predictor.output(pd.DataFrame(changed))

    codes = np.tile(np.arange(len(frame), dtype=float)[:, None], len(columns))
    background = codes[rng.permutation(len(codes))[:N_BACKGROUND]]
    explainer = shap.PermutationExplainer(predict, shap.maskers.Independent(background), seed=0)
    values = np.abs(explainer(codes, silent=True).values).reshape(*codes.shape, -1)  # (n, columns, classes)
    table = pd.DataFrame({"column": columns, "importance": values.mean((0, 2))})
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def dependence(run: Run, frame: pd.DataFrame, columns) -> pd.DataFrame:
    """Return the mean prediction where all rows have one value in a column: column, value, class, prediction.

    columns : the most important first; texts are left out (Friedman 2001, of the first `N_DRAWN`)
    """
    predictor, info, found = run._predictor, run.info, []
    texts, few = predictor.transforms["roles"]["text"], frame.iloc[:N_AVERAGED]
    shown = [0] if not info["classes"] else [1] if info["task"] == "binary" else range(len(info["classes"]))
    names = class_names(info) if info["classes"] else [""]
    for name in [name for name in columns if name not in texts][:N_DRAWN]:
        cells, values = _grid(frame[name], predictor.transforms["numeric"])
        rows = few.iloc[np.tile(np.arange(len(few)), len(cells))]
        rows = rows.assign(**{name: frame[name].array.take(np.repeat(cells, len(few)))})
        p = predictor.output(rows).reshape(len(cells), len(few), -1).mean(1)  # (values, n_outputs)
        found += [
            {"column": name, "value": value, "class": names[k], "prediction": p[i, k]}
            for k in list(shown)[:MAX_CURVES]
            for i, value in enumerate(values)
        ]
    return pd.DataFrame(found)


def _grid(column: pd.Series, numeric: dict) -> tuple[np.ndarray, list]:
    """Return row numbers of cells to try, and their values: quantiles of numbers, the commonest of others."""
    known = numeric["columns"].get(column.name) or numeric.get("dates", {}).get(column.name)
    if known is None:
        texts = column.reset_index(drop=True).dropna().astype(str)
        common = [*texts.value_counts().index[:N_CELLS]]
        return np.array([texts.index[texts == text][0] for text in common], int), common
    x = numbers(column, known.get("kind"))
    order = np.argsort(x, kind="stable")[: np.isfinite(x).sum()]
    places = (np.linspace(0.01, 0.99, N_CELLS) * max(0, len(order) - 1)).round().astype(int)
    order = order[places[: len(order)]]  # of an empty column none
    _, first = np.unique(x[order], return_index=True)
    return order[first], x[order[first]].tolist()


def _write(run: Run, name: str, table: pd.DataFrame, figure: Figure) -> Path:
    """Write ``plots/<name>.csv`` and ``plots/<name>.png``; return the path of the picture."""
    path = run.folder / "plots" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    with replacing(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def _bars(table: pd.DataFrame, label: str, title: str) -> Figure:
    table = table.head(N_BARS)[::-1]
    figure = Figure(figsize=(7, 1.4 + 0.26 * len(table)), layout="constrained")
    axis = figure.subplots()
    axis.barh(range(len(table)), table["importance"], xerr=table.get("sd"), color=BLUE, ecolor=GREY)
    axis.set_yticks(range(len(table)), [literal(name[:40]) for name in table["column"]])
    axis.axvline(0, color=GREY, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set(xlabel=literal(label))
    figure.suptitle(literal(title), fontsize=11)
    return figure


def _curves(curves: pd.DataFrame, title: str) -> Figure:
    panels = list(curves.groupby("column", sort=False))
    n_rows = -(-len(panels) // 3)
    figure = Figure(figsize=(13, 0.6 + 3.4 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, 3, squeeze=False, sharey=True).ravel()
    for axis, (name, curve) in zip(axes, panels, strict=False):
        for label, one in curve.groupby("class", sort=False):
            is_text = isinstance(one["value"].iloc[0], str)
            x = range(len(one)) if is_text else one["value"].astype(float)
            style = {"linestyle": "" if is_text else "-", "marker": "o", "markersize": 6 if is_text else 3}
            axis.plot(x, one["prediction"], **style, label=literal(str(label)[:20]))
        if is_text:
            axis.set_xticks(x, [literal(value[:12]) for value in one["value"]], rotation=60, ha="right")
        axis.set(title=literal(name[:40]), ylabel="mean prediction")
        axis.grid(color="#eeeeee")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if curves["class"].iloc[0] != "":
        axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(literal(title), fontsize=11)
    return figure

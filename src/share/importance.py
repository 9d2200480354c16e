"""Which columns the predictions of a run rest on: shuffle one and score again, set one and predict again."""

import math
import time

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
from src.share.plots import BLUE, MAX_CURVES, literal, save
from src.system.code import needed
from src.system.errors import UserError, log
from src.system.files import replacing

N_ROWS, REPEATS = 2000, 5  # that are scored; shuffles of each column
N_DRAWN, N_BARS = 6, 25  # columns with a curve, with a bar
N_CELLS, N_AVERAGED = 15, 300  # values of a column that a curve tries, rows that each is tried on
N_SHAP, N_BACKGROUND = 100, 50  # rows that SHAP explains, rows that stand for an unknown value
SECONDS = 10  # that a report may take for importances
NAMES = {"permutation": "importance", "shap": "shap"}  # by= -> the picture


def explain(run: Run, rows=None, n: int | None = None, by: str | None = None, seconds=math.inf) -> tuple:
    """Write the columns' importances and partial dependence into a run; return the importances, the pictures.

    rows : a file or a frame with targets; None for the run's val rows, or its test rows where its model has
        learned from val: folds, ensembles, ``refit=true``
    n : how many rows, drawn at random
    seconds : importances that would take longer are refused; a finite number leaves out the dependence
    """
    if (by := by or "permutation") not in NAMES:
        raise UserError(f"by={by}: should be {', '.join(NAMES)} or, of a sequence, mutation, occlusion")
    frame, y, part = _labelled(run, rows, n or (N_SHAP if by == "shap" else N_ROWS))
    columns = columns_of(run._predictor.transforms)
    table = shapley(run, frame, columns) if by == "shap" else permuted(run, frame, y, columns, seconds)
    table = table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    title = f"{run.name}   {run.report['model']} on {run.report['dataset']}, {len(frame):,} rows of {part}"
    pictures = [_write(run, NAMES[by], table, title, _bars)]
    if by != "shap" and math.isinf(seconds):
        curves = dependence(run, frame, table["column"])
        pictures += [_write(run, "dependence", curves, title, _curves)] if len(curves) else []
    return table, pictures


def for_report(name: str) -> None:
    """Write the importances of a run that has none yet, if that takes seconds; say so where it does not."""
    run = Run.open(name)
    path, done = run.folder / "plots" / "importance.csv", run.folder / "DONE"
    if run.status != "done" or (path.is_file() and path.stat().st_mtime > done.stat().st_mtime):
        return
    try:
        explain(run, seconds=SECONDS)
    except (UserError, RuntimeError) as error:  # RuntimeError: a metric of the user's own
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


def permuted(run: Run, frame, y: np.ndarray, columns: list[str], seconds: float) -> pd.DataFrame:
    """Return column, importance, how much worse the metric is when it is shuffled (Breiman 2001), and sd."""
    predictor, info, rng = run._predictor, run.info, np.random.default_rng(0)
    metric = choose(run.cfg["metric"], run.cfg["metric_mode"], info["task"])
    threshold = info.get("threshold") if depends_on_threshold(metric["name"]) else None
    sign = 1 if metric["mode"] == "max" else -1

    def score(rows: pd.DataFrame) -> float:
        return sign * metric["fn"](y, decided(predictor.output(rows), threshold))

    began, best = time.perf_counter(), score(frame)
    needs = (time.perf_counter() - began) * REPEATS * len(columns)
    if needs > seconds:
        raise UserError(f"they take about {needs:.0f} s: python -m src.explain run={run.name}")
    found = []
    for name in columns:
        orders = [rng.permutation(len(y)) for _ in range(REPEATS)]
        worse = [best - score(frame.assign(**{name: frame[name].array.take(order)})) for order in orders]
        found.append({"column": name, "importance": np.mean(worse), "sd": np.std(worse, ddof=1)})
    return pd.DataFrame(found)


def shapley(run: Run, frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return column and importance, the mean size of its SHAP values (Lundberg & Lee 2017)."""
    shap, rng = needed("shap", "shap", "by=shap"), np.random.default_rng(0)

    def predict(codes: np.ndarray) -> np.ndarray:  # (n, columns): SHAP changes the numbers of the cells' rows
        changed = {name: frame[name].array.take(codes[:, j].astype(int)) for j, name in enumerate(columns)}
        return run._predictor.output(pd.DataFrame(changed))

    codes = np.tile(np.arange(len(frame), dtype=float)[:, None], len(columns))
    background = shap.maskers.Independent(codes[rng.permutation(len(codes))[:N_BACKGROUND]])
    values = shap.PermutationExplainer(predict, background, seed=0)(codes, silent=True).values
    sizes = np.abs(values).reshape(*codes.shape, -1).mean((0, 2))  # (n, columns, classes)
    return pd.DataFrame({"column": columns, "importance": sizes})


def dependence(run: Run, frame: pd.DataFrame, columns) -> pd.DataFrame:
    """Return column, cell, class and the mean prediction where all rows have this cell (Friedman 2001)."""
    predictor, info, found = run._predictor, run.info, []
    texts, few = predictor.transforms["roles"]["text"], frame.iloc[:N_AVERAGED]
    shown = slice(info["task"] == "binary", MAX_CURVES)  # of two classes the second
    names = class_names(info)[shown] if info["classes"] else ["value"]
    for name in [name for name in columns if name not in texts][:N_DRAWN]:
        cells, values = _grid(frame[name], predictor.transforms["numeric"])
        rows = few.iloc[np.tile(np.arange(len(few)), len(cells))]
        rows = rows.assign(**{name: frame[name].array.take(np.repeat(cells, len(few)))})
        p = predictor.output(rows).reshape(len(cells), len(few), -1).mean(1)  # (values, n_outputs)
        found.append(pd.DataFrame(p[:, shown], columns=names).assign(column=name, cell=values))
    found = pd.concat(found or [pd.DataFrame()])
    return found.melt(["column", "cell"], var_name="class", value_name="prediction") if len(found) else found


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
    values, first = np.unique(x[order], return_index=True)
    return order[first], values.tolist()


def _write(run: Run, name: str, table: pd.DataFrame, title: str, draw):
    """Write ``plots/<name>.csv`` and ``plots/<name>.png``; return the path of the picture."""
    path = save(draw(table), run.folder, name, title)
    with replacing(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False)
    return path


def _bars(table: pd.DataFrame) -> Figure:
    table, figure = table.head(N_BARS)[::-1], Figure(figsize=(7, 7), layout="constrained")
    axis = figure.subplots()
    axis.barh(table["column"].map(literal), table["importance"], xerr=table.get("sd"), color=BLUE)
    axis.set_xlabel("loss of the deciding metric" if "sd" in table else "mean |SHAP value|")
    return figure


def _curves(curves: pd.DataFrame) -> Figure:
    panels = list(curves.groupby("column", sort=False))
    figure = Figure(figsize=(13, 4 * -(-len(panels) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // 3), 3, squeeze=False, sharey=True).ravel()
    for axis, (name, curve) in zip(axes, panels, strict=False):
        is_text = isinstance(curve["cell"].iloc[0], str)
        for label, one in curve.groupby("class", sort=False):
            x = one["cell"].map(literal) if is_text else one["cell"].astype(float)
            axis.plot(x, one["prediction"], "o" if is_text else ".-", label=literal(str(label)))
        axis.tick_params("x", rotation=60 if is_text else 0)
        axis.set(title=literal(name[:40]), ylabel="mean prediction")
    axes[0].legend(fontsize=8)
    return figure

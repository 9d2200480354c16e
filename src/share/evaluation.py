"""The metrics of a run on rows of a file that have targets, and their picture."""

import logging
from pathlib import Path

import numpy as np

from src.data.target import encode, readable
from src.metric.choose import choose, scores
from src.run.folder import Run
from src.share.plots import classification, literal, regression
from src.system.errors import UserError
from src.system.files import replacing


def evaluate(run: Run, path: str, etl: bool, labels: str | None) -> tuple[dict, np.ndarray, np.ndarray]:
    """Return {metric: value}, targets (n,) and predictions of the rows of a file that have a target."""
    predictor, info, n_empty, found = run._predictor, run.info, 0, []
    name, task = info["target"], "classification" if info["classes"] else "regression"
    predictor.also = [name]
    for raw, _ in predictor.chunks(path, labels):
        frame = predictor.prepared(raw, etl)[1]
        if name not in frame:
            raise UserError(f"these rows lack the target {name}: src.predict predicts them")
        filled = frame[name].notna().to_numpy()
        n_empty += (~filled).sum()
        if filled.any():
            y = encode(readable(frame[name][filled], task), info, "these rows")
            found.append((y, predictor.output(frame[filled])))
    if n_empty:
        logging.getLogger("reprise").warning("%s rows without a target are left out", f"{n_empty:,}")
    if not found:
        raise UserError(f"no row has a target in {name}")
    y, p = map(np.concatenate, zip(*found, strict=True))
    metric = choose(run.cfg["metric"], run.cfg["metric_mode"], info["task"])
    return scores(y, p, metric, info), y, p


def draw(run: Run, name: str, y: np.ndarray, p: np.ndarray) -> Path:
    """Draw ``plots/<name>.png`` like the picture of the test part; return its path."""
    info = run.info
    classes = info["classes"]
    figure = classification(y, p, classes, info.get("threshold")) if classes else regression(y, p)
    figure.suptitle(literal(f"{run.name}   {run.report['model']} on {name} ({len(y):,} rows)"), fontsize=11)
    path = run.folder / "plots" / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path

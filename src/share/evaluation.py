"""The metrics of a run on rows of a file that have targets, and their picture."""

import logging
from pathlib import Path

import numpy as np

from src.data.source import check_frame
from src.data.target import encode, readable
from src.metric.choose import choose, scores
from src.run.folder import Run
from src.share.plots import classification, literal, regression
from src.system.errors import UserError
from src.system.files import replacing

log = logging.getLogger("reprise")


def evaluate(run: Run, rows, etl: bool = True, labels: str | None = None) -> tuple:
    """Return {metric: value}, targets (n,) and predictions of ``rows``: a file, read in pieces, or a frame.

    Rows without a target are left out, and counted in the log.
    """
    predictor, info, n_empty, found = run._predictor, run.info, 0, []
    predictor.also = [info["target"]]
    is_file = isinstance(rows, str | Path)
    for raw, _ in predictor.chunks(rows, labels) if is_file else [(check_frame(rows), 1.0)]:
        raw, frame = predictor.prepared(raw, etl)
        if info["target"] not in frame:
            raise UserError(f"these rows lack the target {info['target']}: to predict them, use src.predict")
        filled = frame[info["target"]].notna().to_numpy()
        n_empty += (~filled).sum()
        if filled.any():
            y = readable(frame[info["target"]][filled], "classification" if info["classes"] else "regression")
            found.append((encode(y, info, "these rows"), predictor.output(frame[filled])))
    if n_empty:
        log.warning("%s rows without a target are left out", f"{n_empty:,}")
    if not found:
        raise UserError(f"no row has a target in {info['target']}")
    y, p = map(np.concatenate, zip(*found, strict=True))
    metric = choose(run.cfg["metric"], run.cfg["metric_mode"], info["task"])
    return scores(y, p, metric, info), y, p


def draw(run: Run, name: str, y: np.ndarray, p: np.ndarray) -> Path:
    """Draw what `src.share.plots` draws of the test part into ``plots/<name>.png``; return the path."""
    classes, threshold = run.info["classes"], run.info.get("threshold")
    figure = classification(y, p, classes, threshold) if classes else regression(y, p)
    figure.suptitle(literal(f"{run.name}   {run.report['model']} on {name} ({len(y):,} rows)"), fontsize=11)
    path = run.folder / "plots" / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path

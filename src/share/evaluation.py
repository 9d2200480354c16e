"""The metrics of a run on rows of a file that have targets, and their picture."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.data.target import encode, readable
from src.metric.choose import choose, scores
from src.run.folder import Run
from src.share.plots import predictions, save
from src.system.errors import UserError, log


def evaluate(run: Run, path: str, etl: bool, labels: str | None) -> tuple[dict, np.ndarray, np.ndarray]:
    """Return {metric: value}, targets (n,) and predictions of the rows of a file that have a target."""
    predictor, info, n_empty, found = run._predictor, run.info, 0, []
    predictor.also = [info["target"]]
    for raw, _ in predictor.chunks(path, labels):
        frame = predictor.prepared(raw, etl)[1]
        some, y = with_target(run, frame)
        n_empty += len(frame) - len(y)
        if len(y):
            found.append((y, predictor.output(some)))
    if n_empty:
        log.warning("%s rows without a target are left out", f"{n_empty:,}")
    if not found:
        raise UserError(f"no row has a target in {info['target']}")
    y, p = map(np.concatenate, zip(*found, strict=True))
    metric = choose(run.cfg["metric"], run.cfg["metric_mode"], info["task"])
    return scores(y, p, metric, info), y, p


def with_target(run: Run, frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return those rows that have a target, and the targets (n,) as numbers."""
    info, name = run.info, run.info["target"]
    if name not in frame:
        raise UserError(f"these rows lack the target {name}: src.predict predicts them")
    frame = frame[frame[name].notna().to_numpy()]
    y = readable(frame[name], "classification" if info["classes"] else "regression")
    return frame, encode(y, info, "these rows")


def draw(run: Run, name: str, y: np.ndarray, p: np.ndarray) -> Path:
    """Draw ``plots/<name>.png`` like the picture of the test part; return its path."""
    title = f"{run.name}   {run.report['model']} on {name} ({len(y):,} rows)"
    return save(predictions(y, p, run.info), run.folder, name, title)

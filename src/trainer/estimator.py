"""Fit any scikit-learn estimator and watch it."""

import inspect
import math
from copy import deepcopy
from pathlib import Path

import numpy as np

from src.metric.choose import better, compute, loss
from src.model.estimator import Estimator
from src.system.errors import UserError

MAX_ROWS = {"staged": 100, "grow": 20}  # of history; a grown forest predicts with all its trees for each
TRAIN_ROWS = 10_000  # train/loss is of at most so many training rows


def fit(cfg: dict, data, chosen: dict, *, seed: int, max_epochs: int, log_row, progress) -> Estimator:
    """Fit the estimator that ``cfg`` describes, logging a row of history for each stage that ``progress`` shows."""
    if cfg["progress"] not in PROGRESS:
        raise UserError(f"model.progress={cfg['progress']} is unknown; known: {', '.join(PROGRESS)}")
    estimator = Estimator(cfg, data.info, seed)
    train, val = data.parts["train"], data.parts["val"]
    x, x_val = estimator.matrix(train, learn=True), estimator.matrix(val)
    y = estimator.target(train)
    extra = {}
    if "weight" in train:
        if "sample_weight" not in inspect.signature(estimator.model.fit).parameters:
            raise UserError(
                f"{type(estimator.model).__name__} takes no weights: leave dataset.weight and class_weight out"
            )
        extra["sample_weight"] = train["weight"]
    if cfg["pass_val"] and getattr(estimator.model, "early_stopping", True):
        extra |= {"X_val": x_val, "y_val": estimator.target(val)}
    some = np.random.default_rng([seed, 2]).permutation(len(y))[:TRAIN_ROWS]
    watch = Watch(estimator, x[some], train["y"][some], x_val, val["y"], chosen, log_row)
    try:
        PROGRESS[cfg["progress"]](
            estimator, x, y, extra, watch, seed=seed, max_epochs=max_epochs, patience=cfg["patience"]
        )
    except (ValueError, TypeError) as error:  # scikit-learn's word for arguments and data that it cannot use
        raise UserError(f"{type(estimator.model).__name__} refuses: {' '.join(str(error).split())[:300]}") from error
    return estimator


class Watch:
    """Logs a row of history from an estimator's outputs on (some) training rows and on the val rows."""

    def __init__(self, estimator, x_train, y_train, x_val, y_val, chosen, log_row):
        self.estimator, self.x_train, self.x_val = estimator, x_train, x_val
        self.y_train, self.y_val, self.chosen, self.log_row = y_train, y_val, chosen, log_row

    def __call__(self, epoch: int, p_train: np.ndarray, p_val: np.ndarray) -> dict:
        info = self.estimator.info
        values = {"loss": loss(self.y_val, p_val, info)}
        values |= compute(info["task"], self.chosen, self.y_val, p_val)
        row = {"epoch": epoch, "train/loss": loss(self.y_train, p_train, info)}
        row |= {f"val/{name}": value for name, value in values.items()}
        self.log_row(row)
        return row

    def now(self, epoch: int) -> dict:
        return self(epoch, self.estimator.predict(self.x_train), self.estimator.predict(self.x_val))


def _once(estimator, x, y, extra, watch, **_words):
    estimator.model.fit(x, y, **extra)
    watch.now(1)


def _staged(estimator, x, y, extra, watch, **_words):
    """One plain fit, then the boosting stages that it went through."""
    model = estimator.model.fit(x, y, **extra)
    kind = "staged_predict" if estimator.info["task"] == "regression" else "staged_predict_proba"
    staged = zip(*(getattr(model, kind)(rows) for rows in (watch.x_train, watch.x_val)), strict=True)
    n_stages = int(getattr(model, "n_iter_", 0) or len(model.estimators_))
    shown = set(_stages(n_stages, MAX_ROWS["staged"]))
    for stage, outputs in enumerate(staged, start=1):
        if stage in shown:
            watch(stage, *map(estimator.predictions, outputs))


def _grow(estimator, x, y, extra, watch, **_words):
    """More trees by warm start; trees grown so equal those of one fit bit for bit."""
    n_trees = estimator.model.n_estimators
    estimator.model.set_params(warm_start=True)
    for n in _stages(n_trees, MAX_ROWS["grow"]):
        estimator.model.set_params(n_estimators=n).fit(x, y, **extra)
        watch.now(n)
    estimator.model.set_params(warm_start=False)


def _partial_fit(estimator, x, y, extra, watch, *, seed, max_epochs, patience):
    """Passes over shuffled rows; the best pass on val is kept. An algorithm of its own, not a plain fit."""
    classes = {} if estimator.info["task"] == "regression" else {"classes": np.arange(estimator.info["n_outputs"])}
    best, best_model, since = None, None, 0
    for epoch in range(1, max_epochs + 1):
        order = np.random.default_rng([seed, epoch]).permutation(len(y))
        weight = {key: value[order] for key, value in extra.items()}
        estimator.model.partial_fit(x[order], y[order], **classes, **weight)
        row = watch.now(epoch)
        since += 1
        if better(row, best, watch.chosen):
            best, best_model, since = row, deepcopy(estimator.model), 0
        if patience is not None and since >= patience:
            break
    estimator.model = best_model or estimator.model


def _stages(n: int, most: int) -> list[int]:
    """At most ``most`` numbers up to ``n``, evenly spread, ``n`` the last."""
    return sorted({math.ceil(n * (i + 1) / most) for i in range(most)}) if n > most else list(range(1, n + 1)) or [n]


# name of model.progress -> how the fit is watched; watching never changes what is fitted
PROGRESS = {"once": _once, "staged": _staged, "grow": _grow, "partial_fit": _partial_fit}


def save(estimator: Estimator, path: Path) -> None:
    import joblib

    joblib.dump(estimator, path, compress=3)


def load(path: Path) -> Estimator:
    """Unpickles: for files of runs made here only."""
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is not a readable model: {' '.join(str(error).split())[:200]}") from None

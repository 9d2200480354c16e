"""Fit any scikit-learn estimator and watch it, predict with it, save it, load it."""

import inspect
import math
from copy import deepcopy
from pathlib import Path

import numpy as np

from src.metric.choose import compute, loss
from src.model.estimator import Estimator
from src.system.errors import UserError
from src.system.files import replacing
from src.trainer.history import History

SUFFIX = "joblib"
MAX_ROWS = {"staged": 100, "grow": 20}  # of history: a growing forest predicts with all its trees for each
TRAIN_ROWS = 10_000  # train/loss is computed on at most this many training rows


def fit(
    model: dict, data, metric: dict, *, seed: int, trainer: dict, folder: Path, resume: bool, log_row,
    progress, n_threads: int,
) -> tuple[Estimator, int | None]:  # fmt: skip
    """Fit the estimator that a model section describes; return it and the epoch that it kept.

    It has no checkpoints and logs each row at once: ``folder``, ``resume`` and ``progress`` are for nets.
    """
    estimator = Estimator(model, data.info, seed, n_threads)
    train, val = data.parts["train"], data.parts["val"]
    x, x_val = estimator.matrix(train, learn=True), estimator.matrix(val)
    y = estimator.target(train)
    options = _fit_options(estimator, train)
    if model["pass_val"] and getattr(estimator.model, "early_stopping", True):
        options |= {"X_val": x_val, "y_val": estimator.target(val)}
    some = np.random.default_rng([seed, 2]).permutation(len(y))[:TRAIN_ROWS]
    stages = StageLog(estimator, (x[some], train["y"][some]), (x_val, val["y"]), metric, log_row)
    limits = {"max_epochs": trainer["max_epochs"], "patience": model["patience"], "seed": seed}
    try:
        kept = PROGRESS[model["progress"]](estimator, x, y, options, stages, **limits)
    except (ValueError, TypeError) as error:  # how scikit-learn refuses arguments and data
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{type(estimator.model).__name__} refuses: {reason}") from error
    return estimator, kept


def _fit_options(estimator: Estimator, train: dict) -> dict:
    """Return the weights of the training rows as the option of ``fit`` that takes them."""
    if "weight" not in train:
        return {}
    if "sample_weight" not in inspect.signature(estimator.model.fit).parameters:
        name = type(estimator.model).__name__
        raise UserError(f"{name} takes no weights: leave dataset.weight and class_weight out")
    return {"sample_weight": train["weight"]}


class StageLog:
    """Logs rows of history from an estimator's predictions on ``train`` and ``val``: (x, y) each."""

    def __init__(self, estimator: Estimator, train: tuple, val: tuple, metric: dict, log_row):
        self.estimator, self.train, self.val = estimator, train, val
        self.history, self.log_row = History(metric), log_row

    def __call__(self, epoch: int, p_train: np.ndarray, p_val: np.ndarray) -> None:
        info, y_val = self.estimator.info, self.val[1]
        values = {"loss": loss(y_val, p_val, info)}
        values |= compute(info["task"], self.history.metric, y_val, p_val)
        row = {"epoch": epoch, "train/loss": loss(self.train[1], p_train, info)}
        row |= {f"val/{name}": value for name, value in values.items()}
        self.history.append(row)
        self.log_row(row)

    def now(self, epoch: int) -> None:
        """Log a row from the estimator as it is now."""
        self(epoch, *(self.estimator.predict(x) for x, _ in (self.train, self.val)))


def _once(estimator, x, y, options, stages, **_limits) -> int:
    estimator.model.fit(x, y, **options)
    stages.now(1)
    return 1


def _staged(estimator, x, y, options, stages, **_limits) -> int:
    """Fit once, then log the boosting stages that the fit went through."""
    model = estimator.model.fit(x, y, **options)
    staged = model.staged_predict if estimator.info["task"] == "regression" else model.staged_predict_proba
    n_stages = int(getattr(model, "n_iter_", 0) or len(model.estimators_))
    shown = set(_stages(n_stages, MAX_ROWS["staged"]))
    pairs = zip(staged(stages.train[0]), staged(stages.val[0]), strict=True)
    for stage, (train, val) in enumerate(pairs, start=1):
        if stage in shown:
            stages(stage, estimator.predictions(train), estimator.predictions(val))
    return n_stages


def _grow(estimator, x, y, options, stages, **_limits) -> int:
    """Add trees by warm start; trees grown like this equal those of one fit bit for bit."""
    n_trees = estimator.model.n_estimators
    estimator.model.set_params(warm_start=True)
    for n in _stages(n_trees, MAX_ROWS["grow"]):
        estimator.model.set_params(n_estimators=n).fit(x, y, **options)
        stages.now(n)
    estimator.model.set_params(warm_start=False)
    return n_trees


def _partial_fit(estimator, x, y, options, stages, *, seed, max_epochs, patience) -> int | None:
    """Pass over shuffled rows, keep the best pass on val: another algorithm than a plain fit."""
    if max_epochs is None:
        raise UserError("model.progress=partial_fit needs a number of passes: trainer.max_epochs=100")
    info, history, best = estimator.info, stages.history, None
    classes = {} if info["task"] == "regression" else {"classes": np.arange(info["n_outputs"])}
    for epoch in range(1, max_epochs + 1):
        order = np.random.default_rng([seed, epoch]).permutation(len(y))
        weight = {key: value[order] for key, value in options.items()}
        estimator.model.partial_fit(x[order], y[order], **classes, **weight)
        stages.now(epoch)
        if history.best is history[-1]:
            best = deepcopy(estimator.model)
        if patience is not None and history.since >= patience:
            break
    if best is not None:
        estimator.model = best
    return history.kept


def _stages(n: int, most: int) -> list[int]:
    """Return at most ``most`` whole numbers from 1 to ``n``, evenly spread; ``n`` is the last.

    >>> _stages(10, 4)
    [3, 5, 8, 10]
    """
    if n <= most:
        return list(range(1, n + 1)) or [n]
    return [math.ceil(n * (i + 1) / most) for i in range(most)]


# name of model.progress -> how the fit is watched; watching never changes what is fitted
PROGRESS = {"once": _once, "staged": _staged, "grow": _grow, "partial_fit": _partial_fit}


def n_epochs(model: dict, trainer: dict) -> int:
    return (trainer["max_epochs"] or 0) if model["progress"] == "partial_fit" else MAX_ROWS["staged"]


def predict(estimator: Estimator, part: dict, info: dict) -> np.ndarray:
    return estimator.predict(estimator.matrix(part))


def save(estimator: Estimator, path: Path) -> None:
    import joblib

    with replacing(path) as temporary:
        joblib.dump(estimator, temporary, compress=3)


def load(path: Path, model: dict, info: dict) -> Estimator:
    """Unpickle an estimator, which can run any code: the caller checks that the file can be trusted."""
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is not a readable model: {' '.join(str(error).split())[:200]}") from None


def difference(path: Path, other: Path) -> None:
    """Return None: pickled estimators have no weights that could be compared by name."""

"""Fit any scikit-learn estimator and watch it, predict with it, save it, load it."""

import gzip
import inspect
import pickle
from pathlib import Path
from weakref import WeakKeyDictionary

import joblib
import numpy as np

from src.data.strands import averaged
from src.metric.choose import loss, scores
from src.model.estimator import Estimator
from src.system.errors import UserError, log, one_line
from src.system.files import replacing
from src.trainer.history import TRAIN_ROWS, History, watched
from src.trainer.val_epochs import NAME, keeping
from src.trainer.watch import MAX_ROWS, PROGRESS, check_progress, one_pass

_known = WeakKeyDictionary()  # {fitted estimator: [(part, its predictions)]}: a forest or k-NN is slow to ask


def fit(
    model: dict, data, metric: dict, *, seed: int, trainer: dict, folder: Path, resume: bool, log_row,
    progress, n_threads: int, watch=None,
) -> tuple[Estimator, int | None]:  # fmt: skip
    """Fit the estimator that a model section describes; return it and the epoch that it kept.

    It has no checkpoints and logs each row at once: ``resume`` and ``progress`` are for nets.
    """
    estimator = Estimator(model, data.info, seed, n_threads)
    check_progress(model["progress"], estimator.model)
    train, val = data.parts["train"], data.parts["val"]
    x, x_val = estimator.matrix(train, learn=True), estimator.matrix(val)
    y = estimator.target(train)
    options = _fit_options(estimator, train)
    if model["pass_val"] and getattr(estimator.model, "early_stopping", True):
        options |= {"X_val": x_val, "y_val": estimator.target(val)}
    some = np.random.default_rng([seed, 2]).permutation(len(y))[:TRAIN_ROWS]
    stages = StageLog(estimator, (x[some], train["y"][some]), (x_val, val["y"]), metric, log_row)
    stages.watch = watch
    limits = {"max_epochs": trainer["max_epochs"], "patience": model["patience"], "seed": seed}
    try:
        with keeping(folder.parent / NAME, model.get("keep_predictions", 0)) as stages.keep:
            kept = PROGRESS[model["progress"]](estimator, x, y, options, stages, **limits)
    except (ValueError, TypeError) as error:  # how scikit-learn refuses arguments and data
        raise UserError(f"{type(estimator.model).__name__} refuses: {one_line(error)}") from error
    if stages.history and kept == stages.history[-1]["epoch"] and model["progress"] != "native":
        shown = {name: array[some] for name, array in train.items()}
        _known[estimator] = list(zip((shown, val), stages.last, strict=True))
    return estimator, kept


def refit(model: dict, data, metric: dict, n: int, *, seed: int, n_threads: int, **_) -> Estimator:
    """Return the estimator fitted with ``n`` stages or passes, no fewer, or in one go where it always is."""
    estimator, train = Estimator(model, data.info, seed, n_threads), data.parts["train"]
    x, y = estimator.matrix(train, learn=True), estimator.target(train)
    options = _fit_options(estimator, train)
    if model["progress"] == "partial_fit":
        for epoch in range(1, n + 1):
            one_pass(estimator, x, y, options, seed, epoch)
        return estimator
    if model["progress"] in ("staged", "native"):
        known, ends = estimator.model.get_params(), {"n_estimators": n, "max_iter": n}
        ends |= {"early_stopping": False} if "early_stopping" in known else {"n_iter_no_change": None}
        estimator.model.set_params(**{name: value for name, value in ends.items() if name in known})
    if estimator.library == "lightgbm":
        options |= {"categorical_feature": estimator.native or "auto"}
    estimator.model.fit(x, y, **options)
    return estimator


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
        self.history, self.log_row, self.watch, self.keep = History(metric), log_row, None, None

    def __call__(self, epoch: int, p_train: np.ndarray, p_val: np.ndarray) -> None:
        info, y_val = self.estimator.info, self.val[1]
        values = scores(y_val, p_val, self.history.metric, info)
        row = {"epoch": epoch, "train/loss": loss(self.train[1], p_train, info)}
        row |= {f"val/{name}": value for name, value in values.items()}
        self.history.append(row)
        self.last = p_train, p_val
        watched(self.log_row, self.watch)(row)
        self.keep(epoch, y_val, p_val)

    def now(self, epoch: int) -> None:
        """Log a row from the estimator as it is now."""
        self(epoch, *(self.estimator.predict(x) for x, _ in (self.train, self.val)))

    def in_one_go(self) -> None:
        """Leave pruning out: the fit is over before its first row."""
        if self.watch:
            name = type(self.estimator.model).__name__
            log.warning("this run cannot be pruned: %s is fitted in one go", name)
        self.watch = None


def n_epochs(model: dict, trainer: dict) -> int:
    return (trainer["max_epochs"] or 0) if model["progress"] == "partial_fit" else MAX_ROWS["staged"]


@averaged
def predict(estimator: Estimator, part: dict, info: dict) -> np.ndarray:
    for known, p in _known.get(estimator, ()):
        if known.keys() == part.keys() and all(np.array_equal(known[key], part[key]) for key in part):
            return p
    return estimator.predict(estimator.matrix(part))


def save(estimator: Estimator, path: Path) -> None:
    """Pickle an estimator; joblib reads it, and would need 43 ms, not 20, to write 250 small trees."""
    with replacing(path) as temporary, gzip.open(temporary, "wb", compresslevel=3) as stream:
        pickle.dump(estimator, stream, protocol=5)


def load(path: Path, model: dict, info: dict) -> Estimator:
    """Unpickle an estimator, which can run any code: the caller checks that the file can be trusted."""
    try:
        return joblib.load(path)
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is not a readable model: {one_line(error)}") from None


def difference(path: Path, other: Path) -> None:
    """Return None: pickled estimators have no weights that could be compared by name."""

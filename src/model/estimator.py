"""scikit-learn's front door: any batch to a matrix, any estimator watched while it fits."""

import inspect
import math
import os
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax

from src import metric as metrics
from src.model.build import build
from src.storage import UserError

MAX_DENSE = 2000  # features of text for estimators that want dense input
MAX_ROWS = {"staged": 100, "grow": 20}  # of history; a grown forest predicts with all its trees for each
TRAIN_ROWS = 10_000  # train/loss is of at most so many training rows


class Estimator:
    """An estimator and how it reads a part: the same methods for classifiers and regressors.

    Parameters
    ----------
    cfg : dict
        the model section of the config: classifier, regressor, categories, sparse, tfidf, ...
    info : dict
        what the data says of itself.
    """

    def __init__(self, cfg: dict, info: dict, seed: int):
        kind = "regressor" if info["task"] == "regression" else "classifier"
        if cfg[kind] is None:
            raise UserError(f"model={cfg['name']} has no {kind}, and {info['target']} is a {info['task']} target")
        self.info, self.categories, self.sparse = info, cfg["categories"], cfg["sparse"]
        self.tfidf = _vectorizer(cfg) if info["vocab_size"] else None
        self.model = build(cfg[kind])
        if "random_state" in self.model.get_params() and "random_state" not in cfg[kind]:
            self.model.set_params(random_state=seed)
        if "n_jobs" in cfg[kind] and cfg[kind]["n_jobs"] is None:
            self.model.set_params(n_jobs=int(os.environ.get("OMP_NUM_THREADS", 1)))
        if self.categories == "native":
            n_columns = info["n_num_features"] + len(info["cat_cardinalities"])
            native = [
                n_columns - len(info["cat_cardinalities"]) + i
                for i, n in enumerate(info["cat_cardinalities"])
                if n <= 255
            ]
            self.model.set_params(categorical_features=native or None)

    def matrix(self, part: dict, learn: bool = False):
        """(n, features): numbers, categories as one-hot columns or codes, text as TF-IDF of n-grams of tokens."""
        blocks = []
        if "x_num" in part:
            blocks.append(part["x_num"])
        if "x_cat" in part:
            blocks.append(
                self._one_hot(part["x_cat"]) if self.categories == "onehot" else part["x_cat"].astype(np.float32)
            )
        if self.tfidf is not None:
            texts = _as_text(part["input_ids"], part["attention_mask"])
            blocks.append((self.tfidf.fit_transform if learn else self.tfidf.transform)(texts))
        if not any(sparse.issparse(block) for block in blocks):
            return np.concatenate(blocks, 1)
        x = sparse.hstack(blocks, format="csr", dtype=np.float32)
        return x if self.sparse else x.toarray()

    def _one_hot(self, x_cat):
        """A value that training never saw is a column of its own that training left at zero."""
        sizes = np.array(self.info["cat_cardinalities"])
        columns = x_cat + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        rows = np.repeat(np.arange(len(x_cat)), x_cat.shape[1])
        ones = np.ones(rows.size, np.float32)
        x = sparse.csr_matrix((ones, (rows, columns.ravel())), shape=(len(x_cat), sizes.sum()))
        return x if self.sparse and sizes.sum() > 100 else x.toarray()

    def target(self, part: dict) -> np.ndarray:
        """Class numbers, or standardized values."""
        y = part["y"]
        return (y - self.info["y_mean"]) / self.info["y_std"] if self.info["task"] == "regression" else y

    def predictions(self, output: np.ndarray) -> np.ndarray:
        """What the estimator gives to what every model gives: probabilities, or values in the target's own units."""
        if self.info["task"] == "regression":
            return np.asarray(output, np.float64).reshape(-1) * self.info["y_std"] + self.info["y_mean"]
        return np.asarray(output, np.float64)

    def predict(self, x) -> np.ndarray:
        model = self.model
        if hasattr(model, "estimators_") and hasattr(model, "n_jobs"):
            model = copy(model)  # a forest adds its trees in the order in which threads end: not twice the same
            model.n_jobs = 1
        if self.info["task"] == "regression":
            return self.predictions(model.predict(x))
        if hasattr(model, "predict_proba"):
            return self.predictions(model.predict_proba(x))
        if not hasattr(model, "decision_function"):
            raise UserError(f"{type(model).__name__} has neither predict_proba nor decision_function")
        score = model.decision_function(x)  # ranks as it should; not calibrated
        return np.stack([1 - expit(score), expit(score)], 1) if score.ndim == 1 else softmax(score, 1)


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
        values = {"loss": metrics.loss(self.y_val, p_val, info)}
        values |= metrics.compute(info["task"], self.chosen, self.y_val, p_val)
        row = {"epoch": epoch, "train/loss": metrics.loss(self.y_train, p_train, info)}
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
        if metrics.better(row, best, watch.chosen):
            best, best_model, since = row, deepcopy(estimator.model), 0
        if patience is not None and since >= patience:
            break
    estimator.model = best_model or estimator.model


def _stages(n: int, most: int) -> list[int]:
    """At most ``most`` numbers up to ``n``, evenly spread, ``n`` the last."""
    return sorted({math.ceil(n * (i + 1) / most) for i in range(most)}) if n > most else list(range(1, n + 1)) or [n]


# name of model.progress -> how the fit is watched; watching never changes what is fitted
PROGRESS = {"once": _once, "staged": _staged, "grow": _grow, "partial_fit": _partial_fit}


def _vectorizer(cfg: dict):
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = {key: tuple(value) if isinstance(value, list) else value for key, value in cfg["tfidf"].items()}
    if not cfg["sparse"]:
        words["max_features"] = min(words["max_features"] or MAX_DENSE, MAX_DENSE)
    return TfidfVectorizer(token_pattern=r"\S+", lowercase=False, dtype=np.float32, **words)


def _as_text(input_ids: np.ndarray, mask: np.ndarray) -> list[str]:
    """Token numbers as text again, for the vectorizer: [[5, 8, 0]] -> ["5 8"]."""
    words = np.array([str(i) for i in range(int(input_ids.max(initial=0)) + 1)], object)
    return [" ".join(words[ids[kept]]) for ids, kept in zip(input_ids, mask, strict=True)]


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

"""The front door of scikit-learn: any part of the data to a matrix, any estimator's output to predictions."""

import math
from copy import copy
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax

from src.metric.functions import in_units, learned
from src.model.build import build
from src.system.code import needed
from src.system.environment import check_memory
from src.system.errors import UserError

MAX_DENSE = 2000  # features of text for an estimator that takes dense matrices: 60,000 rows are 480 MB
MAX_NATIVE = 255  # values of a categorical column that HistGradientBoosting takes
BOOSTING = ("lightgbm", "xgboost", "catboost")  # libraries of the extra of this name
NAMES = {"catboost": ("random_seed", "thread_count")}  # of library: its random_state and its n_jobs
DENSE_ONE_HOT = 100  # up to this many one-hot columns stay dense


class Estimator:
    """An estimator and how it reads a part: the same methods for classifiers and regressors.

    cfg : the config's model section: classifier, regressor, arguments, categories, sparse, tfidf, ...
    info : task, n_num_features, cat_cardinalities, ... of the data
    seed : the estimator's ``random_state``, unless the config sets it
    n_threads : the estimator's ``n_jobs``, where the config has ``n_jobs: null``
    """

    library, native = "", ()  # estimators that were saved before have neither

    def __init__(self, cfg: dict, info: dict, seed: int, n_threads: int = 1):
        kind = "regressor" if info["task"] == "regression" else "classifier"
        if cfg[kind] is None:
            raise UserError(f"model={cfg['name']} has no {kind}: {info['target']} is a {info['task']} target")
        self.info, self.categories, self.sparse = info, cfg["categories"], cfg["sparse"]
        self.tfidf = _vectorizer(cfg, info) if info["vocab_size"] else None
        spec = cfg.get("arguments", {}) | cfg[kind]  # older configs have no arguments that both kinds share
        self.library = spec["class"].partition(".")[0]
        if self.library in BOOSTING:
            needed(self.library, "boosting", f"model={cfg['name']}")
        self.model = build(spec)
        random_state, n_jobs = NAMES.get(self.library, ("random_state", "n_jobs"))
        if random_state in (*self.model.get_params(), "random_seed") and random_state not in spec:
            self.model.set_params(**{random_state: seed})
        if n_jobs in spec and spec[n_jobs] is None:
            self.model.set_params(**{n_jobs: n_threads})
        if self.categories == "native":
            self._name_categories()

    def _name_categories(self) -> None:
        """Tell the estimator which columns hold categories; beside text, boosting takes them as numbers."""
        info, most = self.info, MAX_NATIVE if self.library not in BOOSTING else math.inf
        first = info["n_num_features"]  # categorical columns follow the numbers
        self.native = [first + i for i, n in enumerate(info["cat_cardinalities"]) if n <= most]
        if self.library in BOOSTING and self.tfidf is not None:
            self.native = []
        kinds = ["c" if i in self.native else "q" for i in range(first + len(info["cat_cardinalities"]))]
        named = {"lightgbm": {}, "xgboost": {"feature_types": kinds if self.native else None}}
        named["catboost"] = {"cat_features": self.native or None}
        self.model.set_params(**named.get(self.library, {"categorical_features": self.native or None}))

    def matrix(self, part: dict, learn: bool = False):
        """Return (n, features): numbers, categories as one-hot columns or codes, text as TF-IDF of n-grams.

        learn : fit the TF-IDF on this part, the training part
        """
        blocks = []
        if "x_num" in part:
            blocks.append(part["x_num"])  # (n, F)
        if "x_cat" in part:
            onehot = self.categories == "onehot"
            blocks.append(self._one_hot(part["x_cat"]) if onehot else part["x_cat"].astype(np.float32))
        if self.info.get("sequence_as") == "onehot" and "input_ids" in part:
            blocks.append(self._by_place(part, learn))
        elif self.tfidf is not None:
            texts = _as_text(part["input_ids"], part["lengths"])
            blocks.append(self.tfidf.fit_transform(texts) if learn else self.tfidf.transform(texts))
        dense = not any(map(sparse.issparse, blocks))
        n_columns = sum(block.shape[1] for block in blocks)
        self._check_memory(blocks[0].shape[0], n_columns, dense or not self.sparse)
        if dense and self.library == "catboost" and self.native:  # takes codes as whole numbers alone
            return np.concatenate([blocks[0].astype(object), part["x_cat"].astype(object)][-len(blocks) :], 1)
        if dense:
            return np.concatenate(blocks, 1)
        x = sparse.hstack(blocks, format="csr", dtype=np.float32)
        return x if self.sparse else x.toarray()

    def reads_sparse(self) -> bool:
        """Return whether `matrix` is sparse."""
        wide = self.categories == "onehot" and sum(self.info["cat_cardinalities"]) > DENSE_ONE_HOT
        return self.sparse and (wide or self.tfidf is not None)

    def _check_memory(self, n_rows: int, n_columns: int, dense: bool) -> None:
        """Refuse what does not fit: a dense matrix (4 bytes a cell) and its copy (8), neighbours, trees."""
        sizes = (getattr(self.model, name, 0) for name in ("n_neighbors", "n_estimators"))
        n_neighbors, n_trees = (n if type(n) is int else 0 for n in sizes)
        n_bytes = n_rows * (12 * n_columns * dense + 16 * n_neighbors) + 3000 * n_trees  # 3 kB a small tree
        check_memory(f"{type(self.model).__name__} on {n_rows:,} rows and {n_columns:,} columns", n_bytes)

    def _one_hot(self, x_cat):
        """(n, C) -> (n, all categories); a value that training never saw has a column that was always 0."""
        sizes = np.array(self.info["cat_cardinalities"])
        columns = x_cat + np.concatenate([[0], np.cumsum(sizes)[:-1]])  # (n, C)
        rows = np.repeat(np.arange(len(x_cat)), x_cat.shape[1])
        ones = np.ones(rows.size, np.float32)
        x = sparse.csr_matrix((ones, (rows, columns.ravel())), shape=(len(x_cat), sizes.sum()))
        return x if sizes.sum() > DENSE_ONE_HOT else x.toarray()

    def _by_place(self, part: dict, learn: bool):
        """Return a column for each letter at each place, if it varies in train: (n, T) -> (n, columns)."""
        ids, lengths, size = part["input_ids"], part["lengths"], self.info["vocab_size"]
        if learn and lengths.min() < lengths.max():
            sizes = f"these have {lengths.min()} to {lengths.max()} tokens"
            raise UserError(f"dataset.sequence_as=onehot is for rows of equal length, {sizes}: use tfidf")
        rows, places = np.nonzero(np.arange(min(ids.shape[1], self.info["max_len"])) < lengths[:, None])
        columns, shape = places * size + ids[rows, places], (len(ids), self.info["max_len"] * size)
        x = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)
        if learn:
            counts = np.asarray(x.sum(0)).ravel()
            self.varying = np.flatnonzero((counts > 0) & (counts < len(ids)))
        return x[:, self.varying]

    def target(self, part: dict) -> np.ndarray:
        """Return class numbers, or standardized values: (n,)."""
        y = part["y"]
        return learned(y, self.info) if self.info["task"] == "regression" else y

    def predictions(self, output: np.ndarray) -> np.ndarray:
        """Return an output as probabilities (n, n_classes), or values (n,) in the target's own units."""
        if self.info["task"] == "regression":
            return in_units(np.asarray(output, np.float64).reshape(-1), self.info)
        return np.asarray(output, np.float64)

    def predict(self, x) -> np.ndarray:
        """Return `predictions` for a `matrix`."""
        model = self.model
        if hasattr(model, "estimators_") and hasattr(model, "n_jobs"):
            model = copy(model)  # threads add the trees in varying order: sums would differ in the last bit
            model.n_jobs = 1
        if hasattr(model, "_bin_mapper"):
            return self.predictions(next(staged_outputs(model, x, [len(model._predictors)])))
        if self.info["task"] == "regression":
            return self.predictions(model.predict(x))
        if hasattr(model, "predict_proba"):
            return self.predictions(model.predict_proba(x))
        if not hasattr(model, "decision_function"):
            raise UserError(f"{type(model).__name__} has neither predict_proba nor decision_function")
        score = model.decision_function(x)  # in the right order, but not calibrated
        if score.ndim == 2:
            return softmax(score, 1)
        return np.stack([1 - expit(score), expit(score)], 1)  # two classes: (n,) -> (n, 2)


def staged_outputs(model, x, shown: list[int]):
    """Yield values or probabilities of rows after each stage of ``shown``, as ``staged_predict`` does.

    HistGradientBoosting bins the rows once: the same bits, in half of the time, for one stage in 3/4 of it.
    """
    classes = hasattr(model, "predict_proba")
    if not hasattr(model, "_bin_mapper"):
        staged = model.staged_predict_proba(x) if classes else model.staged_predict(x)
        yield from (output for stage, output in enumerate(staged, start=1) if stage in shown)
        return
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    bins = model._bin_mapper.transform(model._preprocess_X(x, reset=False))  # (n, features) uint8
    raw = model._baseline_prediction.repeat(len(bins), 0)  # (n, trees of a stage)
    for before, stage in pairwise([0, *shown]):
        trees = model._predictors[before:stage]
        model._predict_iterations(bins, trees, raw, True, _openmp_effective_n_threads())
        output = raw.copy()  # rows together: the order in which a softmax adds decides its last bit
        yield model._loss.predict_proba(output) if classes else model._loss.link.inverse(output.ravel())


def _vectorizer(cfg: dict, info: dict):
    from sklearn.feature_extraction.text import TfidfVectorizer

    options = {key: tuple(value) if isinstance(value, list) else value for key, value in cfg["tfidf"].items()}
    options["ngram_range"] = options["ngram_range"] or (1, info.get("ngrams", 2))
    if not cfg["sparse"]:
        options["max_features"] = min(options["max_features"] or MAX_DENSE, MAX_DENSE)
    return TfidfVectorizer(token_pattern=r"\S+", lowercase=False, dtype=np.float32, **options)


def _as_text(input_ids: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Return token numbers (n, T) as text again, for the vectorizer: [[5, 8, 0]] -> ["5 8"]."""
    names = np.array([str(i) for i in range(int(input_ids.max(initial=0)) + 1)], object)
    return [" ".join(names[ids[:n]]) for ids, n in zip(input_ids, lengths, strict=True)]

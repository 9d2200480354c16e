"""scikit-learn's front door: any batch to a matrix."""

from copy import copy

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax

from src.model.build import build
from src.system.errors import UserError

MAX_DENSE = 2000  # features of text for estimators that want dense input


class Estimator:
    """An estimator and how it reads a part: the same methods for classifiers and regressors.

    Parameters
    ----------
    cfg : dict
        the model section of the config: classifier, regressor, categories, sparse, tfidf, ...
    info : dict
        what the data says of itself.
    """

    def __init__(self, cfg: dict, info: dict, seed: int, n_threads: int = 1):
        kind = "regressor" if info["task"] == "regression" else "classifier"
        if cfg[kind] is None:
            raise UserError(f"model={cfg['name']} has no {kind}, and {info['target']} is a {info['task']} target")
        self.info, self.categories, self.sparse = info, cfg["categories"], cfg["sparse"]
        self.tfidf = _vectorizer(cfg) if info["vocab_size"] else None
        self.model = build(cfg[kind])
        if "random_state" in self.model.get_params() and "random_state" not in cfg[kind]:
            self.model.set_params(random_state=seed)
        if "n_jobs" in cfg[kind] and cfg[kind]["n_jobs"] is None:
            self.model.set_params(n_jobs=n_threads)
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

"""The formulas of all metrics, and from logits to p, in float64; a value that is not defined is nan.

y : (n,) class numbers, or values of a regression
p : (n, n_classes) probabilities, or predicted values (n,)
"""

import math

import numpy as np
from scipy.special import ndtr, ndtri


def to_predictions(logits: np.ndarray, info: dict) -> np.ndarray:
    """Return logits (n, n_outputs) as probabilities (n, n_classes), or values (n,) in the target's units."""
    logits = logits.astype(np.float64)  # metrics are computed in float64 for both families
    if info["task"] == "regression":
        return in_units(logits[:, 0], info)
    if logits.shape[1] == 2:  # the same bits: along rows of two, max and sum take 0.3 ms for 6,500 rows
        odds = np.exp(logits - np.maximum(logits[:, :1], logits[:, 1:]))
        return odds / (odds[:, :1] + odds[:, 1:])
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def learned(y, info: dict):
    """Return a regression's targets (n,) as models learn them: transformed if asked, then standardized."""
    state = info.get("y_transform", {})
    if "quantiles" in state:
        levels = np.linspace(0, 1, len(state["quantiles"]))
        return ndtri(np.clip(np.interp(y, state["quantiles"], levels), 1e-4, 1 - 1e-4))
    if state:  # values below those of training have no logarithm
        return (np.log(np.maximum(y, state["least"]) + state["add"]) - state["mean"]) / state["std"]
    return (y - info["y_mean"]) / info["y_std"]


def in_units(z, info: dict):
    """Return what a model has learned to predict, `learned` (n,), in the target's own units."""
    state = info.get("y_transform", {})
    if "quantiles" in state:
        return np.interp(ndtr(z), np.linspace(0, 1, len(state["quantiles"])), state["quantiles"])
    if state:
        return np.exp(np.minimum(z * state["std"] + state["mean"], 230)) - state["add"]  # at most 1e100
    return z * info["y_std"] + info["y_mean"]


def accuracy(y, p):
    return float(np.mean(p.argmax(1) == y)) if len(y) else math.nan


def balanced_accuracy(y, p):
    """Return the mean recall over the classes that occur in ``y``."""
    hits, true, _ = _counts(y, p)
    return float(np.mean(hits[true > 0] / true[true > 0])) if len(y) else math.nan


def f1(y, p):
    """Return F1 of class 1 for two classes, the unweighted mean over classes for more."""
    return f1_binary(y, p) if p.shape[1] == 2 else f1_macro(y, p)


def f1_binary(y, p):
    return float(_f1_per_class(y, p)[1])


def f1_macro(y, p):
    """Return the mean F1 over the classes that occur in ``y`` or are predicted, as scikit-learn does."""
    scores = _f1_per_class(y, p)
    return float(np.nanmean(scores)) if not np.isnan(scores).all() else math.nan


def mcc(y, p):
    """Return the Matthews correlation of any number of classes (Gorodkin 2004); nan if y or p is constant."""
    hits, true, predicted = _counts(y, p)
    n = float(len(y))
    covariance = hits.sum() * n - true @ predicted
    spread = (n * n - true @ true) * (n * n - predicted @ predicted)
    return float(covariance / math.sqrt(spread)) if spread > 0 else math.nan


def auroc(y, p):
    """Return the area under the ROC curve of class 1; for more classes the mean of one against the rest."""
    return _mean_over_classes(auroc_binary, y, p)


def average_precision(y, p):
    """Return the sum of precision x growth in recall, without interpolation; classes as in `auroc`."""
    return _mean_over_classes(average_precision_binary, y, p)


def log_loss(y, p):
    """Return the mean negative log probability of the true class, in nats; probabilities are cut at 1e-15."""
    if not len(y):
        return math.nan
    p = np.asarray(p, np.float64)
    true = p[np.arange(len(y)), y] / p.sum(1)
    return abs(float(np.log(np.clip(true, 1e-15, 1.0)).mean()))


def calibration_error(y, p, n_bins=15):
    """Return the expected calibration error of the top class in bins of equal width (Guo et al. 2017)."""
    if not len(y):
        return math.nan
    confidence, hit = p.max(1).astype(np.float64), p.argmax(1) == y
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    hits = np.bincount(bins, weights=hit, minlength=n_bins)
    expected = np.bincount(bins, weights=confidence, minlength=n_bins)
    return float(np.abs(hits - expected).sum() / len(y))


def mse(y, p):
    return float(np.mean((np.asarray(y, np.float64) - p) ** 2)) if len(y) else math.nan


def rmse(y, p):
    return math.sqrt(mse(y, p))


def mae(y, p):
    return float(np.mean(np.abs(np.asarray(y, np.float64) - p))) if len(y) else math.nan


def r2(y, p):
    y = np.asarray(y, np.float64)
    return 1.0 - mse(y, p) / float(np.var(y)) if len(y) and y.min() < y.max() else math.nan


def spearman(y, p):
    """Return the Pearson correlation of the ranks; equal values share their mean rank."""
    if not len(y):
        return math.nan
    a, b = (ranks - ranks.mean() for ranks in (_ranks(y), _ranks(p)))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread > 0 else math.nan


def _counts(y, p):
    """Return hits, true rows and predicted rows of each class, each (n_classes,) float64."""
    predicted = p.argmax(1)
    rows = (y[predicted == y], y, predicted)
    return [np.bincount(classes, minlength=p.shape[1]).astype(np.float64) for classes in rows]


def _f1_per_class(y, p):
    hits, true, predicted = _counts(y, p)
    total = true + predicted
    return np.divide(2 * hits, total, out=np.full(len(total), math.nan), where=total > 0)


def _mean_over_classes(binary, y, p):
    if p.shape[1] == 2:
        return binary(y == 1, p[:, 1])
    return float(np.mean([binary(y == k, p[:, k]) for k in range(p.shape[1])]))


def auroc_binary(positive, score):
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    rank_sum = _ranks(score)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision_binary(positive, score):
    if not positive.any():
        return math.nan
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    score, positive = np.asarray(score)[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # equal scores are one threshold
    hits = np.cumsum(positive)[last].astype(np.float64)
    return float(np.sum(hits / (last + 1) * np.diff(hits, prepend=0.0)) / hits[-1])


def _ranks(values):
    """Return ranks from 1; ties get their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

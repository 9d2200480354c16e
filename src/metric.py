"""Every metric, once, in float64: `METRICS` says its direction and what it needs.

Classification metrics take ``y`` (n,) class numbers and ``p`` (n, n_classes) probabilities; regression metrics take
``y`` (n,) and ``p`` (n,) in the target's own units. A value that is not defined (AUROC of one class, R2 of a constant
target) is nan, never 0.
"""

import difflib
import importlib
import math

import numpy as np

from src.storage import UserError


def accuracy(y, p):
    return float(np.mean(p.argmax(1) == y)) if len(y) else math.nan


def balanced_accuracy(y, p):
    """Mean recall over the classes that occur in ``y``."""
    hits, true, _ = _counts(y, p)
    return float(np.mean(hits[true > 0] / true[true > 0])) if len(y) else math.nan


def f1(y, p):
    """F1 of class 1 for two classes, the unweighted mean over classes for more."""
    return f1_binary(y, p) if p.shape[1] == 2 else f1_macro(y, p)


def f1_binary(y, p):
    return float(_f1_per_class(y, p)[1])


def f1_macro(y, p):
    """Mean over the classes that occur in ``y`` or are predicted, as scikit-learn's."""
    scores = _f1_per_class(y, p)
    return float(np.nanmean(scores)) if not np.isnan(scores).all() else math.nan


def mcc(y, p):
    """Matthews correlation of any number of classes (Gorodkin 2004); nan where either side is constant."""
    hits, true, predicted = _counts(y, p)
    n = float(len(y))
    covariance = hits.sum() * n - true @ predicted
    spread = (n * n - true @ true) * (n * n - predicted @ predicted)
    return float(covariance / math.sqrt(spread)) if spread > 0 else math.nan


def auroc(y, p):
    """Area under the ROC curve of class 1; for more classes the unweighted mean of one against the rest."""
    return _mean_over_classes(auroc_binary, y, p)


def average_precision(y, p):
    """Sum of precision x growth in recall (no interpolation); classes as in `auroc`."""
    return _mean_over_classes(average_precision_binary, y, p)


def log_loss(y, p):
    """Mean negative log probability of the true class, in nats; probabilities are kept above 1e-15."""
    if not len(y):
        return math.nan
    p = np.asarray(p, np.float64)
    true = p[np.arange(len(y)), y] / p.sum(1)
    return abs(float(np.log(np.clip(true, 1e-15, 1.0)).mean()))


def calibration_error(y, p, n_bins=15):
    """Expected calibration error of the top class in bins of equal width (Guo et al. 2017)."""
    if not len(y):
        return math.nan
    confidence, hit = p.max(1).astype(np.float64), p.argmax(1) == y
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=hit, minlength=n_bins) - np.bincount(bins, weights=confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def mse(y, p):
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    return float(np.mean((y - p) ** 2)) if len(y) else math.nan


def rmse(y, p):
    return math.sqrt(mse(y, p))


def mae(y, p):
    return float(np.mean(np.abs(np.asarray(y, np.float64) - np.asarray(p, np.float64)))) if len(y) else math.nan


def r2(y, p):
    y = np.asarray(y, np.float64)
    return 1.0 - mse(y, p) / float(np.var(y)) if len(y) and y.min() < y.max() else math.nan


def spearman(y, p):
    """Pearson correlation of the ranks, equal values sharing their mean rank."""
    a, b = _ranks(y), _ranks(p)
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread > 0 else math.nan


def _counts(y, p):
    """Per class: hits, true rows, predicted rows, each (n_classes,) float64."""
    n_classes, predicted = p.shape[1], p.argmax(1)
    hits = np.bincount(y[predicted == y], minlength=n_classes).astype(np.float64)
    return hits, *(np.bincount(x, minlength=n_classes).astype(np.float64) for x in (y, predicted))


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
    """Ranks from 1, ties averaged."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


CLASSIFICATION = ("binary", "multiclass")
REGRESSION = ("regression",)

# name -> direction, the tasks that it is logged for, and the function
METRICS = {
    "accuracy": {"mode": "max", "tasks": CLASSIFICATION, "fn": accuracy},
    "balanced_accuracy": {"mode": "max", "tasks": CLASSIFICATION, "fn": balanced_accuracy},
    "f1": {"mode": "max", "tasks": CLASSIFICATION, "fn": f1},
    "f1_macro": {"mode": "max", "tasks": CLASSIFICATION, "fn": f1_macro},
    "f1_binary": {"mode": "max", "tasks": ("binary",), "fn": f1_binary},
    "auroc": {"mode": "max", "tasks": CLASSIFICATION, "fn": auroc},
    "average_precision": {"mode": "max", "tasks": CLASSIFICATION, "fn": average_precision},
    "mcc": {"mode": "max", "tasks": CLASSIFICATION, "fn": mcc},
    "log_loss": {"mode": "min", "tasks": CLASSIFICATION, "fn": log_loss},
    "calibration_error": {"mode": "min", "tasks": CLASSIFICATION, "fn": calibration_error},
    "rmse": {"mode": "min", "tasks": REGRESSION, "fn": rmse},
    "mae": {"mode": "min", "tasks": REGRESSION, "fn": mae},
    "r2": {"mode": "max", "tasks": REGRESSION, "fn": r2},
    "spearman": {"mode": "max", "tasks": REGRESSION, "fn": spearman},
}
DEFAULT = {"binary": "accuracy", "multiclass": "accuracy", "regression": "rmse"}


def choose(name: str | None, mode: str | None, task: str) -> dict:
    """The metric that the run optimises: {"name", "mode", "fn"}.

    ``name`` is a key of `METRICS`, the dotted name of a function ``(y_true, y_score) -> float``, or null for the
    task's default. A function of one's own gets what the built-in ones get: class numbers and the probabilities
    (n, n_classes), of class 1 alone (n,) for two classes, or the values (n,) of a regression.
    """
    name = name or DEFAULT[task]
    check_name(name, mode, task)
    if "." in name:
        return {"name": name.rpartition(".")[2], "mode": mode, "fn": _guarded(name, _own(name))}
    return {"name": name, "mode": METRICS[name]["mode"], "fn": METRICS[name]["fn"]}


def check_name(name: str, mode: str | None, task: str | None) -> None:
    """Refuse a metric that cannot be; ``task`` is what is known of it: "classification", a task, or None."""
    if "." in name:
        if mode not in ("min", "max"):
            raise UserError(f"metric={name} is a function of your own: say metric_mode=max or metric_mode=min")
        return
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UserError(
            f"metric={name} is unknown{hint}; known: {', '.join(METRICS)}, or my.module.fn with metric_mode=max"
        )
    tasks = CLASSIFICATION if task == "classification" else (task,)
    if task is not None and not set(tasks) & set(METRICS[name]["tasks"]):
        fitting = ", ".join(known for known, entry in METRICS.items() if set(tasks) & set(entry["tasks"]))
        raise UserError(f"metric={name} is not a metric of a {task} task; fitting here: {fitting}")
    known = METRICS[name]["mode"]
    if mode not in (None, known):
        raise UserError(f"metric={name} is better when {known}imal; leave metric_mode out")


def _own(name: str):
    module_name, _, function = name.rpartition(".")
    try:
        fn = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"metric={name} cannot be imported: {error}") from None
    if not callable(fn):
        raise UserError(f"metric={name} is not a function")

    def own(y, p):
        return float(fn(y, p[:, 1] if p.ndim == 2 and p.shape[1] == 2 else p))

    return own


def names(task: str, chosen: dict) -> list[str]:
    """The metrics logged for ``task``, the chosen one first."""
    rest = [name for name, entry in METRICS.items() if task in entry["tasks"] and name != chosen["name"]]
    return [chosen["name"], *rest]


def compute(task: str, chosen: dict, y, p) -> dict[str, float]:
    """All metrics of the task, and the chosen one: {name: value}."""
    values = {}
    for name in names(task, chosen):
        fn = chosen["fn"] if name == chosen["name"] else METRICS[name]["fn"]
        values[name] = fn(y, p) if np.isfinite(p).all() else math.nan
    return values


def _guarded(name: str, fn):
    """A metric of one's own; what goes wrong within it is told as its own, not as the model's."""

    def guarded(y, p):
        try:
            return float(fn(y, p))
        except Exception as error:
            raise RuntimeError(f"metric={name} failed: {type(error).__name__}: {error}") from error

    return guarded


def loss(y, p, info: dict) -> float:
    """What both families call loss: log loss, or squared error in units of the training target's variance."""
    if not np.isfinite(p).all():
        return math.nan
    return mse(y, p) / info["y_std"] ** 2 if info["task"] == "regression" else log_loss(y, p)


def better(row: dict, best: dict | None, chosen: dict) -> bool:
    """Whether a row of history beats the best so far by the chosen metric on val, and where equal by val/loss.

    A small val part gives many ties in accuracy; the loss still tells these epochs apart. nan never wins.
    """
    new = row[f"val/{chosen['name']}"]
    if math.isnan(new):
        return False
    if best is None:
        return True
    old = best[f"val/{chosen['name']}"]
    if new == old:
        return row["val/loss"] < best["val/loss"]
    return new > old if chosen["mode"] == "max" else new < old

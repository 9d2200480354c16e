"""The dict of metrics, and the metric that decides: early stopping, checkpoints and sweeps optimise it."""

import math

import numpy as np

from src.metric import functions
from src.system.code import locate
from src.system.errors import UserError, nearest

CLASSIFICATION = ("binary", "multiclass")
REGRESSION = ("regression",)
# name -> direction, the tasks that it is logged for, and the function
METRICS = {
    "accuracy": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.accuracy},
    "balanced_accuracy": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.balanced_accuracy},
    "f1": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.f1},
    "f1_macro": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.f1_macro},
    "f1_binary": {"mode": "max", "tasks": ("binary",), "fn": functions.f1_binary},
    "auroc": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.auroc},
    "average_precision": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.average_precision},
    "mcc": {"mode": "max", "tasks": CLASSIFICATION, "fn": functions.mcc},
    "log_loss": {"mode": "min", "tasks": CLASSIFICATION, "fn": functions.log_loss},
    "calibration_error": {"mode": "min", "tasks": CLASSIFICATION, "fn": functions.calibration_error},
    "rmse": {"mode": "min", "tasks": REGRESSION, "fn": functions.rmse},
    "mae": {"mode": "min", "tasks": REGRESSION, "fn": functions.mae},
    "r2": {"mode": "max", "tasks": REGRESSION, "fn": functions.r2},
    "spearman": {"mode": "max", "tasks": REGRESSION, "fn": functions.spearman},
}
DEFAULT = {"binary": "accuracy", "multiclass": "accuracy", "regression": "rmse"}


def choose(name: str | None, mode: str | None, task: str) -> dict:
    """Return the metric that decides: {"name", "mode", "fn", "override"}; ``override`` chooses it again.

    ``name`` is a key of `METRICS`, the dotted name of a user's function ``(y, p) -> float``, or null for the
    task's default. A user's function gets class numbers and probabilities (n, n_classes), for two classes
    only those of class 1 (n,); for a regression, values (n,) and values (n,).
    """
    name = name or DEFAULT[task]
    check_name(name, mode, task)
    if "." in name:
        return {"name": name.rpartition(".")[2], "mode": mode, "fn": _users(name), "override": name}
    return {"name": name, "mode": METRICS[name]["mode"], "fn": METRICS[name]["fn"], "override": name}


def check_name(name: str, mode: str | None, task: str | None) -> None:
    """Refuse an unknown metric, and one of another task.

    task : a task, "classification" (not yet known how many classes), or None (nothing known yet)
    """
    if "." in name:
        if mode not in ("min", "max"):
            raise UserError(f"metric={name} is your own function: add metric_mode=max or metric_mode=min")
        return
    if name not in METRICS:
        known = f"{', '.join(METRICS)}, or my.module.fn with metric_mode=max"
        raise UserError(f"metric={name} is unknown{nearest(name, METRICS)}; known: {known}")
    tasks = set(CLASSIFICATION) if task == "classification" else {task}
    if task is not None and not tasks & set(METRICS[name]["tasks"]):
        choices = ", ".join(known for known, entry in METRICS.items() if tasks & set(entry["tasks"]))
        raise UserError(f"metric={name} is not a metric of a {task} task; choose one of {choices}")
    known = METRICS[name]["mode"]
    if mode not in (None, known):
        better_when = "higher" if known == "max" else "lower"
        raise UserError(f"metric={name} is better when {better_when}; leave metric_mode out")


def _users(name: str):
    """Return a user's function as a metric; an error inside it names the metric."""
    fn = locate(name)
    if not callable(fn):
        raise UserError(f"metric={name} is not a function")

    def metric(y, p):
        try:
            return float(fn(y, p[:, 1] if p.ndim == 2 and p.shape[1] == 2 else p))
        except Exception as error:
            raise RuntimeError(f"metric={name} failed: {type(error).__name__}: {error}") from error

    return metric


def names(task: str, metric: dict) -> list[str]:
    """Return the metrics that are logged for ``task``, the deciding one first."""
    rest = [name for name, entry in METRICS.items() if task in entry["tasks"] and name != metric["name"]]
    return [metric["name"], *rest]


def compute(task: str, metric: dict, y, p) -> dict[str, float]:
    """Return {name: value} of the deciding metric and of all of the task; nan if ``p`` is not finite."""
    values = {}
    for name in names(task, metric):
        fn = metric["fn"] if name == metric["name"] else METRICS[name]["fn"]
        values[name] = fn(y, p) if np.isfinite(p).all() else math.nan
    return values


def loss(y, p, info: dict) -> float:
    """Return the loss of both families: log loss, or squared error divided by the variance of y in train."""
    if not np.isfinite(p).all():
        return math.nan
    if info["task"] == "regression":
        return functions.mse(y, p) / info["y_std"] ** 2
    return functions.log_loss(y, p)


def better(row: dict, best: dict | None, metric: dict) -> bool:
    """Return whether a row of history beats ``best`` by the deciding metric on val, and if equal by val/loss.

    A small val part gives many ties in accuracy; the loss still separates them. nan never wins.
    """
    key, sign = f"val/{metric['name']}", 1 if metric["mode"] == "max" else -1
    if math.isnan(row[key]):
        return False
    if best is None:
        return True
    return (sign * row[key], -row["val/loss"]) > (sign * best[key], -best["val/loss"])

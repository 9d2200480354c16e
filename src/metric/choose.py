"""One printable dict of metrics, and the metric that decides."""

import difflib
import importlib
import math

import numpy as np

from src.metric.functions import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    calibration_error,
    f1,
    f1_binary,
    f1_macro,
    log_loss,
    mae,
    mcc,
    mse,
    r2,
    rmse,
    spearman,
)
from src.system.errors import UserError

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

"""The metric that decides: early stopping, checkpoints and sweeps optimise it; and the values of all."""

import inspect
import math
from contextlib import suppress

import numpy as np

from src.metric import functions
from src.metric.decision import decided
from src.metric.words import METRICS, check_name, depends_on_threshold
from src.system.code import locate
from src.system.errors import UserError

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
    return {"name": name, "mode": METRICS[name]["mode"], "fn": getattr(functions, name), "override": name}


def _users(name: str):
    """Return a user's function as a metric; an error inside it names the metric."""
    fn = locate(name)
    if not callable(fn):
        raise UserError(f"metric={name} is not a function")

    with suppress(ValueError):  # raised where a function of C has no signature
        try:
            inspect.signature(fn).bind(None, None)
        except TypeError as error:
            raise UserError(f"metric={name} is called as {name.rpartition('.')[2]}(y, p): {error}") from None

    def metric(y, p):
        try:
            value = fn(y, p[:, 1] if p.ndim == 2 and p.shape[1] == 2 else p)
        except Exception as error:
            raise RuntimeError(f"metric={name} failed: {type(error).__name__}: {error}") from error
        try:
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"metric={name} should return a number, it returned {value!r:.100}") from None

    return metric


def names(task: str, metric: dict) -> list[str]:
    """Return the metrics that are logged for ``task``, the deciding one first."""
    rest = [name for name, entry in METRICS.items() if task in entry["tasks"] and name != metric["name"]]
    return [metric["name"], *rest]


def compute(task: str, metric: dict, y, p, threshold: float | None = None) -> dict[str, float]:
    """Return {name: value} of the deciding metric and of all of the task; nan if ``p`` is not finite."""
    values, finite, by_threshold = {}, np.isfinite(p).all(), decided(p, threshold)
    for name in names(task, metric):
        fn = metric["fn"] if name == metric["name"] else getattr(functions, name)
        values[name] = fn(y, by_threshold if depends_on_threshold(name) else p) if finite else math.nan
    return values


def scores(y, p, metric: dict, info: dict) -> dict[str, float]:
    """Return the loss and `compute`, where ``info`` has one by its threshold."""
    values = compute(info["task"], metric, y, p, info.get("threshold"))
    return {"loss": loss(y, p, info)} | values


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

"""The column to predict: its task, its classes, its numbers for a model, the weight of its classes."""

import numpy as np
import pandas as pd

from src.data.cells import as_text, bare, coded, numbers, read, typed
from src.data.parse import NA_WORDS
from src.system.errors import UserError

LARGEST = 1e100  # of a regression's target: squares and their sums stay in float64's range
MAX_CLASSES_OF_NUMBERS = 20  # a numeric target with more different values is a regression


def task_of(target: pd.Series, named: str | None = None) -> str:
    """Return the task ``named`` in the config, or else infer it: few whole numbers are classes."""
    if named:
        return named
    kind, values = read(target)
    if kind["kind"] in ("flag", "text"):
        return "classification"
    values = np.unique(values[~np.isnan(values)])
    few = kind["kind"] == "number" and _whole(values) and len(values) <= MAX_CLASSES_OF_NUMBERS
    return "classification" if few else "regression"


def readable(target: pd.Series, task: str) -> pd.Series:
    """Return the target as the task needs it: of text, the numbers that it says in a regression.

    Words such as NA are empty cells of a target that is numbers otherwise, and classes of another.
    """
    if typed(target):
        return target
    words = any(text.strip().lower() in NA_WORDS for text in coded(target)[1])
    if task == "classification" and not words:
        return target
    kind, values = read(target)
    numeric = kind["kind"] not in ("flag", "text") and "loose" not in kind
    return pd.Series(values, target.index, name=target.name) if numeric else target


def _type(column: pd.Series) -> str:
    """Return "int", "float", "float32", "bool" or "str": the type in which predictions name a class."""
    kind = typed(column)
    if kind != "number":
        return "bool" if kind == "flag" else "str"
    short = bare(column).dtype in (np.float32, np.float16)
    return "int" if _whole(numbers(column)) else "float32" if short else "float"


def _whole(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and not np.mod(values, 1).any())


def class_of_row(target: pd.Series) -> np.ndarray:
    """Return (n,) int; refuse a target without anything to learn: one class, or each row another."""
    names, classes = np.unique(as_text(target), return_inverse=True)
    if len(names) == len(target) > 2:
        raise UserError(f"each row has another {target.name}: name another target or dataset.task=regression")
    if len(names) < 2:
        raise UserError(f"target {target.name} holds only {str(names[0])!r}: there is nothing to learn")
    return classes


def info_of(train: pd.Series, task: str, dataset: dict) -> dict:
    """Return the keys of ``info`` that tell of the target of the training rows."""
    info = target_info(train, task, dataset["positive"])
    kind = dataset.get("target_transform")  # older configs have no such key
    return info | {"y_transform": fit_transform(train, info, kind)} if kind else info


def target_info(train: pd.Series, task: str, positive) -> dict:
    """Return the target's keys of ``info``: task, n_outputs, classes; of a regression mean and deviation."""
    info = {"target": train.name, "classes": [], "class_type": None, "y_mean": 0.0, "y_std": 1.0}
    if task == "regression":
        y = _finite(train)
        std = float(y.std()) if y.min() < y.max() else 1.0
        if not std > 1 / LARGEST:
            raise UserError(f"target {train.name} varies by less than {1 / LARGEST:g}: multiply it")
        return info | {"y_mean": float(y.mean()), "y_std": std, "task": task, "n_outputs": 1}
    kind = _type(train)
    classes = sorted(set(as_text(train)), key=None if kind in ("bool", "str") else float)
    if positive is not None:
        if str(positive) not in classes or len(classes) != 2:
            known = ", ".join(classes[:10])
            raise UserError(f"dataset.positive={positive} is not one of two classes: {known}")
        classes.sort(key=str(positive).__eq__)  # it becomes class 1
    if len(classes) < 2:
        raise UserError(f"the training part holds one class only: {classes[0]!r}")
    task = "binary" if len(classes) == 2 else "multiclass"
    return info | {"task": task, "n_outputs": len(classes), "classes": classes, "class_type": kind}


def fit_transform(train: pd.Series, info: dict, kind: str) -> dict:
    """Return how models learn a regression's target: its log, or its place among quantiles as a normal value.

    `src.metric.functions.learned` applies it.
    """
    if info["task"] != "regression":
        raise UserError(f"dataset.target_transform={kind} is for a regression; {train.name} holds classes")
    y = _finite(train)
    if kind == "quantile":
        return {"quantiles": np.quantile(y, np.linspace(0, 1, min(len(y), 1000))).tolist()}
    least = float(y.min())
    if least < 0:
        advice = f"but {train.name} holds {least:g}; quantile takes all"
        raise UserError(f"dataset.target_transform=log needs values of at least 0, {advice}")
    add = float(least == 0)  # log(1 + y) where there is a 0
    logs = np.log(y + add)
    return {"least": least, "add": add, "mean": float(logs.mean()), "std": float(logs.std()) or 1.0}


def class_names(info: dict) -> np.ndarray:
    """Return the names of the classes in the type of the target: (n_classes,)."""
    types = {"int": int, "float": float, "float32": np.float32, "bool": "True".__eq__}
    return np.array([types.get(info["class_type"], str)(name) for name in info["classes"]])


def encode(target: pd.Series, info: dict, part: str) -> np.ndarray:
    """Return (n,) int64 class numbers or float64 values; refuse a class that does not occur in train."""
    if info["task"] == "regression":
        return _finite(target)
    number_of = {name: i for i, name in enumerate(info["classes"])}
    names = as_text(target)
    unseen = sorted(set(names) - set(number_of))
    if unseen:
        raise UserError(f"class {unseen[0]!r} of {target.name} occurs in {part} but not in train")
    return np.array([number_of[name] for name in names], np.int64)


def _finite(target: pd.Series) -> np.ndarray:
    """Return (n,) float64; refuse huge, empty and infinite values, which `numbers` takes for empty."""
    y = numbers(target)
    if not np.isfinite(y).all():
        raise UserError(f"target {target.name} holds an infinite or empty value")
    largest = np.abs(y).max(initial=0)
    if largest > LARGEST:
        advice = "divide it, or take its logarithm"
        raise UserError(f"target {target.name} holds {largest:g}, more than {LARGEST:g}: {advice}")
    return y


def weights(values: np.ndarray, name: str) -> np.ndarray:
    """Return (n,) weights of rows as float32; refuse those that cannot be summed in it."""
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise UserError(f"{name} holds empty, infinite or negative cells, or only 0")
    if not 1e-9 <= values.max() <= 1e15:
        raise UserError(f"the largest of {name} is {values.max():g}: scale it to lie between 1e-9 and 1e15")
    return values.astype(np.float32)


def weigh_classes(train: dict[str, np.ndarray], class_weight, info: dict) -> None:
    """Multiply training weights: "balanced" gives each class the same sum, a dict a factor per class."""
    if info["task"] == "regression":
        raise UserError("class_weight is for classification; this target is a regression")
    factor = np.ones(info["n_outputs"])
    if class_weight == "balanced":
        counts = np.bincount(train["y"], minlength=info["n_outputs"])
        factor = len(train["y"]) / (info["n_outputs"] * np.maximum(counts, 1))
    for name, value in class_weight.items() if isinstance(class_weight, dict) else ():
        if str(name) not in info["classes"]:
            raise UserError(f"class_weight names {name}; the classes are {', '.join(info['classes'])}")
        factor[info["classes"].index(str(name))] = value
    train["weight"] = weights(train.get("weight", 1.0) * factor[train["y"]], "class_weight")


def baseline(data, part: str) -> np.ndarray:
    """Return the predictions for ``part`` of a model that knows nothing but the training targets.

    Classes: their shares of the training rows, (n, n_classes). Values: their mean, (n,).
    """
    info, y, n = data.info, data.parts["train"]["y"], len(data.parts[part]["y"])
    if info["task"] == "regression":
        return np.full(n, info["y_mean"])
    return np.tile(np.bincount(y, minlength=info["n_outputs"]) / len(y), (n, 1))

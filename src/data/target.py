"""The column that is predicted: its task, its classes, its numbers for a model, the weight of its classes."""

import numpy as np
import pandas as pd

from src.data import columns
from src.system.errors import UserError


def infer(frame, cfg):
    """("classification" | "regression", target as text for stratifying)."""
    target = frame[cfg["target"]]
    task = cfg["task"] or columns.infer_task(target)
    if task not in ("classification", "regression"):
        raise UserError(f"dataset.task={task} is unknown; known: classification, regression")
    if task == "regression":
        columns.numbers(target)
        if np.isinf(pd.to_numeric(target, errors="coerce").to_numpy(np.float64, na_value=np.nan)).any():
            raise UserError(f"target {cfg['target']} holds an infinite value")
        return task, None
    texts = columns.as_text(target)
    if len(set(texts)) == len(texts) and len(texts) > 2:
        raise UserError(f"every row has a {cfg['target']} of its own: name another target, or dataset.task=regression")
    if len(set(texts)) < 2:
        raise UserError(f"target {cfg['target']} has the one value {texts[0]!r}: there is nothing to learn")
    return task, texts


def describe(task, cfg, train) -> dict:
    """What ``info`` says of the target: task, n_outputs, classes, or mean and deviation of the training rows."""
    column = train[cfg["target"]]
    info = {"target": cfg["target"], "classes": [], "class_type": None, "y_mean": 0.0, "y_std": 1.0}
    if task == "regression":
        y = columns.numbers(column)
        info |= {"y_mean": float(y.mean()), "y_std": float(y.std()) if y.min() < y.max() else 1.0}
        return info | {"task": "regression", "n_outputs": 1}
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    classes = sorted(set(columns.as_text(column)), key=float if numeric else None)
    positive = cfg["positive"]
    if positive is not None:
        if str(positive) not in classes or len(classes) != 2:
            raise UserError(f"dataset.positive={positive} is not one of two classes: {', '.join(classes[:10])}")
        classes = [name for name in classes if name != str(positive)] + [str(positive)]
    if len(classes) < 2:
        raise UserError(f"the training part holds one class only: {classes[0]!r}")
    return info | {
        "task": "binary" if len(classes) == 2 else "multiclass",
        "n_outputs": len(classes),
        "classes": classes,
        "class_type": _class_type(column),
    }


def _class_type(column) -> str:
    """What the names of classes are turned back into for a user: "int", "float", "bool" or "str"."""
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if not pd.api.types.is_numeric_dtype(column):
        return "str"
    return "int" if all(float(x).is_integer() for x in column.unique()) else "float"


def encode(frame: pd.DataFrame, info: dict, part: str) -> np.ndarray:
    """(n,) int64 class numbers or float64 values; a class that training rows do not hold is refused."""
    column = frame[info["target"]]
    if info["task"] == "regression":
        return columns.numbers(frame[info["target"]])
    number_of = {name: i for i, name in enumerate(info["classes"])}
    names = columns.as_text(column)
    unseen = sorted(set(names) - set(number_of))
    if unseen:
        raise UserError(
            f"the {part} part holds class {unseen[0]!r} of {info['target']}, which the training part has not"
        )
    return np.array([number_of[name] for name in names], np.int64)


def weigh_classes(train: dict[str, np.ndarray], class_weight, info: dict) -> None:
    """Multiply the training weights: "balanced" gives every class the same sum, a dict names a factor per class."""
    if info["task"] == "regression":
        raise UserError("class_weight is for classification; this target is a regression")
    n_classes = info["n_outputs"]
    if class_weight == "balanced":
        factor = len(train["y"]) / (n_classes * np.maximum(np.bincount(train["y"], minlength=n_classes), 1))
    elif isinstance(class_weight, dict):
        unknown = [str(name) for name in class_weight if str(name) not in info["classes"]]
        if unknown:
            raise UserError(f"class_weight names {unknown[0]}; the classes are {', '.join(info['classes'])}")
        by_name = {str(name): value for name, value in class_weight.items()}
        for name, value in by_name.items():
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UserError(f"class_weight of {name} is {value}: it should be a number, at least 0")
        factor = np.array([by_name.get(name, 1.0) for name in info["classes"]])
    else:
        raise UserError(f"class_weight={class_weight} is neither null, balanced nor {{class: factor, ...}}")
    train["weight"] = (train.get("weight", 1.0) * factor[train["y"]]).astype(np.float32)

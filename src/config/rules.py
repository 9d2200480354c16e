"""What each value of the config may be: its type, its limits, its words."""

import math
import re

from src.config import signature
from src.system.errors import UserError, nearest

# sections that hold a class and its arguments: +model.net.d_new=3 adds one that the yaml does not name
WITH_CLASS = ("model.net", "model.optimizer", "model.classifier", "model.regressor")
TFIDF = "sklearn.feature_extraction.text.TfidfVectorizer"
# arguments that Reprise gives itself
RESERVED = {"model.net": ("info",), "model.optimizer": ("params", "lr", "weight_decay")}
OPEN = (*(f"{section}." for section in WITH_CLASS), "model.tfidf.", "class_weight.", "dataset.args.")
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "a dict",
}
# key -> (types, lowest, highest) of its value; None among the types: may be null. Others keep their default's type
RULES = {
    "seed": ((int,), 0, 2**31 - 1),
    "threads": ((int, None), 1, 4096),
    "metric": ((str, None), None, None),
    "metric_mode": ((str, None), None, None),
    "class_weight": ((str, dict, None), None, None),
    "dataset.positive": ((str, int, float, bool, None), None, None),
    "dataset.task": ((str, None), None, None),
    "dataset.etl": ((str, None), None, None),
    **{f"dataset.{role}": ((list, None), None, None) for role in ("numeric", "categorical", "text", "ignore")},
    **{f"dataset.{key}": ((str, int, None), None, None) for key in ("id", "weight", "split", "group")},
    "dataset.target": ((str, int, list), None, None),
    "dataset.path": ((str,), None, None),
    "dataset.max_rows": ((int, None), 1, None),
    "dataset.test_size": ((float,), 0, 1),
    "dataset.val_size": ((float,), 0, 1),
    "dataset.split_seed": ((int,), 0, 2**31 - 1),
    "dataset.min_count": ((int,), 1, None),
    "dataset.max_vocab": ((int,), 1, None),
    "dataset.max_len": ((int,), 1, None),
    "model.batch_size": ((int,), 1, None),
    "model.lr": ((float,), 0, None),
    "model.weight_decay": ((float,), 0, None),
    "model.warmup": ((float,), 0, 1),
    "model.label_smoothing": ((float,), 0, 1),
    "model.ema": ((float, None), 0, 0.999999),
    "model.patience": ((int, None), 1, None),
    "model.classifier": ((dict, None), None, None),
    "model.regressor": ((dict, None), None, None),
    "model.tfidf.max_features": ((int, None), 1, None),
    "trainer.max_epochs": ((int, None), 1, None),
    "trainer.min_epochs": ((int, None), 1, None),
    "trainer.max_steps": ((int,), -1, None),
    "trainer.min_steps": ((int, None), 1, None),
    "trainer.max_time": ((str, dict, None), None, None),
    "trainer.devices": ((int, str, list), 1, None),
    "trainer.num_nodes": ((int,), 1, None),
    "trainer.precision": ((int, str), None, None),
    "trainer.gradient_clip_val": ((float, None), 0, None),
    "trainer.gradient_clip_algorithm": ((str, None), None, None),
    "trainer.accumulate_grad_batches": ((int,), 1, None),
    "trainer.fast_dev_run": ((bool, int), 0, None),
    "trainer.limit_train_batches": ((float, None), 0, None),
    "trainer.limit_val_batches": ((float, None), 0, None),
    "trainer.overfit_batches": ((float,), 0, None),
    "trainer.check_val_every_n_epoch": ((int,), 1, None),
    "trainer.deterministic": ((bool, str, None), None, None),
    "trainer.benchmark": ((bool, None), None, None),
    "trainer.profiler": ((str, None), None, None),
}
# key -> the words that it takes
CHOICES = {
    "metric_mode": ("min", "max"),
    "class_weight": ("balanced",),
    "dataset.task": ("classification", "regression"),
    "dataset.tokenizer": ("words", "whitespace", "chars"),
    "model.scaler": ("quantile", "standard", "none"),
    "model.schedule": ("constant", "linear", "cosine", "onecycle"),
    "trainer.deterministic": ("True", "False", "warn"),
    "trainer.strategy": ("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp", "deepspeed"),
    "model.progress": ("staged", "grow", "partial_fit", "once"),
    "model.categories": ("onehot", "codes", "native"),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.gradient_clip_algorithm": ("norm", "value"),
    "trainer.profiler": ("simple", "advanced", "pytorch"),
    "trainer.precision": (
        "64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed", "64", "32", "16", "bf16",
    ),
}  # fmt: skip
# key -> what its text looks like, and how that is said
PATTERNS = {
    "trainer.devices": (
        r"auto|-1|[1-9]\d*|\d+(,\d+)*,?|\[\d.*\]", "auto, a number of devices, or a list of them",
    ),
    "trainer.max_time": (r"\d+:\d\d:\d\d:\d\d", "days:hours:minutes:seconds, 00:12:00:00"),
}  # fmt: skip


def check_value(key: str, value, default, word: str) -> None:
    """Refuse what ``key`` cannot be; ``default`` is what the yaml says, ``word`` what the user typed."""
    if isinstance(value, str) and "${" in value:
        return  # an interpolation, known only when resolved
    for wrong in (_wrong_type, _wrong_word, _wrong_number):
        why = wrong(key, value, default)
        if why:
            raise UserError(f"{word}{why}")


def _wrong_type(key: str, value, default) -> str | None:
    types = RULES[key][0] if key in RULES else _types_of(key, default)
    if types and not _is_one_of(value, types):
        names = [TYPE_NAMES[t] for t in types if t] + (["null"] if None in types else [])
        return f": should be {' or '.join(names)}{'' if key in RULES else f', as its default {default}'}"
    if isinstance(default, list) and default and not all(isinstance(x, type(default[0])) for x in value or ()):
        return f": should be a list as its default {default}"
    if key.startswith("class_weight.") and (not _is_one_of(value, (float,)) or not value >= 0):
        return ": should be a number, at least 0"
    return None


def _wrong_word(key: str, value, _default) -> str | None:
    if key in CHOICES and not isinstance(value, (dict, type(None))) and str(value) not in CHOICES[key]:
        return f": should be {', '.join(CHOICES[key])}{nearest(str(value), CHOICES[key])}"
    if key in PATTERNS and isinstance(value, str | int | list) and not re.fullmatch(PATTERNS[key][0], str(value)):
        return f": should be {PATTERNS[key][1]}"
    if key.endswith(".class") and key.startswith(WITH_CLASS) and signature.exists(str(value)) is False:
        return ": there is no such class"
    return " names no column" if key == "dataset.target" and value == [] else None


def _wrong_number(key: str, value, _default) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if key in ("dataset.test_size", "dataset.val_size") and value in (0, 1):
        return " is impossible: it should lie between 0 and 1"
    if key.startswith("trainer.limit_") and isinstance(value, float) and value > 1:
        return ": should be a share up to 1.0, or a whole number of batches"
    low, high = RULES[key][1:] if key in RULES else _limits_of(key)
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        limits = "finite" if low is None else f"at least {low}" if high is None else f"between {low} and {high}"
        return f" is impossible: it should be {limits}"
    return None


def _types_of(key: str, default):
    """Types that a key without a rule takes: those of its default; arguments of classes may be null, and any number."""
    if default is None or default == "???":
        return None
    if isinstance(default, bool):
        types = (bool,)
    elif isinstance(default, int) and not key.startswith(OPEN):
        types = (int,)
    elif isinstance(default, int | float):
        types = (float,)
    else:
        types = (type(default),)
    if isinstance(default, str) and key.startswith(OPEN) and not key.endswith(".class"):
        return (*types, float, None)  # max_features: sqrt, or a share
    return (*types, None) if key.startswith(OPEN) and not key.endswith(".class") else types


def _limits_of(key: str):
    """(lowest, highest) of an argument by its name: shares of dropout, widths (d_) and counts (n_) of a net."""
    section, _, name = key.rpartition(".")
    if section != "model.net":
        return None, None
    if name.endswith("dropout"):
        return 0, 0.999999
    return (0 if name == "n_layers" else 1, None) if name.startswith(("d_", "n_")) else (None, None)


def _is_one_of(value, types) -> bool:
    if value is None:
        return None in types
    if isinstance(value, bool):
        return bool in types
    plain = tuple(t for t in types if t is not None)
    return isinstance(value, (*plain, int) if float in plain else plain)

"""What the value of each key may be."""

import inspect
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from src.system.code import locate
from src.system.errors import UserError, nearest

# sections that hold a class and its arguments: +model.net.d_new=3 adds one that the yaml does not name
WITH_CLASS = ("model.net", "model.optimizer", "model.classifier", "model.regressor")
# sections that take keys which their yaml does not name
OPEN = (*WITH_CLASS, "model.arguments", "model.tfidf", "class_weight", "dataset.args")
# arguments that Reprise sets itself
RESERVED = {"model.net": ("info",), "model.optimizer": ("params", "lr", "weight_decay")}


class Check(NamedTuple):
    """A condition on a value, and its name in messages."""

    name: str  # "a whole number, at least 1"
    fits: Callable[[object], bool]
    words: tuple[str, ...] = ()  # a typo of one of them gets a hint


def whole(low=-math.inf, high=math.inf):
    return Check("a whole number" + _limits(low, high), lambda x: type(x) is int and low <= x <= high)


def number(low=-math.inf, high=math.inf):
    return Check("a number" + _limits(low, high), lambda x: type(x) in (int, float) and low <= x <= high)


def _limits(low, high) -> str:
    if high < math.inf:
        return f" between {low} and {high}"
    return f", at least {low}" if low > -math.inf else ""


def one_of(*words):
    return Check(", ".join(words), lambda x: str(x) in words, words)


def words_in(place: str, *others: Check):
    """A word of a list that another room keeps; the room is imported when a value is checked."""
    return lambda: either(one_of(*locate(place)), *others)


def matching(pattern: str, name: str, *types):
    """Text, or a value of ``types``, that looks like ``pattern``."""
    return Check(name, lambda x: type(x) in (str, *types) and bool(re.fullmatch(pattern, str(x))))


def either(*checks):
    name, words = " or ".join(check.name for check in checks), sum((check.words for check in checks), ())
    return Check(name, lambda x: any(check.fits(x) for check in checks), words)


def nullable(*checks):
    return either(*checks, NULL)


NULL = Check("null", lambda x: x is None)
ANY = Check("any value", lambda x: True)
TEXT = Check("text", lambda x: type(x) is str)
FLAG = Check("true or false", lambda x: type(x) is bool)
ITEMS = Check("a list", lambda x: type(x) is list)
SOME = Check("a list with an item", lambda x: type(x) is list and x)
MAPPING = Check("a dict", lambda x: type(x) is dict)
SHARE = Check("a number above 0 and below 1", lambda x: type(x) in (int, float) and 0 < x < 1)
CLASS = Check("the dotted name of a class", lambda x: type(x) is str and locate(x))
LIKE = {bool: FLAG, int: whole(), float: number(), str: TEXT, list: ITEMS, dict: MAPPING}  # by default
# keys -> what their values may be; a key without a rule takes values of its default's type
RULES = {
    "seed dataset.split_seed": whole(0, 2**31 - 1),
    "threads": nullable(whole(1, 4096)),
    "metric dataset.etl": nullable(TEXT),
    "metric_mode": nullable(one_of("min", "max")),
    "class_weight": nullable(MAPPING, one_of("balanced")),
    "dataset.path": TEXT,
    "dataset.target": either(TEXT, whole(), SOME),
    "dataset.task": words_in("src.data.target.TASKS", NULL),
    "dataset.positive": nullable(TEXT, number(), FLAG),
    "dataset.numeric dataset.categorical dataset.text dataset.ignore": nullable(ITEMS),
    "dataset.id dataset.weight dataset.split dataset.group": nullable(TEXT, whole()),
    "dataset.test_size dataset.val_size": SHARE,
    "dataset.tokenizer": words_in("src.data.tokenizer.TOKENIZERS"),
    "dataset.max_rows": nullable(whole(1)),
    "dataset.min_count dataset.max_vocab dataset.max_len": whole(1),
    "model.lit": nullable(CLASS),
    "model.scaler": words_in("src.data.columns.SCALERS"),
    "model.schedule": words_in("src.trainer.schedule.SCHEDULES"),
    "model.progress": words_in("src.trainer.estimator.PROGRESS"),
    "model.categories": words_in("src.model.estimator.CATEGORIES"),
    "model.batch_size": whole(1),
    "model.lr model.weight_decay": number(0),
    "model.warmup model.label_smoothing": number(0, 1),
    "model.ema": nullable(number(0, 0.999999)),
    "model.patience model.tfidf.max_features": nullable(whole(1)),
    "model.classifier model.regressor": nullable(MAPPING),
    "trainer.max_epochs trainer.min_epochs trainer.min_steps": nullable(whole(1)),
    "trainer.max_steps": whole(-1),
    "trainer.max_time": nullable(MAPPING, matching(r"\d+(:\d\d){3}", "text as 00:12:00:00 (days first)")),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": matching(
        r"auto|-1|[1-9]\d*|\d+,(\d+,?)*|\[\d.*\]", "auto, a number of devices, or a list", int, list
    ),
    "trainer.num_nodes trainer.accumulate_grad_batches trainer.check_val_every_n_epoch": whole(1),
    "trainer.strategy": one_of("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp", "deepspeed"),
    "trainer.precision": one_of(
        "64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed", "64", "32", "16", "bf16"
    ),
    "trainer.gradient_clip_val": nullable(number(0)),
    "trainer.gradient_clip_algorithm": nullable(one_of("norm", "value")),
    "trainer.fast_dev_run": either(FLAG, whole(0)),
    "trainer.limit_train_batches trainer.limit_val_batches": nullable(number(0, 1), whole(0)),
    "trainer.overfit_batches": either(number(0, 1), whole(0)),
    "trainer.deterministic": nullable(FLAG, one_of("warn")),
    "trainer.benchmark": nullable(FLAG),
    "trainer.profiler": nullable(one_of("simple", "advanced", "pytorch")),
}
RULES = {key: rule for keys, rule in RULES.items() for key in keys.split()}


def check_value(key: str, value, default, typed: str) -> None:
    """Refuse a value that ``key`` cannot have; ``default`` is the yaml's, ``typed`` what the user wrote."""
    if isinstance(value, str) and "${" in value:
        return  # an interpolation, known only when it is resolved
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{typed}: should be finite")
    check = rule_of(key, default)
    if not check.fits(value):
        hint = nearest(str(value), check.words) if check.words else ""
        raise UserError(f"{typed}: should be {check.name}{hint}")


def rule_of(key: str, default) -> Check:
    """Return the rule of ``key``, or one made from its name or from its default."""
    section, _, name = key.rpartition(".")
    if key in RULES:
        return RULES[key]() if callable(RULES[key]) else RULES[key]
    if section == "class_weight":
        return number(0)
    if section in WITH_CLASS and name == "class":
        return CLASS
    if section == "model.net" and name.startswith(("d_", "n_")):
        return nullable(whole(0 if name == "n_layers" else 1))
    if section == "model.net" and name.endswith("dropout"):
        return nullable(number(0, 0.999999))
    if default is None or default == "???":
        return ANY
    like = LIKE[type(default)]
    if isinstance(default, list) and default:
        kind = type(default[0])
        like = Check(f"a list like {default}", lambda x: type(x) is list and {*map(type, x)} <= {kind})
    if section not in OPEN:
        return like
    if isinstance(default, str):
        return nullable(TEXT, number())  # max_features=sqrt, or 0.5
    return nullable(number() if type(default) is int else like)


def arguments(dotted: str) -> set[str] | None:
    """Return the names of the arguments of a class; None where it takes any, or keeps them in C."""
    try:
        parameters = inspect.signature(locate(dotted)).parameters
    except (ValueError, TypeError):
        return None
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return None if takes_any else set(parameters)

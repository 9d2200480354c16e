"""What the value of each key may be."""

import inspect
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from src.config.tree import WITH_CLASS
from src.system.code import locate
from src.system.errors import UserError, holds_password, nearest

# sections that take keys which their yaml does not name
OPEN = (*WITH_CLASS, "model.arguments", "model.tfidf", "class_weight", "dataset.args", "sweep.models")
# arguments that Reprise sets itself
RESERVED = {"model.net": ("info",), "model.optimizer": ("params", "lr", "weight_decay")}


class Check(NamedTuple):
    """A condition on a value, and its name in messages."""

    name: str  # "a whole number, at least 1"
    fits: Callable[[object], bool]


def whole(low=-math.inf, high=math.inf, name="a whole number", types=(int,)):
    if high < math.inf:
        name += f" between {low} and {high}"
    elif low > -math.inf:
        name += f", at least {low}"
    return Check(name, lambda x: type(x) in types and low <= x <= high)


def number(low=-math.inf, high=math.inf):
    return whole(low, high, "a number", (int, float))


def one_of(*words):
    return Check(", ".join(words), lambda x: str(x) in words)


def matching(pattern: str, name: str, *types):
    """Text, or a value of ``types``, that looks like ``pattern``."""
    return Check(name, lambda x: type(x) in (str, *types) and bool(re.fullmatch(pattern, str(x))))


def is_name(value) -> bool:
    return type(value) in (int, float, bool) or (type(value) is str and value.isprintable() and value != "")


def is_member(value) -> bool:
    """Return whether a value is a model of a team: its name, its cost, and dotted keys of its own."""
    known = type(value) is dict and type(value.get("model")) is str and {*value} >= {"model", "cost"}
    own = [key for key in value if key not in ("model", "cost")] if known else []
    return known and number(0).fits(value["cost"]) and all("." in key for key in own)


NULL = Check("null", lambda x: x is None)
ANY = Check("any value", lambda x: True)
TEXT = Check("text", lambda x: type(x) is str)
NAME = Check("text without control characters", lambda x: type(x) is str and is_name(x))
SIGNS = Check("text", lambda x: type(x) is str and x)
SIGN = Check("one sign", lambda x: type(x) is str and len(x) == 1)
FLAG = Check("true or false", lambda x: type(x) is bool)
ITEMS = Check("a list", lambda x: type(x) is list)
SOME = Check("a list with an item", lambda x: type(x) is list and x)
TAGS = Check("a list of text without control characters", lambda x: type(x) is list and all(map(is_name, x)))
METRICS = Check("a list of metrics", lambda x: type(x) is list and {*map(type, x)} <= {str, type(None)})
MAPPING = Check("a dict", lambda x: type(x) is dict)
SHARE = Check("a number above 0 and below 1", lambda x: type(x) in (int, float) and 0 < x < 1)
CLASS = Check("the dotted name of a class", lambda x: type(x) is str and locate(x))
TEAM = Check("a list of {model: mlp, cost: 4}", lambda x: type(x) is list and x and all(map(is_member, x)))
LIKE = {bool: FLAG, int: whole(), float: number(), str: TEXT, list: ITEMS, dict: MAPPING}  # by default
# keys -> a check of their values, or several of which one must fit; a dotted name is a room's list of words.
# A key without a rule takes values of its default's type
RULES = {
    "seed dataset.split_seed": whole(0, 2**31 - 1),
    "threads": [whole(1, 4096), NULL],
    "metric dataset.etl": [TEXT, NULL],
    "metric_mode": [one_of("min", "max"), NULL],
    "class_weight": [MAPPING, one_of("balanced"), NULL],
    "keep_predictions": number(0),
    "calibrate": ["src.metric.words.CALIBRATIONS", NULL],
    "threshold": [SHARE, one_of("tuned"), NULL],
    "team": [TEAM, NULL],
    "budget": [number(1), matching(r"\d+s", "300s")],
    "register": [matching(r"[\w.-]{1,250}", "a short name"), NULL],
    "on_error": matching(r"continue|stop|retry:[1-9]\d*", "continue, stop, retry:2"),
    "pictures": [FLAG, NULL],
    "tags": TAGS,
    "cv.n_folds cv.n_outer": whole(2),
    "cv.n_jobs cv.n_repeats": whole(1),
    "cv.fold cv.outer": [whole(0), NULL],
    "sweep.sampler": "src.config.space.SAMPLERS",
    "sweep.n_trials": whole(1),
    "sweep.timeout": [number(1), NULL],
    "sweep.metric": [TEXT, METRICS, NULL],
    "sweep.pruner": ["src.config.space.PRUNERS", NULL],
    "sweep.n_startup_trials sweep.n_warmup_epochs": whole(0),
    "sweep.min_epochs": whole(1),
    "sweep.max_epochs": [whole(1), NULL],
    "sweep.storage sweep.study": [NAME, NULL],
    "logger.project": NAME,
    "logger.wait": [number(0), NULL],
    "dataset.path": TEXT,
    "dataset.read.separator dataset.read.encoding": [SIGNS, NULL],
    "dataset.read.decimal dataset.read.thousands": [SIGN, NULL],
    "dataset.read.na_values dataset.read.parse_dates": [ITEMS, NULL],
    "dataset.target": [SIGNS, whole(), SOME],
    "dataset.task": ["src.data.words.TASKS", NULL],
    "dataset.target_transform": ["src.data.words.TARGET_TRANSFORMS", NULL],
    "dataset.positive": [TEXT, number(), FLAG, NULL],
    "dataset.numeric dataset.categorical dataset.text dataset.ignore": [ITEMS, NULL],
    "dataset.dates": [ITEMS, MAPPING, NULL],
    "dataset.id dataset.weight dataset.split dataset.group dataset.time": [TEXT, whole(), NULL],
    "dataset.test_size dataset.val_size": SHARE,
    "dataset.tokenizer": ["src.data.words.TOKENIZERS", NULL],
    "dataset.alphabet": ["src.data.words.KINDS", NULL],
    "dataset.unknown_letters": "src.data.words.UNKNOWN_LETTERS",
    "dataset.truncate": "src.data.words.TRUNCATE",
    "dataset.task_split": "src.data.words.GB1_SPLITS",
    "dataset.motif": "src.data.words.MOTIFS",
    "dataset.sequence_as": "src.data.words.SEQUENCE_AS",
    "dataset.split_by": "src.data.words.SPLIT_BY",
    "dataset.similarity": number(0.1, 1),
    "dataset.bed": TEXT,
    "dataset.flank": whole(0),
    "dataset.header dataset.labels dataset.pretrained dataset.subset": [SIGNS, NULL],
    "dataset.max_rows dataset.max_vocab dataset.max_len": [whole(1), NULL],
    "dataset.min_count dataset.k": whole(1),
    "model.lit": [CLASS, NULL],
    "model.scaler": "src.data.words.SCALERS",
    "model.schedule": "src.model.words.SCHEDULES",
    "model.progress": "src.trainer.watch.PROGRESS",
    "model.categories": "src.model.words.CATEGORIES",
    "model.batch_size": whole(1),
    "model.lr model.weight_decay": number(0),
    "model.warmup model.label_smoothing": number(0, 1),
    "model.ema": [number(0, 0.999999), NULL],
    "model.patience model.tfidf.max_features": [whole(1), NULL],
    "model.classifier model.regressor": [MAPPING, NULL],
    "model.net.n_layers": [whole(0, 10_000), NULL],
    "model.net.numeric": "src.model.words.NUMERIC",
    "model.net.sigma": number(1e-6),
    "model.net.n_blocks": [whole(1, 10_000), NULL],
    "model.net.k": whole(1),
    "trainer.max_epochs trainer.min_epochs trainer.min_steps": [whole(1), NULL],
    "trainer.max_steps": whole(-1),
    "trainer.max_time": [MAPPING, matching(r"\d+(:\d\d){3}", "text as 00:12:00:00 (days first)"), NULL],
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": matching(
        r"auto|-1|[1-9]\d*|\d+,(\d+,?)*|\[\d.*\]", "auto, a number of devices, or a list", int, list
    ),
    "trainer.num_nodes trainer.accumulate_grad_batches trainer.check_val_every_n_epoch": whole(1),
    "trainer.strategy": one_of("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp", "deepspeed"),
    "trainer.precision": one_of(
        "64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed", "64", "32", "16", "bf16"
    ),
    "trainer.gradient_clip_val": [number(0), NULL],
    "trainer.gradient_clip_algorithm": [one_of("norm", "value"), NULL],
    "trainer.fast_dev_run": [FLAG, whole(0)],
    "trainer.limit_train_batches trainer.limit_val_batches": [number(0, 1), whole(0), NULL],
    "trainer.overfit_batches": [number(0, 1), whole(0)],
    "trainer.deterministic": [FLAG, one_of("warn"), NULL],
    "trainer.benchmark": [FLAG, NULL],
    "trainer.profiler": [one_of("simple", "advanced", "pytorch"), NULL],
}
RULES = {key: rule for keys, rule in RULES.items() for key in keys.split()}


def check_value(key: str, value, default, typed: str) -> None:
    """Refuse a value that ``key`` cannot have; ``default`` is the yaml's, ``typed`` what the user wrote."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{typed}: should be finite")
    refuse_password(key, value)
    rule = rule_of(key, default)
    rules = rule if type(rule) is list else [rule]
    checks = [one_of(*locate(one)) if isinstance(one, str) else one for one in rules]
    if not any(check.fits(value) for check in checks):
        known = " or ".join(check.name for check in checks)
        raise UserError(f"{typed}: should be {known}{nearest(str(value), re.split(', | or ', known))}")


def refuse_password(key: str, value) -> None:
    """Refuse an address with a password, which a run would keep in its config.json."""
    if type(value) in (str, list) and holds_password(str(value)):
        advice = "leave it out, what reads it finds it in ~/.pgpass or in a variable such as PGPASSWORD"
        raise UserError(f"{key} holds a password, which the run would record: {advice}")


def rule_of(key: str, default):
    """Return the rule of ``key``, or one made from its name or from its default."""
    section, _, name = key.rpartition(".")
    if key in RULES:
        return RULES[key]
    if key.startswith("class_weight."):
        return number(0)
    if section in WITH_CLASS and name == "class":
        return CLASS
    if section == "model.net" and name.startswith(("d_", "n_")):
        return [whole(1), NULL]
    if section == "model.net" and name.endswith("dropout"):
        return [number(0, 0.999999), NULL]
    if default is None or "${" in str(default) or default == "???":
        return ANY
    like = LIKE.get(type(default), ANY)
    if isinstance(default, list) and default:
        kind = type(default[0])
        like = Check(f"a list like {default}", lambda x: type(x) is list and {*map(type, x)} <= {kind})
    if section not in OPEN:
        return like
    if isinstance(default, str):
        return [TEXT, number(), NULL]  # max_features=sqrt, or 0.5
    return [number() if type(default) is int else like, NULL]


def arguments(dotted: str, otherwise=None) -> dict | None:
    """Return a class's arguments and their defaults; ``otherwise`` where it takes any, or they are in C."""
    try:
        parameters = inspect.signature(locate(dotted)).parameters
    except (ValueError, TypeError):
        return otherwise
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return otherwise
    return {name: None if one.default is one.empty else one.default for name, one in parameters.items()}

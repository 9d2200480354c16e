"""From words to a config: composes, and says what is wrong with the words before anything heavy is imported."""

import difflib
import math
import os
import re
from itertools import product

from omegaconf import OmegaConf

from src import signature, storage
from src.storage import UserError

CONF = storage.CHECKOUT / "conf"
GROUPS = ("dataset", "model", "trainer", "logger", "experiment", "debug")
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

OmegaConf.register_new_resolver("claim_run", lambda: str(claim_run()), replace=True)
OmegaConf.register_new_resolver("sweep_dir", lambda: os.environ.get("REPRISE_SWEEP_DIR", "none"), replace=True)


def claim_run():
    """The folder of the next run; where the config is only shown, a name that claims nothing."""
    folder = storage.outputs() / "runs"
    return folder / "t?" if os.environ.get("REPRISE_CLAIM") == "no" else storage.claim(folder, "t")


def compose(words) -> dict:
    """The resolved config of one run, as a plain dict; ``words`` as in the shell: ["model=mlp", "seed=1"]."""
    check(list(words))
    with _hydra() as hydra_compose:
        return OmegaConf.to_container(hydra_compose("train", list(words)), resolve=True)


def check(words: list[str], multirun: bool = False) -> tuple[int, dict]:
    """Check every word of every job; returns the number of jobs, and the config that the first one's groups make.

    Raises
    ------
    UserError
        saying what is wrong, where, and the nearest right name.
    """
    overrides = [_parse(word) for word in words]
    alternatives = [_alternatives(override, multirun) for override in overrides]
    grouped = [values for values in alternatives if _is_group(values[0])]
    others = [value for values in alternatives if not _is_group(values[0]) for value in values]
    first = None
    with _hydra() as hydra_compose:
        for groups in product(*grouped):
            base = OmegaConf.to_container(hydra_compose("train", [group.input_line for group in groups]), resolve=False)
            first = first or base
            _check_values(base, others)
        if any("${" in word for word in words) and not multirun:  # what an interpolation gives is known only then
            OmegaConf.to_container(hydra_compose("train", words), resolve=True)
    return math.prod(map(len, alternatives)), first


def change(config: dict, words: list[str]) -> dict:
    """A recorded config with some values replaced; ``words`` as in the shell, their keys must exist in it."""
    changed = OmegaConf.create(config)
    for override in map(_parse, words):
        key = override.key_or_group
        default, exists = _get(config, key)
        if not exists or override.is_sweep_override() or isinstance(default, dict):
            raise UserError(
                f"{override.input_line} does not fit{nearest(key, [known for known, _ in _leaves(config)])}"
            )
        _check_value(key, override.value(), default, override.input_line)
        OmegaConf.update(changed, key, override.value())
    return OmegaConf.to_container(changed)


def choices(group: str) -> list[str]:
    """The names that ``group=`` takes."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


class _hydra:
    """Hydra's compose on ``conf/``; what it refuses is one sentence."""

    def __enter__(self):
        from hydra import compose, initialize_config_dir

        self.initialized = initialize_config_dir(str(CONF), version_base=None, job_name="train")
        self.initialized.__enter__()
        return compose

    def __exit__(self, kind, error, trace):
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        self.initialized.__exit__(kind, error, trace)
        if isinstance(error, HydraException | OmegaConfBaseException):
            raise UserError(one_line(error)) from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _parse(word: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{word!r} is not an override ({str(error).splitlines()[0]}): write key=value") from None
    if override.is_delete():
        raise UserError(f"{word}: keys are not removed; set it to null, or choose another group")
    return override


def _alternatives(override, multirun: bool) -> list:
    """The values that a word names, each an override of its own: "seed=0,1" -> seed=0 and seed=1."""
    if not override.is_sweep_override():
        values = [override]
    elif not multirun:
        raise UserError(f"{override.input_line} names several values: add --multirun")
    else:
        from hydra.errors import HydraException

        key = override.input_line.partition("=")[0]
        try:
            values = [_parse(f"{key}={value}") for value in override.sweep_string_iterator()]
        except HydraException as error:
            raise UserError(f"{override.input_line} cannot be swept: {one_line(error)}") from None
    for value in values:
        if value.key_or_group in GROUPS:
            choice, known = value.value(), choices(value.key_or_group)
            if choice not in known:
                near, there = nearest(str(choice), known), ", ".join(known)
                raise UserError(f"{value.key_or_group}={choice} is unknown{near}; there are: {there}")
    return values


def _is_group(override) -> bool:
    return override.key_or_group in GROUPS or override.key_or_group.startswith("hydra/")


def _check_values(base: dict, overrides: list) -> None:
    """Whether the keys exist, and their values can be; ``base`` is the config that the groups alone make."""
    values = {}
    for override in overrides:
        values |= dict(_leaves_of(override.key_or_group, override.value()))
    for override in overrides:
        key = override.key_or_group
        if key.startswith("hydra."):
            continue
        if key in ("", "dataset.name", "model.name"):
            raise UserError(
                f"{override.input_line}: this is not to be set, choose another group: dataset=..., model=..."
            )
        for inner, value in _leaves_of(key, override.value()):
            default, exists = _get(base, inner)
            if not exists:
                _check_new(inner, override, base, values)
            _check_value(inner, value, default, override.input_line if inner == key else f"{inner}={value}")
    missing = [key for key, value in _leaves(base) if value == "???" and key not in values]
    if missing:
        raise UserError(f"{missing[0]} is required: add {missing[0]}=...{_hint(base, missing[0])}")
    _check_metric(base, values)


def _leaves_of(key: str, value):
    """The word itself, and of a dict its values: model.net={dropout: 0} -> model.net, model.net.dropout."""
    yield key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves_of(f"{key}.{name}", inner)


def _check_new(key: str, override, base: dict, values: dict) -> None:
    """A key that the yaml does not name: an argument that its class takes, behind a plus, or a mistake."""
    section, _, name = key.rpartition(".")
    known = [known for known, _ in _leaves(base)]
    if not key.startswith(OPEN):
        raise UserError(f"{key} is unknown{nearest(key, known)}")
    dotted = TFIDF if section == "model.tfidf" else values.get(f"{section}.class", _get(base, f"{section}.class")[0])
    if dotted and name != "class":
        taken = signature.arguments(str(dotted))
        if name in RESERVED.get(section, ()) or (taken is not None and name not in taken):
            near = nearest(name, sorted((taken or set()) - set(RESERVED.get(section, ()))))
            raise UserError(f"{dotted} takes no {name}{near}")
    added = override.is_add() or override.is_force_add() or isinstance(override.value(), dict)
    if not added:
        raise UserError(f"{key} is not in the yaml{nearest(key, known)}; to add it, write +{override.input_line}")


def _check_value(key: str, value, default, word: str) -> None:
    if isinstance(value, str) and "${" in value:
        return  # an interpolation, known only when resolved
    types, low, high = RULES.get(key) or (_types_of(key, default), *_limits_of(key))
    if types and not _is_one_of(value, types):
        names = [TYPE_NAMES[t] for t in types if t] + (["null"] if None in types else [])
        raise UserError(
            f"{word}: should be {' or '.join(names)}{'' if key in RULES else f', as its default {default}'}"
        )
    if key in CHOICES and not isinstance(value, (dict, type(None))) and str(value) not in CHOICES[key]:
        raise UserError(f"{word}: should be {', '.join(CHOICES[key])}{nearest(str(value), CHOICES[key])}")
    if (
        key == "model.classifier.class"
        or key == "model.regressor.class"
        or key.endswith((".net.class", ".optimizer.class"))
    ):
        if signature.exists(str(value)) is False:
            raise UserError(f"{word}: there is no such class")
    if key in ("dataset.test_size", "dataset.val_size") and value in (0, 1):
        raise UserError(f"{word} is impossible: it should lie between 0 and 1")
    if key == "dataset.target" and value == []:
        raise UserError(f"{word} names no column")
    if isinstance(default, list) and default and not all(isinstance(x, type(default[0])) for x in value or ()):
        raise UserError(f"{word}: should be a list as its default {default}")
    if key.startswith("class_weight.") and (not _is_one_of(value, (float,)) or not value >= 0):
        raise UserError(f"{word}: should be a number, at least 0")
    if key == "trainer.devices" and not re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)*,?|\[\d.*\]", str(value)):
        raise UserError(f"{word}: should be auto, a number of devices, or a list of them")
    if key == "trainer.max_time" and isinstance(value, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value):
        raise UserError(f"{word}: should be days:hours:minutes:seconds, 00:12:00:00")
    if key.startswith("trainer.limit_") and isinstance(value, float) and value > 1:
        raise UserError(f"{word}: should be a share up to 1.0, or a whole number of batches")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            limits = "finite" if low is None else f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{word} is impossible: it should be {limits}")


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


def _check_metric(base: dict, values: dict) -> None:
    """What can be said of ``metric`` before the data is read."""
    name = values.get("metric", base["metric"])
    mode = values.get("metric_mode", base["metric_mode"])
    if name is None:
        return
    from src import metric

    task = values.get("dataset.task", base["dataset"]["task"])
    metric.check_name(name, mode, task)


def _get(config: dict, key: str):
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return None, False
        config = config[name]
    return config, True


def _leaves(config: dict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}", value


def nearest(word: str, known) -> str:
    """ ": did you mean model.lr?", by the whole key or by its last part, where something is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    if not near:
        last = {key.rpartition(".")[2]: key for key in reversed(list(known))}
        near = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)]
    if not near:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""


def _hint(base: dict, key: str) -> str:
    name = base["dataset"].get("name")
    return f" (as in the comment at the head of conf/dataset/{name}.yaml)" if key.startswith("dataset.") else ""


def _shown(override) -> str:
    return override.input_line.partition("=")[2]


def _is_one_of(value, types) -> bool:
    if value is None:
        return None in types
    if isinstance(value, bool):
        return bool in types
    plain = tuple(t for t in types if t is not None)
    return isinstance(value, (*plain, int) if float in plain else plain)

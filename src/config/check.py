"""Refuse wrong overrides before anything heavy is imported."""

import math
import re
from itertools import chain, product
from typing import NamedTuple

from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.config.options import hydra_options
from src.config.own import BASES, KINDS, expand, model_group
from src.config.resolve import resolve
from src.config.rules import OPEN, RESERVED, arguments, check_value, refuse_password
from src.config.space import check_first, check_search, dimension, is_search, of_models, searcher
from src.config.tree import GROUPS, addable, choices, flat, get, hydra_compose, leaves, parse
from src.config.typed import weights
from src.config.unknown import UnknownKey, composed
from src.metric.words import check_name
from src.system.errors import UserError, nearest, one_line

VECTORIZER = "sklearn.feature_extraction.text.TfidfVectorizer"  # takes what stands in model.tfidf
METRIC = ("metric", "metric_mode", "dataset.task")  # keys that must fit together
OTHERS = {  # our keys, and what other libraries call them
    "trainer.max_epochs": "epochs epoch n_epochs num_epochs iterations",
    "trainer.devices": "gpus gpu n_gpus",
    "trainer.accelerator": "device",
    "model.lr": "learning_rate learning_rate_init eta",
    "model.batch_size": "batch bs batchsize",
    "model.patience": "early_stopping",
    "model.net.d_hidden": "hidden hidden_size hidden_dim hidden_layer_sizes",
    "dataset.target": "label y label_column",
    "dataset.val_size": "val_split valid_size validation_split",
    "dataset.test_size": "test_split",
    "dataset.read.separator": "sep delimiter",
    "dataset.ignore": "drop exclude ignore_features",
    "dataset.categorical": "cat_features categorical_features",
    "dataset": "data file csv",
    "model": "estimator",
    "seed": "random_state random_seed",
    "threads": "n_jobs num_workers workers",
    "metric": "scoring eval_metric monitor",
}
PRESETS = ("experiment", "debug")  # groups whose files set keys of the whole config


class Given(NamedTuple):
    """A value that an override, or the file of a preset, gives to a key."""

    key: str
    value: object
    typed: str
    adds: bool  # whether the key may be new: behind a plus, or of a preset


def check(overrides: list[str], multirun: bool = False) -> tuple[int, dict]:
    """Check every override of every job; return the number of jobs and the config of the first one.

    Raises a `UserError` that names what is wrong, where, and the nearest right name.
    """
    if grids := of_models(expand(overrides)) if multirun else []:
        checked = [check(words, multirun) for words in grids]
        return sum(n for n, _ in checked), checked[0][1]
    options = hydra_options(overrides, multirun)
    parsed = list(map(parse, expand(overrides)))
    section, ready = searcher(parsed)
    check_search(section, ready, parsed, multirun)
    typed = {one.key_or_group for one in parsed}
    parsed += [parse(addable(f"{key}={text}")) for key, text in ready.items() if key not in typed]
    searched = is_search(section)
    alternatives = [_alternatives(one, multirun, searched) for one in parsed]
    grouped = [values for values in alternatives if values[0].key in GROUPS or values[0].key[:6] == "hydra/"]
    others = [values for values in alternatives if values not in grouped]
    others = [values for values in others if values[0].key.partition(".")[0] != "hydra"]
    first = None
    with hydra_compose() as compose:
        for groups in product(*grouped):  # keys, defaults and their types depend on the groups alone
            base = composed(compose, [group.typed for group in groups], options)
            options = []  # Hydra has refused wrong values, which need not be found twice
            if section is None and "sweep" in base:
                raise UserError("sweep=... is typed, or Hydra leaves it out: take it out of the preset")
            _check_presets(base, groups, compose)
            _check_typed(base, list(chain(*others)), chain(*grouped), compose)
            every = METRIC if "${" not in str((base, others)) else [values[0].key for values in others]
            for job in product(*(values if values[0].key in every else values[:1] for values in others)):
                cfg = _config(base, job)
                first = first or cfg
    if not searched:
        return math.prod(map(len, alternatives)), first
    check_first(first, parsed)
    return first["sweep"]["n_trials"], first


def _check_typed(base: dict, values: list[Given], groups, compose) -> None:
    """Refuse what overrides set wrongly in ``base``, with a hint where another model has the key."""
    try:
        _check_values(base, values)
    except UnknownKey as error:
        raise error.with_owners(base, groups, compose) from None
    except UserError as error:
        if re.search(r"=\d+\.0: .*whole number", str(error)):  # an end of interval(1,4)
            raise UserError(f"{error}; int(interval(1,4)) holds whole numbers") from None
        raise


def _alternatives(override, multirun: bool, searched: bool = False) -> list[Given]:
    """Return the values of an override: "seed=0,1" -> seed=0 and seed=1; in a search an interval's ends."""
    values, (key, typed) = [override], (override.key_or_group, override.input_line)
    if override.is_sweep_override():
        if not multirun:
            raise UserError(f"{typed} names several values: add --multirun")
        try:
            left = typed.partition("=")[0]
            texts = dimension(override)["ends"] if searched else override.sweep_string_iterator()
            values = [parse(f"{left}={value}") for value in texts]
        except HydraException as error:
            if override.is_interval_sweep():
                advice = "write choice(...), or add sweep=optuna"
                raise UserError(f"{typed} has no grid: {advice}") from None
            raise UserError(f"{typed} cannot be swept: {one_line(error)}") from None
        if not values:
            raise UserError(f"{typed} holds no value")
    adds = override.is_add() or override.is_force_add()
    read = weights if key == "class_weight" else lambda value: value
    given = [Given(key, read(value.value()), value.input_line, adds) for value in values]
    for one in given if key in GROUPS else ():
        if one.value not in (known := choices(key)) and one.value not in BASES:
            near = nearest(str(one.value), known)
            more = ", or a file: dataset=my.csv" if key == "dataset" else ""
            raise UserError(f"{key}={one.value} is unknown{near}; there are: {', '.join(known)}{more}")
    return given


def _check_presets(base: dict, groups: tuple, compose) -> None:
    """Refuse what the files of ``experiment=`` and ``debug=`` set wrongly, as if it was typed."""
    presets = [group.typed for group in groups if group.key in PRESETS]
    if not presets:
        return
    model = f"model={model_group(base)}"
    cv = [f"cv={base['cv']['name']}"] if "cv" in base else []
    plain = composed(compose, [model, f"dataset={base['dataset']['name']}", *cv])
    changed = [(key, value) for key, value in flat(base).items() if get(plain, key) != (value, True)]
    try:
        _check_values(plain, [Given(key, value, f"{key}={value}", True) for key, value in changed])
    except UserError as error:
        raise UserError(f"{' '.join(presets)} with {model}: {error}") from None


def _check_values(base: dict, values: list[Given]) -> None:
    """Refuse unknown keys and wrong values; ``base`` is the config that the groups alone make."""
    given = {key: value for one in values for key, value in leaves(one.value, one.key)}
    for one in values:
        if one.key in ("", "dataset.name", "dataset.reader", "model.name", "cv.name"):
            raise UserError(f"{one.typed}: names are not set, groups are chosen: dataset=..., model=...")
        for key, value in leaves(one.value, one.key):  # model.net={dropout: 0}: also model.net.dropout
            default, exists = get(base, key)
            if not exists:
                _check_new(key, one, base, given)
            section, _, name = key.rpartition(".")
            if name != "class" and any(f"{part}.class" in given for part in _parts(section)):
                _check_taken(section, name, base, given)  # the yaml's class may have taken it
                if section == "model.net":
                    default = arguments(given["model.net.class"], {}).get(name)
            if "${" not in str(value):
                check_value(key, value, default, one.typed if key == one.key else f"{key}={value}")


def _check_new(key: str, one: Given, base: dict, given: dict) -> None:
    """Refuse a key that no yaml names, unless it is behind a plus and an argument that its class takes."""
    section, _, name = key.rpartition(".")
    near = nearest(key, [*GROUPS, *(known for known, _ in leaves(base))], OTHERS)
    opened = [part for part in OPEN if f"{key}.".startswith(f"{part}.")]
    if key.startswith("cv.") and "cv" not in base:
        raise UserError(f"{one.typed} needs folds: add cv=kfold, or one of {', '.join(choices('cv'))}")
    if not opened:
        raise UnknownKey(key, near)
    if not get(base, opened[0])[1]:
        raise UserError(f"{key} is unknown: model={model_group(base)} has no {opened[0]}")
    replaced = f"{section}.class" in given  # the class brings arguments that the yaml does not know
    if not (one.adds or replaced) and (key == one.key or isinstance(get(base, one.key)[0], dict)):
        raise UserError(f"{key} is not in the yaml{near}; to add it, write +{one.typed}")
    if name in RESERVED.get(section, ()):
        raise UserError(f"{key}: Reprise sets {name} itself")
    if name != "class":
        _check_taken(section, name, base, given)


def _parts(section: str) -> list[str]:
    """Return the sections whose classes take the arguments in ``section``; shared ones are for both kinds."""
    return [f"model.{kind}" for kind in KINDS] if section == "model.arguments" else [section]


def _check_taken(section: str, name: str, base: dict, given: dict) -> None:
    """Refuse an argument that a class of its section does not take."""
    for part in _parts(section):
        dotted = f"{part}.class"
        dotted = VECTORIZER if part == "model.tfidf" else given.get(dotted, get(base, dotted)[0])
        taken = arguments(str(dotted)) if dotted else None
        if taken is not None and name not in taken:
            right = sorted(set(taken) - set(RESERVED.get(section, ())))
            raise UserError(f"{dotted} takes no {name}{nearest(name, right)}")


def _config(base: dict, job: tuple[Given, ...]) -> dict:
    """Return the config of one job; refuse missing values, and a metric of another task than the config's.

    Values that only Hydra knows, while the job runs, are left out.
    """
    cfg = OmegaConf.create(base)
    for one in job:
        if "${hydra:" not in str(one.value):
            OmegaConf.update(cfg, one.key, one.value, force_add=True)
    cfg = resolve(cfg, base)
    if cfg["model"]["name"] == "???":
        raise UserError(f"model={model_group(cfg)} is unknown; there are: {', '.join(choices('model'))}")
    for key, value in leaves(cfg):
        refuse_password(key, value)  # of a yaml; a typed one is refused before
        if value == "???":
            file = f"conf/dataset/{cfg['dataset'].get('reader') or cfg['dataset'].get('name')}.yaml"
            hint = f" (see the comment at the top of {file})" if key.startswith("dataset.") else ""
            raise UserError(f"{key} is required: add {key}=...{hint}")
    if cfg["refit"] and cfg.get("cv"):
        advice = "add refit=false, or leave cv out"
        raise UserError(f"refit=true trains on val rows, which each fold holds out: {advice}")
    if cfg["metric"] is not None:
        check_name(*(get(cfg, key)[0] for key in METRIC))
    return cfg

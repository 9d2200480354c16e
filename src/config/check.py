"""Refuse wrong overrides before anything heavy is imported."""

import math
from itertools import product

from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.config.rules import OPEN, RESERVED, arguments, check_value
from src.config.tree import GROUPS, addable, choices, default_of, get, hydra_compose, leaves, parse
from src.system.errors import UserError, nearest, one_line

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")


def check(overrides: list[str], multirun: bool = False) -> tuple[int, dict]:
    """Check every override of every job; return the number of jobs and the config of the first one's groups.

    Raises a `UserError` that names what is wrong, where, and the nearest right name.
    """
    alternatives = [_alternatives(parse(text), multirun) for text in overrides]
    grouped = [values for values in alternatives if _is_group(values[0])]
    others = [value for values in alternatives if not _is_group(values[0]) for value in values]
    first = None
    with hydra_compose() as compose:
        _check_hydra(overrides, compose)
        for groups in product(*grouped):  # keys, defaults and their types depend on the groups alone
            composed = compose("train", [group.input_line for group in groups])
            base = OmegaConf.to_container(composed, resolve=False)
            first = first or base
            model = base["model"]
            if "net" in model and "class" not in model["net"]:
                preset = next(one.input_line for one in groups if one.key_or_group in ("debug", "experiment"))
                raise UserError(f"{preset} is for torch models, model={model['name']} is not one")
            _check_values(base, others)
        if not multirun and any("${" in text for text in overrides):  # only resolving shows these values
            OmegaConf.to_container(compose("train", [addable(text) for text in overrides]), resolve=True)
    return math.prod(map(len, alternatives)), first


def _check_hydra(overrides: list[str], compose) -> None:
    """Refuse wrong types in Hydra's own options, and its folders: each run claims its folder."""
    options = [text for text in overrides if text.lstrip("+").startswith(("hydra.", "hydra/"))]
    for text in options:
        if text.lstrip("+").partition("=")[0] in FOLDERS:
            raise UserError(f"{text}: a run's folder is outputs/runs/t7; OUTPUTS_DIR=... moves outputs/")
    if options:
        compose("train", options, return_hydra_config=True)


def _alternatives(override, multirun: bool) -> list:
    """Return the values of an override, each as an override: "seed=0,1" -> seed=0 and seed=1."""
    values, (group, typed) = [override], (override.key_or_group, override.input_line)
    if override.is_sweep_override():
        if not multirun:
            raise UserError(f"{typed} names several values: add --multirun")
        try:
            key = typed.partition("=")[0]
            values = [parse(f"{key}={value}") for value in override.sweep_string_iterator()]
        except HydraException as error:
            raise UserError(f"{typed} cannot be swept: {one_line(error)}") from None
    for choice in [value.value() for value in values if group in GROUPS]:
        if choice not in (known := choices(group)):
            near = nearest(str(choice), known)
            raise UserError(f"{group}={choice} is unknown{near}; there are: {', '.join(known)}")
    return values


def _is_group(override) -> bool:
    return override.key_or_group in GROUPS or override.key_or_group.startswith("hydra/")


def _check_values(base: dict, overrides: list) -> None:
    """Refuse unknown keys, wrong and missing values; ``base`` is the config that the groups alone make."""
    given = {}
    for override in overrides:
        given |= dict(leaves(override.value(), override.key_or_group))
    for override in overrides:
        key, typed = override.key_or_group, override.input_line
        if key.startswith("hydra."):
            continue
        if key in ("", "dataset.name", "model.name"):
            raise UserError(f"{typed}: names are not set, groups are chosen: dataset=..., model=...")
        for inner, value in leaves(override.value(), key):  # model.net={dropout: 0}: also model.net.dropout
            default, exists = default_of(base, inner)
            if not exists:
                _check_new(inner, override, base, given)
            check_value(inner, value, default, typed if inner == key else f"{inner}={value}")
    for key, value in leaves(base):
        if value == "???" and key not in given:
            file = f"conf/dataset/{base['dataset'].get('name')}.yaml"
            hint = f" (see the comment at the top of {file})" if key.startswith("dataset.") else ""
            raise UserError(f"{key} is required: add {key}=...{hint}")
    _check_metric(base, overrides, given)


def _check_new(key: str, override, base: dict, given: dict) -> None:
    """Refuse a key that no yaml names, unless it is behind a plus and an argument that its class takes."""
    section, _, name = key.rpartition(".")
    known = [known for known, _ in leaves(base)]
    if section in ("model.classifier", "model.regressor"):
        known += [f"{section}.{shared}" for shared in base["model"].get("arguments", ())]
    opened = [one for one in OPEN if key.startswith(f"{one}.") and get(base, one)[1]]
    if not opened:
        raise UserError(f"{key} is unknown{nearest(key, known)}")
    if not (override.is_add() or override.is_force_add() or isinstance(override.value(), dict)):
        near = nearest(key, known)
        raise UserError(f"{key} is not in the yaml{near}; to add it, write +{override.input_line}")
    if name in RESERVED.get(section, ()):
        raise UserError(f"{key}: Reprise sets {name} itself")
    for dotted in _classes(section, base, given):
        taken = arguments(dotted)
        if taken is not None and name not in taken:
            right = sorted(taken - set(RESERVED.get(section, ())))
            raise UserError(f"{dotted} takes no {name}{nearest(name, right)}")


def _classes(section: str, base: dict, given: dict) -> list[str]:
    """Return the classes that take the arguments in ``section``: model.arguments goes to both kinds."""
    if section == "model.tfidf":
        return ["sklearn.feature_extraction.text.TfidfVectorizer"]
    sections = ("model.classifier", "model.regressor") if section == "model.arguments" else (section,)
    names = [given.get(f"{one}.class", get(base, f"{one}.class")[0]) for one in sections]
    return [str(name) for name in names if name]


def _check_metric(base: dict, overrides: list, given: dict) -> None:
    """Refuse a metric that is unknown, or of another task where the task is known before the data is read."""
    mode = given.get("metric_mode", base["metric_mode"])
    task = given.get("dataset.task", base["dataset"]["task"])
    for name in [one.value() for one in overrides if one.key_or_group == "metric"] or [base["metric"]]:
        if name is not None and "${" not in name:
            from src.metric.choose import check_name  # here: it loads NumPy

            check_name(name, mode, task)

"""Refuse wrong overrides before anything heavy is imported."""

import math
from itertools import product

from omegaconf import OmegaConf

from src.config import signature
from src.config.rules import OPEN, RESERVED, TFIDF, check_value
from src.config.tree import GROUPS, _get, _hydra, _leaves, _parse, choices
from src.system.errors import UserError, nearest, one_line


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
        _check_hydra(words, hydra_compose)
        for groups in product(*grouped):
            base = OmegaConf.to_container(hydra_compose("train", [group.input_line for group in groups]), resolve=False)
            first = first or base
            if "net" in base["model"] and "class" not in base["model"]["net"]:  # an experiment or debug= for nets
                presets = [group.input_line for group in groups if group.key_or_group in ("debug", "experiment")]
                raise UserError(f"{' '.join(presets)} is for nets, and model={base['model']['name']} is none")
            _check_values(base, others)
        if any("${" in word for word in words) and not multirun:  # what an interpolation gives is known only then
            OmegaConf.to_container(hydra_compose("train", words), resolve=True)
    return math.prod(map(len, alternatives)), first


def _check_hydra(words: list[str], hydra_compose) -> None:
    """Refuse Hydra's own options where their type is wrong, and folders: each run claims its own."""
    own = [word for word in words if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    for word in own:
        key = word.lstrip("+").partition("=")[0]
        if key in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir"):
            raise UserError(f"{word}: a run's folder is outputs/runs/t7; OUTPUTS_DIR=... moves outputs/")
    if own:
        hydra_compose("train", own, return_hydra_config=True)


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
            check_value(inner, value, default, override.input_line if inner == key else f"{inner}={value}")
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


def _check_metric(base: dict, values: dict) -> None:
    """What can be said of ``metric`` before the data is read."""
    name = values.get("metric", base["metric"])
    mode = values.get("metric_mode", base["metric_mode"])
    if name is None:
        return

    from src.metric.choose import check_name

    task = values.get("dataset.task", base["dataset"]["task"])
    check_name(name, mode, task)


def _hint(base: dict, key: str) -> str:
    name = base["dataset"].get("name")
    return f" (as in the comment at the head of conf/dataset/{name}.yaml)" if key.startswith("dataset.") else ""

"""From words to a config: composes, and says what is wrong with the words before anything heavy is imported."""

import math
import os
from itertools import product

from omegaconf import OmegaConf

from src import signature, storage
from src.rules import OPEN, RESERVED, TFIDF, check_value, nearest
from src.storage import UserError

CONF = storage.CHECKOUT / "conf"
GROUPS = ("dataset", "model", "trainer", "logger", "experiment", "debug")

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
            if "net" in base["model"] and "class" not in base["model"]["net"]:  # an experiment or debug= for nets
                presets = [group.input_line for group in groups if group.key_or_group in ("debug", "experiment")]
                raise UserError(f"{' '.join(presets)} is for nets, and model={base['model']['name']} is none")
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
        check_value(key, override.value(), default, override.input_line)
        OmegaConf.update(changed, key, override.value())
    return OmegaConf.to_container(changed)


def flat(cfg: dict, prefix: str = "") -> dict:
    """{"model": {"lr": 1}} -> {"model.lr": 1}."""
    out = {}
    for key, value in cfg.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


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
    return storage.without_password(" ".join(str(error).split()))[:400]


def _parse(word: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not isinstance(word, str):
        raise UserError(f"{word!r} is not a word: give each as a string of its own, fit('model=mlp', 'seed=1')")
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


def _hint(base: dict, key: str) -> str:
    name = base["dataset"].get("name")
    return f" (as in the comment at the head of conf/dataset/{name}.yaml)" if key.startswith("dataset.") else ""

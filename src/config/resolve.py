"""Values behind interpolations, ``seed=${oc.env:SEED}``, become plain values like those that are typed."""

from types import NoneType

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.own import adapt
from src.config.rules import check_value
from src.config.tree import choices, get, parse
from src.config.typed import weights
from src.system.errors import UserError
from src.system.tables import name_of


def resolve(cfg, base: dict | None = None) -> dict:
    """Return an OmegaConf config as plain values; refuse what an interpolation gives wrongly.

    base : config whose values tell the types of keys without a rule
    """
    raw = OmegaConf.to_container(cfg)
    if "${" not in str(raw):
        return finish(raw)
    try:
        return finish(_typed(raw, OmegaConf.to_container(cfg, resolve=True), "", base or {}))
    except OmegaConfBaseException as error:
        reason = str(error).partition("\n")[0].rpartition("interpolation: ")[2].strip('"')
        typed = f"{error.full_key}={get(raw, error.full_key or '')[0]}"
        escaped = typed.replace("${", r"\${")
        raise UserError(f"{typed}: {reason}; for a name that holds these signs write '{escaped}'") from None


def finish(cfg: dict) -> dict:
    """Return a resolved config: class_weight is a dict, files and the user's own classes have their names."""
    if "class_weight" in cfg:
        cfg["class_weight"] = weights(cfg["class_weight"])
    dataset = cfg.get("dataset") or {}
    if dataset.get("reader") and dataset["path"] != "???":
        dataset["name"] = name_of(dataset["path"], taken=choices("dataset"))
    return adapt(cfg)


def _typed(raw, value, key: str, base: dict):
    """Return a resolved ``value`` as if it was typed; ``raw`` is the same before it was resolved."""
    if "${" not in str(raw):
        return value
    if isinstance(raw, dict):
        return {name: _typed(raw[name], value[name], f"{key}.{name}".lstrip("."), base) for name in raw}
    value = [_read(one) for one in value] if isinstance(value, list) else _read(value)
    check_value(key, value, get(base, key)[0], f"{key}={raw}, which is {value!r}")
    return value


def _read(value):
    """Return text as Hydra reads a typed value: the environment's "1e-3" -> 0.001."""
    try:
        override = parse(f"key={value}")
    except UserError:
        return value
    plain = isinstance(override.value(), int | float | bool | NoneType | list | dict)
    return override.value() if plain and isinstance(value, str) else value

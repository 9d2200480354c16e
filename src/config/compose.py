"""Overrides to a config."""

from omegaconf import OmegaConf

from src.config.check import check
from src.config.own import for_hydra
from src.config.resolve import resolve
from src.config.rules import check_value
from src.config.tree import get, hydra_compose, leaves, parse
from src.config.typed import spelled
from src.system.errors import UserError, nearest


def compose(overrides) -> dict:
    """Return the resolved config of one run as a plain dict: compose(["model=mlp", "seed=1"])."""
    overrides = spelled(overrides)
    check(overrides)
    with hydra_compose() as compose_train:
        return resolve(compose_train("train", for_hydra(overrides)))


def change(config: dict, overrides) -> dict:
    """Return a recorded config with some values replaced; it must hold the keys of ``overrides``."""
    changed = OmegaConf.create(config)
    for override in map(parse, spelled(overrides)):
        key, typed = override.key_or_group, override.input_line
        default, exists = get(config, key)
        if not exists or override.is_sweep_override() or isinstance(default, dict):
            known = [known for known, _ in leaves(config)]
            raise UserError(f"{typed} changes no value of this run{nearest(key, known)}")
        value = resolve(OmegaConf.create({key: override.value()}), config)[key]
        check_value(key, value, default, typed)
        OmegaConf.update(changed, key, value)
    return OmegaConf.to_container(changed)

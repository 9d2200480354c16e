"""Overrides to a config."""


from omegaconf import OmegaConf

from src.config.check import check
from src.config.rules import check_value
from src.config.tree import _get, _hydra, _leaves, _parse
from src.system.errors import UserError, nearest


def compose(words) -> dict:
    """The resolved config of one run, as a plain dict; ``words`` as in the shell: ["model=mlp", "seed=1"]."""
    check(list(words))
    with _hydra() as hydra_compose:
        return OmegaConf.to_container(hydra_compose("train", list(words)), resolve=True)


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

"""A key that no yaml names: which models have it."""

import re

from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from src.config.own import KINDS, model_group
from src.config.tree import CONF, flat
from src.system.errors import UserError


class UnknownKey(UserError):
    """A key that no yaml of the chosen groups names."""

    def __init__(self, key: str, near: str):
        super().__init__(f"{key} is unknown{near}")
        self.key, self.near = key, near

    def with_owners(self, base: dict, groups, compose) -> UserError:
        """Return the error that names models that have the key: those of the sweep, else one of each kind."""
        models = dict.fromkeys(one.value for one in groups if one.key == "model")
        owners, last = [], self.key.rpartition(".")[2].lower()
        yamls = (path.read_text(encoding="utf-8").lower() for path in (CONF / "model").glob("*.yaml"))
        if not any(re.search(rf"\b{re.escape(last)}:", text) for text in yamls):
            return self  # without the three composes below, 0.2 s
        for model in models if len(models) > 1 else ("mlp", "linear", "random_forest"):
            known = [f"model.{key}" for key in flat(composed(compose, [f"model={model}"])["model"])]
            alike = [key for key in known if key.rpartition(".")[2].lower() == last]
            if self.key in known or alike:
                owners.append(f"model={model} has{'' if self.key in known else f' {alike[0]}'}")
        if not owners or f".{last}?" in self.near.lower():  # a key of this model has the same name
            return self
        without = f"model={model_group(base)} has no {self.key.removeprefix('model.')}"
        advice = "; sweep=models gives each model its own values" if len(models) > 1 else ""
        return UserError(f"{self.key} is unknown: {without}, {' and '.join(owners)}{advice}")


def composed(compose, groups: list[str], options=()) -> dict:
    """Return the config that groups make; both kinds of an estimator get their shared arguments.

    options : of Hydra itself, whose wrong values are refused
    """
    try:
        cfg = compose("train", [*groups, *options], return_hydra_config=bool(options))
    except MissingConfigException as error:  # of Hydra's groups; ours are checked before
        (group, _, name), known = error.missing_cfg_file.rpartition("/"), ", ".join(error.options)
        raise UserError(f"{group}={name} is unknown; there are: {known}") from None
    base = OmegaConf.to_container(cfg)
    base.pop("hydra", None)
    shared = base["model"].get("arguments")
    for kind in KINDS:
        if shared and base["model"].get(kind):  # hints name the shared ones first
            base["model"] = {"arguments": shared} | base["model"] | {kind: shared | base["model"][kind]}
    return base

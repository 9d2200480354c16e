"""Keyword arguments of ``fit`` become overrides: ``fit(model=Gated, data=df, target="price", lr=1e-3)``."""

import inspect
from difflib import get_close_matches

from omegaconf import OmegaConf

from src.config.own import BASES, KINDS, for_hydra, parts_of
from src.config.rules import arguments
from src.config.tree import CONF, GROUPS, get, hydra_compose, leaves, written
from src.config.typed import spelled
from src.system.errors import UserError


def overrides_of(words: dict, typed: list) -> list[str]:
    """Return keyword arguments as overrides; ``typed`` are the overrides that the call has as strings.

    A key may leave its section out: target="y" is dataset.target=y, depth=3 is model.net.depth=3.
    """
    made, base = [], None
    for key in [name for name in words if name in GROUPS]:
        value = words[key]
        made += _estimator(value) if hasattr(value, "get_params") else [f"{key}={written(value, key)}"]
    for key, value in words.items():
        if key not in GROUPS:
            base = _composed([*typed, *made]) if base is None else base
            whole = _whole(key, base)
            is_class = isinstance(get(base, f"{whole}.class")[0], str) and not isinstance(value, dict)
            whole += ".class" * is_class  # optimizer=torch.optim.SGD
            made.append(f"{whole}={written(value, whole)}")
    return made


def _composed(overrides: list) -> dict:
    """Return the config that overrides make; {} where one is wrong, which `check` will say better."""
    try:
        with hydra_compose() as compose:
            return OmegaConf.to_container(compose("train", for_hydra(spelled(overrides))))
    except (UserError, TypeError, AttributeError):
        return {}


def _whole(name: str, base: dict) -> str:
    """Return the key that ``name`` is the end of: the one with the fewest dots, or an argument of a class."""
    if "." in name or name in base:
        return name
    found = [key for key, _ in leaves(base) if key.endswith(f".{name}")]
    found = [key for key in found if key.count(".") == min(one.count(".") for one in found)]
    if not found:
        classes = {part: get(base, f"model.{part}.class")[0] for part in ("net", *KINDS)}
        taken = {part: arguments(dotted, ()) for part, dotted in classes.items() if dotted}
        found = [f"model.{part}.{name}" for part in taken if name in taken[part]]
        for part, near in ((part, get_close_matches(name, taken[part], 1, 0.75)) for part in taken):
            if near and not found:
                raise UserError(f"{classes[part]} takes no {name}: did you mean {near[0]}?")
    if len(found) > 1:
        raise UserError(f"{name}= may mean {' or '.join(found)}: write fit(..., {found[0] + '=...'!r})")
    of_others = [group for group in BASES if name in OmegaConf.load(CONF / "model" / f"{group}.yaml")]
    return found[0] if found else f"model.{name}" if of_others else name  # `check` refuses unknown keys


def _estimator(value) -> list[str]:
    """Return the overrides of an estimator that was made, SVC(C=10), or of its class."""
    cls, made = (value, {}) if isinstance(value, type) else (type(value), value.get_params(deep=False))
    defaults = inspect.signature(cls).parameters
    made = {name: x for name, x in made.items() if repr(x) != repr(defaults[name].default)}
    keys = [(f"model.{part}.{name}", x) for part in parts_of(cls, cls.__name__) for name, x in made.items()]
    try:
        return [f"{key}={written(x, key)}" for key, x in [("model", cls), *keys]]
    except UserError:
        where = f"model={cls.__name__}(...) holds more than plain values"
        raise UserError(f"{where}: write a function that returns it, and fit(model=make)") from None

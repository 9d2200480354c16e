"""Make an object of a class that a config names: ``{"class": "dotted.Name", argument: value, ...}``."""

import importlib
from types import NoneType

from src.system.code import locate
from src.system.errors import UserError
from src.system.paths import CHECKOUT

# arguments of nets that name what `start_from` reads, vectors or weights, or one of a list of words
TEXTS = ("vectors", "path", "numeric")


def build(spec: dict, *positional, **extra):
    """Return an object of ``spec["class"]``, made with the rest of ``spec`` and ``extra`` as arguments.

    A class that cannot be imported, or does not take an argument, is a `UserError`.
    """
    arguments = {}
    for key, value in spec.items():
        if key != "class":
            arguments[key] = tuple(value) if isinstance(value, list) else value  # yaml has no tuples
    cls = locate(str(spec["class"]))
    try:
        return cls(*positional, **arguments, **extra)
    except (TypeError, ValueError) as error:
        raise UserError(f"{spec['class']} does not take {arguments}: {error}") from error


def start(net, data) -> None:
    """Give a new net what it starts from beside random numbers: pretrained weights, vectors of words.

    A part of the net has a method ``start_from(data)`` for that; a net that is loaded never calls it.
    """
    for part in net.modules():
        if hasattr(part, "start_from"):
            part.start_from(data)


def described(spec: dict | None) -> dict:
    """Return what info must hold to build a net again without the folder or the hub that it came from."""
    if "path" not in (spec or {}):
        return {}
    cls = locate(spec["class"])
    return cls.describe(spec["path"]) if hasattr(cls, "describe") else {}


def is_own_net(spec: dict | None) -> bool:
    """Return whether ``spec`` is a net that is defined, not just imported, in a file of src/model/.

    Its arguments must be numbers, flags, names of files, which only a fit reads, and words of a list: a net
    may take other text for the name of a class.
    """
    from torch import nn  # here, as estimators are built without torch

    module, _, name = str((spec or {}).get("class")).rpartition(".")
    if module not in {f"src.model.{path.stem}" for path in (CHECKOUT / "src/model").glob("*.py")}:
        return False
    cls = getattr(importlib.import_module(module), name, None)
    if not isinstance(cls, type) or not issubclass(cls, nn.Module) or cls.__module__ != module:
        return False
    arguments = [value for key, value in spec.items() if key not in ("class", *TEXTS)]
    return all(type(value) in (int, float, bool, NoneType) for value in _items(arguments))


def _items(values: list):
    """Yield every value in lists within lists."""
    for value in values:
        yield from _items(value) if isinstance(value, list) else [value]

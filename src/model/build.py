"""The one place where a class named in a config is made: ``{"class": "dotted.Name", argument: value, ...}``."""

import importlib

from src.system.errors import UserError
from src.system.paths import CHECKOUT


def build(spec: dict, *positional, **extra):
    """An object of ``spec["class"]`` with the rest of ``spec`` and ``extra`` as arguments.

    Raises
    ------
    UserError
        when the class cannot be imported or does not take an argument.
    """
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "class"
    }
    module_name, _, name = str(spec["class"]).rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{spec['class']} cannot be imported: {error}") from None
    try:
        return cls(*positional, **arguments, **extra)
    except (TypeError, ValueError) as error:
        raise UserError(f"{spec['class']} does not take {arguments}: {error}") from None


def is_own_net(dotted: str) -> bool:
    """Whether ``dotted`` is a net that a file of src/model/ defines: nothing that it imports, no function of it."""
    from torch import nn  # here, as `build` serves runs that never load torch, too

    module, _, name = dotted.rpartition(".")
    if module not in {f"src.model.{path.stem}" for path in (CHECKOUT / "src/model").glob("*.py")}:
        return False
    cls = getattr(importlib.import_module(module), name, None)
    return isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == module

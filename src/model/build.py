"""The one place where a class named in a config is made: ``{"class": "dotted.Name", argument: value, ...}``."""

import importlib

from src.storage import UserError


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

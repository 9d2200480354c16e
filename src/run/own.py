"""The user's own classes and functions that a config names, also those that were typed into a notebook."""

from src.config.tree import flat
from src.data.code import Closure
from src.system import notebook
from src.system.code import locate

CODE_KEYS = ("metric", "class", "lit", "function")  # keys whose values are dotted names of code


def named_code(cfg: dict) -> list[str]:
    """Return the dotted names of code in a config."""
    values = ((key.rpartition(".")[2], value) for key, value in flat(cfg).items())
    return [value for key, value in values if key in CODE_KEYS and isinstance(value, str)]


def own_modules(cfg: dict) -> set[str]:
    """Return the modules that a config names and whose errors are the user's to mend."""
    return {name.rpartition(".")[0] for name in named_code(cfg)} | {f"src.dataset.{cfg['dataset']['name']}"}


def with_notebook(cfg: dict) -> dict:
    """Return the config with ``__main__.Gated`` as ``notebook_1a2b3c4d.Gated``, which can be recorded.

    That module holds the source of what the config names and of what this uses; it imports Reprise's ``src``.
    """
    typed = [name for name in named_code(cfg) if name.startswith("__main__.")]
    if not typed:
        return cfg
    values = [locate(name) for name in dict.fromkeys(typed)]
    text = Closure(*values, user=", ".join(name.rpartition(".")[2] for name in typed), library="src").text
    return _renamed(cfg, notebook.keep(text))


def _renamed(section: dict, module: str) -> dict:
    renamed = {}
    for key, value in section.items():
        if isinstance(value, dict):
            value = _renamed(value, module)
        elif key in CODE_KEYS and str(value).startswith("__main__."):
            value = f"{module}.{value.removeprefix('__main__.')}"
        renamed[key] = value
    return renamed

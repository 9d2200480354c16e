"""The config tree: its groups and their choices, dotted keys, Hydra's parser and compose."""

import json
import re
from contextlib import contextmanager, nullcontext
from pathlib import Path

from src.system.errors import UserError, one_line
from src.system.paths import CHECKOUT

CONF = CHECKOUT / "conf"
# sections that hold a class and its arguments: +model.net.d_new=3 adds one that the yaml does not name
WITH_CLASS = ("model.net", "model.optimizer", "model.classifier", "model.regressor")
GROUPS = ("dataset", "model", "trainer", "logger", "experiment", "debug", "cv", "sweep", "space")
PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_][\w./-]*", re.ASCII | re.IGNORECASE)
own = []  # the folder that --config-dir adds to CONF


def choices(group: str) -> list[str]:
    """Return the names that ``group=`` takes."""
    files = [path for folder in (CONF, *own) for path in (folder / group).glob("*.yaml")]
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def add_own(folder: str) -> None:
    """Add the yamls of ``--config-dir``; refuse one that Hydra would not read, as conf/ has its name."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(f"--config-dir {folder}: no such folder")
    for file in path.rglob("*.yaml"):
        name = file.relative_to(path)
        if name.parent == Path() or (CONF / name).exists():
            why = f"conf/{name} is read instead" if (CONF / name).exists() else "it is in no group"
            raise UserError(f"--config-dir {folder}: {name} would be left out, as {why}: move or rename it")
    own[:] = [path]


def quoted(text: str) -> str:
    """Return text as Hydra reads it back: in quotes, with its own quotes escaped."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def written(value, key: str) -> str:
    """Return the value of ``key`` as Hydra reads it: a plain one, NumPy's, a path, or a class by its name.

    >>> written({"mlp": {"model.lr": (1e-3, None), "tags": ["a, b"]}}, "sweep.models")
    "{mlp:{model.lr:[0.001,null],tags:['a, b']}}"
    """
    if hasattr(value, "__qualname__"):
        if "<" in value.__qualname__:
            raise UserError(f"{key}: define {value.__name__} with def or class, outside of any function")
        value = f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "tolist") and not hasattr(value, "iloc"):  # NumPy's, or a tensor; no table's column
        value = value.tolist()
    if isinstance(value, dict):
        pairs = (f"{written(name, key)}:{written(one, key)}" for name, one in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple | range):
        return f"[{','.join(written(one, key) for one in value)}]"
    if isinstance(value, str | Path):
        return str(value) if PLAIN.fullmatch(str(value)) else quoted(str(value))
    if isinstance(value, int | float | None):
        return json.dumps(value)
    kind = type(value).__name__
    raise UserError(f"{key} is a {kind}: it should be a plain value, a class or a function; a table: data=df")


def leaves(value, key: str = ""):
    """Yield (dotted key, value) of ``value`` and of everything inside it, a section before its keys.

    >>> list(leaves({"model": {"lr": 1}}))
    [('model', {'lr': 1}), ('model.lr', 1)]
    """
    if key:
        yield key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))


def flat(config: dict) -> dict:
    """{"model": {"lr": 1}} -> {"model.lr": 1}."""
    return {key: value for key, value in leaves(config) if not (value and isinstance(value, dict))}


def get(config: dict, key: str) -> tuple:
    """Return (value, True) for a dotted ``key`` of ``config``, (None, False) where it does not exist."""
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return None, False
        config = config[name]
    return config, True


def addable(text: str) -> str:
    """Return an override of a class's argument as Hydra takes it: perhaps the yaml does not name it.

    >>> addable("model.classifier.max_iter=10")
    '++model.classifier.max_iter=10'
    """
    return f"++{text}" if text.startswith(WITH_CLASS) else text


@contextmanager
def hydra_compose():
    """Yield Hydra's ``compose`` on ``conf/``; an error of Hydra's becomes a `UserError` of one sentence."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    within = GlobalHydra.instance().is_initialized()  # by train, on the same conf/
    try:
        options = {"version_base": None, "job_name": "train"}
        with nullcontext() if within else initialize_config_dir(str(CONF), **options):
            path = [f"hydra.searchpath=[{quoted(f'file://{folder}')}]" for folder in own]
            yield lambda name, overrides, **options: compose(name, [*overrides, *path], **options)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from None


def parse(text: str):
    """Return Hydra's reading of one override; refuse what is not an override, and ``~key``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not isinstance(text, str):
        raise UserError(f"{text!r} is not an override: write each as a string, fit('model=mlp', 'seed=1')")
    try:
        override = OverridesParser.create().parse_override(text)
    except (HydraException, ValueError) as error:  # ValueError: a number of thousands of digits
        reason = str(error).splitlines()[0]
        key, equals, value = text[:200].partition("=")
        advice = f"write {key}={quoted(value)}" if equals and value[:1] not in "[{" else "write key=value"
        advice = "put names with signs in it into quotes" if value[:1] in ("[", "{") else advice
        raise UserError(f"{text[:200]!r} is not an override ({reason[:200]}): {advice}") from None
    if override.is_delete():
        raise UserError(f"{text}: keys are not removed; set it to null, or choose another group")
    if override.package is not None:
        raise UserError(f"{text}: a group has one place; write {override.key_or_group}=... without @")
    return override

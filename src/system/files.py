"""Write files so that a kill never leaves half of one; read them back."""

import json
import math
import os
from contextlib import contextmanager
from pathlib import Path

from src.system.errors import UserError


@contextmanager
def replacing(path: Path):
    """Yield a path beside ``path`` to write to; it takes ``path``'s place only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value) -> None:
    write_text(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def write_yaml(path: Path, cfg: dict) -> None:
    from omegaconf import OmegaConf

    write_text(path, OmegaConf.to_yaml(OmegaConf.create(cfg)))


def read_json(path: Path):
    """The value in ``path``; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None


def _plain(value):
    """NumPy scalars and arrays as Python values; nan and infinities, which JSON has not, as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def locked(path: Path, timeout: float = 120):
    """Hold ``path`` as a lock between processes; released also when its holder is killed."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=timeout):
            yield
    except Timeout:
        raise UserError(f"another process has held {path} for {timeout:.0f} s; end it or remove the file") from None

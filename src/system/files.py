"""Write files so that a kill never leaves half a file; read them back; lock between processes."""

import json
import math
import os
from contextlib import contextmanager
from pathlib import Path

from src.system.errors import UserError


@contextmanager
def replacing(path: Path):
    """Yield a temporary path to write to; it replaces ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value) -> None:
    write_text(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def write_yaml(path: Path, cfg: dict) -> None:
    from omegaconf import OmegaConf

    write_text(path, OmegaConf.to_yaml(OmegaConf.create(cfg)))


def read_json(path: Path):
    """Return the value in ``path``; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None


def _plain(value):
    """Return NumPy scalars and arrays as Python values; nan and infinities, unknown to JSON, as None."""
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
    """Hold ``path`` as a lock between processes; it is released also when its holder is killed."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=timeout):
            yield
    except Timeout:
        advice = "end that process, or remove the file"
        raise UserError(f"another process has held {path} for {timeout:.0f} s: {advice}") from None

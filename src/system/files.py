"""Write files so that a kill never leaves half a file; read them back; lock between processes."""

import glob
import json
import math
import os
import re
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from src.system.errors import UserError

SETTLED = 5  # seconds after which the next file of `together` waits until the disk has all of them
_written: ContextVar[list | None] = ContextVar("written", default=None)  # in `together`: (seconds, path)


def host() -> str:
    """Return this machine's name; a container's is in HOSTNAME."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


def hidden(path: Path) -> Path:
    """Return the hidden name that ``path`` has while this process makes or removes it."""
    return path.with_name(f".{path.name}.{_owner()}-{os.getpid()}.part")


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".part")


def _owner() -> str:
    return re.sub("[^A-Za-z0-9]", "-", host())


def sweep(folder: Path, name: str = "*") -> None:
    """Remove from ``folder`` the `hidden` files and folders of processes that are gone.

    Nobody here knows the processes of other hosts: what they left goes when it is a day old.
    """
    for path in folder.glob(f".{name}.*.part"):
        ours = re.search(rf"\.{_owner()}-(\d+)\.part$", path.name)
        with suppress(OSError):  # another process sweeps, too
            if ours:
                import psutil

                gone = not psutil.pid_exists(int(ours[1]))
            else:
                gone = path.lstat().st_mtime < time.time() - 86_400
            if gone and path.is_dir():
                shutil.rmtree(path)
            elif gone:
                path.unlink()


@contextmanager
def replacing(path: Path):
    """Yield a temporary path to write to; it replaces ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, glob.escape(path.name))
    temporary = hidden(path)
    try:
        yield temporary
        written = _written.get()
        if written is None:
            to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if written is not None:
        written.append((time.monotonic(), path))
        if written[-1][0] - written[0][0] > SETTLED:
            settle()


@contextmanager
def together():
    """Let the files that the block writes by `replacing` wait for the disk together, see `settle`.

    Of what was written in the last seconds a power cut may leave nothing; a kill leaves it whole.
    """
    token = _written.set(_written.get() or [])
    try:
        yield
    finally:
        settle()
        _written.reset(token)


def settle() -> None:
    """Wait until the disk has all files of `together`: 4 ms for the 11 of a small run, one by one 40 ms."""
    paths = dict.fromkeys(path for _, path in _written.get() or ())
    if paths:
        with ThreadPoolExecutor(len(paths)) as pool:
            [*pool.map(to_disk, paths)]
        _written.get().clear()


def to_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    with suppress(FileNotFoundError):  # gone again: a checkpoint of before
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs no other
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value) -> None:
    write_text(path, to_json(value))


def to_json(value) -> str:
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def write_yaml(path: Path, cfg: dict) -> None:
    """Write plain values as `OmegaConf.to_yaml` does, by libyaml: 0.7 ms instead of 7 for a run's config."""
    import yaml
    from omegaconf._utils import OmegaConfDumper

    dumper = type("Dumper", (yaml.CDumper,), {})
    dumper.add_representer(str, OmegaConfDumper.str_representer)
    write_text(path, yaml.dump(cfg, Dumper=dumper, allow_unicode=True, sort_keys=False))


def read_json(path: Path):
    """Return the value in ``path``; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
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

"""Where things are kept, and how files are written so that a kill never leaves half of one."""

import hashlib
import hmac
import json
import math
import os
import re
import secrets
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


class UserError(Exception):
    """A mistake that its maker can mend: shown as one sentence, without a traceback.

    Names of columns and classes in it may hold line breaks, which are shown as spaces.
    """

    def __init__(self, text: str, lines: tuple[str, ...] = ()):
        super().__init__("\n".join([" ".join(str(text).split()), *lines]))


def outputs() -> Path:
    """The folder of all runs: ``OUTPUTS_DIR``, or ``outputs/`` in the checkout; never the current directory's."""
    return Path(os.environ.get("OUTPUTS_DIR") or CHECKOUT / "outputs").resolve()


def check_outputs() -> None:
    """Refuse a folder of runs that cannot be written to."""
    try:
        outputs().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"OUTPUTS_DIR={outputs()} cannot be made: {error.strerror}") from None
    if not os.access(outputs(), os.W_OK):
        raise UserError(f"OUTPUTS_DIR={outputs()} cannot be written to")


def data_dir() -> Path:
    """The folder of data sets: ``DATA_DIR``, or ``outputs/data``."""
    return Path(os.environ.get("DATA_DIR") or outputs() / "data").resolve()


def numbers(folder: Path, prefix: str) -> list[int]:
    """The versions that stand in ``folder``, ascending: ``t1``, ``t2``, ``t10`` -> [1, 2, 10]."""
    if not folder.is_dir():
        return []
    names = (re.fullmatch(rf"{prefix}(\d+)", path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in names if match)


def claim(folder: Path, prefix: str) -> Path:
    """Make and return the next version's folder; ``mkdir`` is atomic, so no two processes get the same one."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max([highest_removed(folder), *numbers(folder, prefix)]) + 1
    while True:
        try:
            (folder / f"{prefix}{number}").mkdir()
            return folder / f"{prefix}{number}"
        except FileExistsError:
            number += 1


def highest_removed(folder: Path) -> int:
    """The highest version ever removed here (0: none), so that its number is not given again."""
    marker = folder / ".highest_removed"
    return int(marker.read_text()) if marker.is_file() else 0


def remember_removed(folder: Path, number: int) -> None:
    with locked(folder / ".lock"):
        write_text(folder / ".highest_removed", str(max(number, highest_removed(folder))))


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


def without_password(text: str) -> str:
    """``text`` with the user and password of every URL in it as ***."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def signature(path: Path) -> str:
    """A keyed digest that only this ``outputs/`` can make: it tells files written here from files brought here."""
    key_file = outputs() / ".key"
    if not key_file.is_file():
        with locked(outputs() / ".key.lock"):
            if not key_file.is_file():
                with replacing(key_file) as part:
                    part.touch(mode=0o600)
                    part.write_bytes(secrets.token_bytes(32))
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    return hmac.digest(key_file.read_bytes(), content, "sha256").hex()


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

"""The folders of runs and data, and versions that count up: t1, t2, ..."""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

from src.system.errors import UserError
from src.system.files import locked, sweep, write_text

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def outputs() -> Path:
    """Return the folder of everything that is written: ``OUTPUTS_DIR``, or ``outputs/`` in the checkout."""
    return Path(os.environ.get("OUTPUTS_DIR") or CHECKOUT / "outputs").resolve()


def check_outputs() -> None:
    """Refuse an outputs folder that cannot be written to."""
    if "::" in str(outputs()):
        raise UserError(f"OUTPUTS_DIR={outputs()}: Lightning cannot write into a path with ::")
    try:
        outputs().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"OUTPUTS_DIR={outputs()} cannot be made: {error.strerror}") from None
    if not os.access(outputs(), os.W_OK):
        raise UserError(f"OUTPUTS_DIR={outputs()} cannot be written to")


def data_dir() -> Path:
    """Return the folder of data sets: ``DATA_DIR``, or ``outputs/data``."""
    return Path(os.environ.get("DATA_DIR") or outputs() / "data").resolve()


def versions_in(folder: Path, prefix: str) -> list[int]:
    """Return the versions in ``folder``, ascending: ``t1``, ``t2``, ``t10`` -> [1, 2, 10]."""
    if not folder.is_dir():
        return []
    names = (re.fullmatch(rf"{prefix}(\d+)", path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in names if match)


def claim(folder: Path, prefix: str) -> Path:
    """Make and return the next version's folder."""
    while True:  # recorded code of older runs claims without the lock
        with suppress(FileExistsError), next_version(folder, prefix) as path:
            path.mkdir()
            return path


@contextmanager
def next_version(folder: Path, prefix: str):
    """Yield the path of the next version, which no other process gets before the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        sweep(folder)
        yield folder / f"{prefix}{max([highest_removed(folder), *versions_in(folder, prefix)]) + 1}"


def highest_removed(folder: Path) -> int:
    """Return the highest version ever removed here, 0 if none: its number is not given again."""
    marker = folder / ".highest_removed"
    return int(marker.read_text()) if marker.is_file() else 0


def remember_removed(folder: Path, number: int) -> None:
    with locked(folder / ".lock"):
        write_text(folder / ".highest_removed", str(max(number, highest_removed(folder))))

"""Where things are kept, and version numbers that count up."""

import os
import re
from pathlib import Path

from src.system.errors import UserError
from src.system.files import locked, write_text

CHECKOUT = Path(__file__).resolve().parent.parent.parent


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


def versions_in(folder: Path, prefix: str) -> list[int]:
    """The versions that stand in ``folder``, ascending: ``t1``, ``t2``, ``t10`` -> [1, 2, 10]."""
    if not folder.is_dir():
        return []
    names = (re.fullmatch(rf"{prefix}(\d+)", path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in names if match)


def claim(folder: Path, prefix: str) -> Path:
    """Make and return the next version's folder; ``mkdir`` is atomic, so no two processes get the same one."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max([highest_removed(folder), *versions_in(folder, prefix)]) + 1
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

"""A run's own history, ``metrics.csv``: one row an epoch, written at once, so that a kill loses none."""

import csv
from pathlib import Path

from src.system.files import replacing


def append(path: Path, row: dict) -> None:
    """Add ``row``; the first one writes the header."""
    new = not path.is_file() or not path.stat().st_size
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: row[name] if name == "epoch" else repr(float(row[name])) for name in row})


def read(path: Path) -> list[dict]:
    """Return the rows, epochs as int and the rest as float; [] if there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")  # in one go: the run may be writing to it
    complete = text[: text.rfind("\n") + 1]  # a kill can cut the last line
    rows = csv.DictReader(complete.splitlines())
    return [{name: int(x) if name == "epoch" else float(x) for name, x in row.items()} for row in rows]


def rewrite(path: Path, rows: list[dict]) -> None:
    """Replace the file by ``rows``."""
    with replacing(path) as temporary:
        temporary.touch()
        for row in rows:
            append(temporary, row)

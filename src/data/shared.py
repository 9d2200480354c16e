"""The data of a sweep: read once in each process, prepared once for all jobs that want the same arrays.

The arrays lie in the sweep's folder while it runs. Jobs map them into memory, so processes share the pages;
a job that writes into an array gets pages of its own, which no other job sees.
"""

import functools
import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np

from src.data.load import arrays_of, load_data, prepared_frame
from src.data.prepare import Data, cut
from src.system.files import hidden, locked
from src.system.paths import CHECKOUT

log = logging.getLogger("reprise")
MAX_FRAMES = 1e9  # bytes of tables that a process keeps for its next jobs
MAX_DISK = 0.1  # of the free disk, for the arrays of a sweep
DAY = 86_400  # seconds that a job waits for another one, which prepares the same
_frames = {}  # {key: (table, record)}, the one used last at the end


def load_shared(folder: Path, dataset: dict, *, seed: int, origin: dict | None = None, **options) -> Data:
    """Return what `load_data` returns; jobs that call it with the same ``folder`` share the work.

    Two seeds share their arrays, too, where a column of the table cuts val.
    """
    known = origin and [origin["input"], origin["output"]]
    source = _digest(dataset, known, _identity(dataset.get("path")), _code())
    link = folder / f"{_digest(source, options, seed)}.json"
    try:
        with locked(link.with_suffix(".lock"), DAY):
            if link.is_file():
                return _read(folder / json.loads(link.read_text()))
            frame, record = _frame(source, dataset, origin)
            rows = cut(frame, dataset, seed)
            place = folder / _digest(source, options, *rows.values())
            with locked(place.with_suffix(".lock"), DAY):
                if not place.is_dir():
                    data = arrays_of(frame, rows, record, dataset, **options)
                    if reason := _write(place, data):
                        log.info("the arrays are not kept for other jobs of the sweep: %s", reason)
                        return data
            link.write_text(json.dumps(place.name))
            return _read(place)
    except OSError as error:
        log.info("the data is not shared with other jobs of the sweep: %s", error)
        return load_data(dataset, seed=seed, origin=origin, **options)


def _frame(key: str, dataset: dict, origin: dict | None) -> tuple:
    """Return `prepared_frame`, kept in memory for the next jobs if it is not too large."""
    found = _frames.pop(key, None) or prepared_frame(dataset, None, origin)
    _frames[key] = found
    sizes = [int(frame.memory_usage(deep=True).sum()) for frame, _ in _frames.values()]
    while sum(sizes) > MAX_FRAMES:
        _frames.pop(next(iter(_frames)))
        sizes.pop(0)
    return found


def _write(place: Path, data: Data) -> str | None:
    """Write arrays and their description; return why that was not possible."""
    arrays = {f"{part}.{key}": values for part, all_ in data.parts.items() for key, values in all_.items()}
    needed = sum(values.nbytes for values in arrays.values())
    used = sum(file.stat().st_size for file in place.parent.rglob("*.npy"))
    if needed + used > MAX_DISK * (shutil.disk_usage(place.parent).free + used):
        return f"{needed / 1e6:,.0f} MB more would take over {MAX_DISK:.0%} of the free disk"
    if not all(values.flags.forc for values in arrays.values()):  # saved in another order: other sums
        return "they are no plain blocks of memory"
    temporary = hidden(place)
    try:
        temporary.mkdir()
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        described = [list(arrays), data.info, data.transforms, data.notes, data.source]
        (temporary / "data.json").write_text(json.dumps(described))
        temporary.rename(place)
    except (OSError, ValueError, TypeError) as error:  # a full disk; objects that are no plain values
        shutil.rmtree(temporary, ignore_errors=True)
        return str(error)


def _read(place: Path) -> Data:
    names, *described = json.loads((place / "data.json").read_text())
    parts = {}
    for name in names:
        part, _, key = name.partition(".")
        values = np.load(place / f"{name}.npy", mmap_mode="c")  # written pages are copies
        parts.setdefault(part, {})[key] = np.asarray(values)
    return Data(parts, *described)


def _identity(path: str | None) -> list:
    """Return what changes when a file does, or one in a folder of files."""
    place = Path(path or "")
    files = sorted(place.rglob("*")) if path and place.is_dir() else [place]
    return [[str(file), *_stat(file)] for file in files if path and file.is_file()]


@functools.cache
def _code() -> list:
    """Return what changes when the code that reads and prepares data does; of the time when it was loaded."""
    files = [file for room in ("data", "dataset") for file in (CHECKOUT / "src" / room).glob("*.py")]
    return [[file.name, *_stat(file)] for file in sorted(files)]


def _stat(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _digest(*values) -> str:
    found = hashlib.blake2b(digest_size=8)
    for value in values:
        is_array = isinstance(value, np.ndarray)
        found.update(value.tobytes() if is_array else json.dumps(value, default=str).encode())
        found.update(b"\0")
    return found.hexdigest()

"""The data of a sweep: read once in each process, prepared once for all jobs that want the same arrays.

The arrays lie in the sweep's folder while it runs. Jobs map them into memory, so processes share the pages;
a job that writes into an array gets pages of its own, which no other job sees.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from src.data.load import arrays_of, fold_of, load_frame
from src.data.prepare import Data
from src.system.errors import log
from src.system.files import hidden, locked
from src.system.paths import CHECKOUT

N_FRAMES, MAX_FRAME = 4, 250e6  # tables that a process keeps for its next jobs, and the bytes of each
MAX_DISK = 0.1  # of the free disk, for the arrays of a sweep
DAY = 86_400  # seconds that a job waits for another one, which prepares the same
_frames = {}  # {key: (table, record)}


def load_shared(
    folder: Path, dataset: dict, *, seed: int, origin: dict | None = None, cv=None, cuts=None, **options
) -> Data:  # fmt: skip
    """Return what `load_data` returns; jobs that call it with the same ``folder`` share the work.

    Two seeds share their arrays, too, where a column of the table cuts val.
    """
    source = _source(dataset, origin)
    link = folder / _digest(source, options, seed, *([cv | {"n_jobs": None}] if cv else []))
    with locked(link.with_suffix(".lock"), DAY):
        if not link.is_dir():
            table, record, rows = cuts or fold_of(*kept_frame(dataset, origin), dataset, seed, cv)
            place = folder / _digest(source, options, *rows.values())
            with locked(place.with_suffix(".lock"), DAY):
                if not place.is_dir():
                    data = arrays_of(table, rows, record, dataset, **options)
                    if not _write(place, data):
                        return data
            link.symlink_to(place.name)
        return _read(link)


def _source(dataset: dict, origin: dict | None) -> str:
    files = _stamps(Path(dataset["path"])) if dataset.get("path") else None
    return _digest(dataset, origin and [origin["input"], origin["output"]], files, CODE)


def kept_frame(dataset: dict, origin: dict | None = None) -> tuple:
    """Return `load_frame`, kept in memory for the next jobs if it is not too large."""
    key = _source(dataset, origin)
    if key not in _frames:
        found = load_frame(dataset, None, origin)
        if found[0].memory_usage(deep=True).sum() > MAX_FRAME:
            return found
        _frames[key] = found
        while len(_frames) > N_FRAMES:
            del _frames[next(iter(_frames))]
    return _frames[key]


def _write(place: Path, data: Data) -> bool:
    """Write arrays and what describes them; return whether that was possible, and log why not."""
    arrays = {f"{part}.{key}": values for part, all_ in data.parts.items() for key, values in all_.items()}
    temporary, used = hidden(place), sum(file.stat().st_size for file in place.parent.rglob("*.npy"))
    try:
        needed, free = sum(values.nbytes for values in arrays.values()), shutil.disk_usage(place.parent).free
        if used + needed > MAX_DISK * free:
            raise OSError(f"the arrays of the sweep would take over {MAX_DISK:.0%} of the free disk")
        temporary.mkdir()
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        described = [list(arrays), data.info, data.transforms, data.notes, data.source]
        (temporary / "data.json").write_text(json.dumps(described))
        temporary.rename(place)
    except (OSError, ValueError, TypeError) as error:  # the last two: objects that are no plain values
        shutil.rmtree(temporary, ignore_errors=True)
        log.info("the data is not kept for other jobs of the sweep: %s", error)
    return place.is_dir()


def _read(place: Path) -> Data:
    names, *described = json.loads((place / "data.json").read_text())
    parts = {}
    for name in names:
        part, _, key = name.partition(".")
        values = np.load(place / f"{name}.npy", mmap_mode="c")  # pages that are written become copies
        parts.setdefault(part, {})[key] = np.asarray(values)
    return Data(parts, *described)


def _stamps(*places: Path) -> list:
    """Return what changes when a file does, or one in a folder."""
    files = [file for place in places for file in (place, *sorted(place.rglob("*"))) if file.is_file()]
    files = {str(file): file.stat() for file in files if file.suffix != ".pyc"}
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files.items()]


def _digest(*values) -> str:
    found = hashlib.blake2b(digest_size=8)
    for value in values:
        is_array = isinstance(value, np.ndarray)
        found.update(value.tobytes() if is_array else json.dumps(value, default=str).encode())
    return found.hexdigest()


CODE = _stamps(CHECKOUT / "src" / "data", CHECKOUT / "src" / "dataset")  # as it is loaded now

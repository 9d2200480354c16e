"""A run's outputs on val, a compressed record an epoch, in ``val_epochs.bin``: for metrics that come later.

A record is added by one write, so a kill tears at most the last one, which is left out when it is read.
"""

import math
import struct
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow

from src.metric.functions import to_predictions
from src.system.errors import UserError, log

NAME = "val_epochs.bin"
# mark, kind, type as NumPy writes it, check sum, epoch, columns (0: one value a row), bytes of the content
HEAD = struct.Struct("<3sc2sHIIQ")
MARK, TARGETS, LOGITS, PREDICTIONS, CLASS_1 = b"val", b"y", b"z", b"p", b"1"
MAX_BYTES = 1 << 30  # of one epoch: a file from elsewhere may claim any size
CODEC = pyarrow.Codec("zstd", -1)  # 0.01 to 0.04 ms for 4,900 rows; zlib takes 0.2 to 0.4 for the same size
EVERY_S = 0.5  # between the writes of `keeping`
told = set()  # files that the user knows to be full


def keep(path: Path, megabytes: float, epoch: int, y: np.ndarray, outputs: np.ndarray, logits=False) -> None:
    """Add an epoch: predictions, or the logits that they are made of, which are half as long.

    When half of ``megabytes`` is used, every second epoch is kept, in half of the rest every fourth, ...
    """
    if not megabytes:
        return
    with path.open("ab", buffering=0) as file:
        limit, used = megabytes * 1e6, file.tell()
        if used < limit and epoch % 2 ** int(math.log2(limit / (limit - used))) == 0:
            kind = LOGITS if logits else PREDICTIONS
            if not logits and outputs.ndim == 2 and np.array_equal(outputs.T[:1], 1 - outputs.T[1:]):
                kind, outputs = CLASS_1, outputs[:, 1]
            content = (b"" if used else _record(TARGETS, 0, y)) + _record(kind, epoch, outputs)
            if used + len(content) <= limit:
                file.write(content)
                return
    if path not in told:
        told.add(path)
        advice = f"raise keep_predictions={megabytes:g} (MB) to keep all"
        log.info("from epoch %d on, src.ask will find predictions of some epochs only: %s", epoch, advice)


@contextmanager
def keeping(path: Path, megabytes: float):
    """Yield a function that keeps epochs twice a second: one by one, in cold caches, each costs twice.

    A fit without checkpoints may lose the last ones by a kill: a resume trains it anew.
    """
    waiting, began = [], time.monotonic()

    def write() -> None:
        while waiting:
            keep(path, megabytes, *waiting.pop(0))

    def later(epoch: int, y: np.ndarray, outputs: np.ndarray) -> None:
        nonlocal began
        waiting.append((epoch, y, outputs.copy()))
        if time.monotonic() - began > EVERY_S:
            write()
            began = time.monotonic()

    try:
        yield later
    finally:
        write()


def _record(kind: bytes, epoch: int, array: np.ndarray) -> bytes:
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T
    content = CODEC.compress(np.ascontiguousarray(planes), asbytes=True)
    columns = array.shape[1] if array.ndim == 2 else 0
    head = array.dtype.str[1:].encode(), zlib.adler32(content) >> 16, epoch, columns, len(content)
    return HEAD.pack(MARK, kind, *head) + content


def _records(path: Path):
    """Yield the header, the content and the end of each record that is whole."""
    data, end = path.read_bytes() if path.is_file() else b"", 0
    while len(data) >= end + HEAD.size:
        head, start = HEAD.unpack_from(data, end), end + HEAD.size
        end = start + head[-1]
        if head[0] != MARK or end > len(data):
            return
        yield head, data[start:end], end


def read(path: Path, info: dict):
    """Yield each kept epoch, y (n,) and its predictions as metrics take them, the same bits as in the fit."""
    y = None
    for (_, kind, dtype, check, epoch, columns, _), content, _ in _records(path):
        try:
            if check != zlib.adler32(content) >> 16:
                raise ValueError("wrong check sum")
            stream = pyarrow.input_stream(pyarrow.py_buffer(content), compression="zstd")
            dtype = np.dtype(dtype.decode())
            planes = np.frombuffer(stream.read(MAX_BYTES), np.uint8).reshape(dtype.itemsize, -1)
            array = np.ascontiguousarray(planes.T).view(dtype)  # (n, 1)
            array = array.reshape(-1, columns) if columns else array[:, 0]
            p = to_predictions(array, info) if kind == LOGITS else array
        except (ValueError, TypeError, OSError) as error:
            raise UserError(f"{path} is damaged: {error}") from None
        if kind == TARGETS:
            y = array
        else:
            yield epoch, y, np.stack([1 - p, p], 1) if kind == CLASS_1 else p


def cut(path: Path, n_epochs: int) -> None:
    """Remove what comes after the first ``n_epochs``, as a resume does."""
    if path.is_file():
        ends = [end for head, _, end in _records(path) if head[4] <= n_epochs]
        with path.open("rb+") as file:
            file.truncate(ends[-1] if n_epochs and ends else 0)

"""Digests of frames."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pandas as pd


def digest(frame: pd.DataFrame) -> str:
    """Return 16 hex digits over each cell, column name, their order and kind of dtype; not over the index."""
    return whole_digest(column_digests(frame))


def column_digests(frame: pd.DataFrame, like: tuple[pd.DataFrame, dict] | None = None) -> dict[str, str]:
    """Return the digest of each column, taken on two threads.

    like : another frame and its digests: a column that shares its memory is not digested again
    """
    other, known = like or (frame, {})

    def digest_of(name):
        same = name in known and _same_memory(frame[name], other[name])
        return known[name] if same else _column_digest(frame[name])

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(frame, pool.map(digest_of, frame), strict=True))


def whole_digest(digests: dict[str, str]) -> str:
    text = "".join(f"{name}\0{value}\0" for name, value in digests.items())
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def arrays_digest(parts: dict[str, dict[str, np.ndarray]]) -> str:
    """Return 16 hex digits over the arrays of all parts: equal where a table came in another container."""
    found = hashlib.blake2b(digest_size=8)
    for part, arrays in parts.items():
        for key, values in sorted(arrays.items()):
            found.update(f"{part} {key} {values.dtype} {values.shape}".encode())
            found.update(np.ascontiguousarray(values))
    return found.hexdigest()


def _column_digest(column: pd.Series) -> str:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        parts = [np.ascontiguousarray(column.to_numpy())]
    elif isinstance(column.dtype, pd.StringDtype):  # codes, and each different text once
        codes, texts = pd.factorize(column)
        parts = chain([codes.astype(np.int64)], _as_json(texts))
    else:
        texts = column.astype(object).map(str).to_numpy(dtype=object)
        texts[column.isna().to_numpy()] = "\0missing"
        parts = [pd.util.hash_array(texts)]
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part)
    return column.dtype.kind + found.hexdigest()


def _as_json(texts: pd.Index):
    """Yield ``json.dumps(texts.tolist())`` in parts: whole it takes five times the memory of the texts."""
    yield b"["
    for i in range(0, len(texts), 1000):
        yield (", " * (i > 0) + json.dumps(texts[i : i + 1000].tolist())[1:-1]).encode()
    yield b"]"


def _same_memory(a: pd.Series, b: pd.Series) -> bool:
    """Return whether two columns are the same numbers in the same place: nothing has changed then."""
    numeric = isinstance(a.dtype, np.dtype) and a.dtype.kind in "biuf"
    if not numeric or a.dtype != b.dtype or len(a) != len(b):
        return False
    x, y = a.to_numpy(), b.to_numpy()
    return x.__array_interface__["data"] == y.__array_interface__["data"] and x.strides == y.strides

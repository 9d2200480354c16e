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


def column_digests(frame: pd.DataFrame) -> dict[str, str]:
    """Return the digest of each column, taken on two threads."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(frame, pool.map(lambda name: _column_digest(frame[name]), frame), strict=True))


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

"""Digests of frames."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd


def digest(frame: pd.DataFrame) -> str:
    """16 hex digits that change with any cell, column name, order or dtype kind of ``frame``; the index is left out."""
    return whole_digest(column_digests(frame))


def column_digests(frame: pd.DataFrame, like: tuple[pd.DataFrame, dict] | None = None) -> dict[str, str]:
    """{column: digest}, two columns at a time; of ``like=(frame, its digests)`` columns that share memory are taken."""
    known = {}
    if like is not None:
        other, digests = like
        known = {name: digests[name] for name in frame if name in digests and _same_memory(frame[name], other[name])}
    missing = [name for name in frame if name not in known]
    with ThreadPoolExecutor(2) as pool:
        known |= dict(zip(missing, pool.map(lambda name: _column_digest(frame[name]), missing), strict=True))
    return {name: known[name] for name in frame}


def whole_digest(digests: dict[str, str]) -> str:
    text = "".join(f"{name}\0{value}\0" for name, value in digests.items())
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _column_digest(column: pd.Series) -> str:
    if column.dtype.kind in "biuf" and isinstance(column.dtype, np.dtype):
        content = np.ascontiguousarray(column.to_numpy())
    elif isinstance(column.dtype, pd.StringDtype):  # numbers of words, and the words: each is hashed once
        codes, words = pd.factorize(column)
        content = codes.astype(np.int64).tobytes() + json.dumps(words.tolist()).encode()
    else:
        content = pd.util.hash_array(_hashable(column))
    return column.dtype.kind + hashlib.blake2b(content, digest_size=8).hexdigest()


def _same_memory(a: pd.Series, b: pd.Series) -> bool:
    """Whether two columns are the same numbers in the same place: nothing has changed then."""
    if not (isinstance(a.dtype, np.dtype) and a.dtype == b.dtype and a.dtype.kind in "biuf" and len(a) == len(b)):
        return False
    x, y = a.to_numpy(), b.to_numpy()
    return x.__array_interface__["data"] == y.__array_interface__["data"] and x.strides == y.strides


def _hashable(column: pd.Series) -> np.ndarray:
    texts = column.astype(object).map(str).to_numpy(dtype=object)
    texts[column.isna().to_numpy()] = "\0missing"
    return texts

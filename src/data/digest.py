"""Digests of frames."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pandas as pd

LARGE = 1 << 26  # bytes
SLICE = 1000  # texts that are Python objects at once


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
    """Return 16 hex digits over the arrays of all parts: equal where a table came in another container.

    Lengths count as the mask (n, T) that older runs have recorded.
    """
    found = hashlib.blake2b(digest_size=8)
    for part, arrays in parts.items():
        if "lengths" in arrays:
            (n, longest), lengths = arrays["input_ids"].shape, arrays["lengths"][:, None]
            found.update(f"{part} attention_mask bool {(n, longest)}".encode())
            for i in range(0, n, 1000):
                found.update(np.arange(longest) < lengths[i : i + 1000])
        for key, values in sorted(arrays.items()):
            if key != "lengths":
                found.update(f"{part} {key} {values.dtype} {values.shape}".encode())
                found.update(np.ascontiguousarray(values))
    return found.hexdigest()


def _column_digest(column: pd.Series) -> str:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        parts = [np.ascontiguousarray(column.to_numpy())]
    elif isinstance(column.dtype, pd.StringDtype):  # codes, and each different text once
        codes, texts = _factorized(column)
        parts = chain([codes.astype(np.int64)], _as_json(texts))
    else:
        texts = column.astype(object).map(str).to_numpy(dtype=object)
        texts[column.isna().to_numpy()] = "\0missing"
        parts = [pd.util.hash_array(texts)]
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part)
    return column.dtype.kind + found.hexdigest()


def _factorized(column: pd.Series) -> tuple:
    """Return codes as `pandas.factorize`, (n,), -1 for an empty cell, and lists of the different texts.

    For more than `LARGE` bytes it would copy the texts twice; there the codes are those of 64-bit hashes.
    """
    if column.memory_usage(index=False, deep=True) <= LARGE:
        codes, texts = pd.factorize(column)
        return codes, (texts[i : i + SLICE].tolist() for i in range(0, len(texts), SLICE))
    filled = column.notna().to_numpy()
    slices = (column.iloc[i : i + SLICE].fillna("").to_numpy(object) for i in range(0, len(column), SLICE))
    hashes = np.concatenate([pd.util.hash_array(texts, categorize=False) for texts in slices])
    codes = np.full(len(column), -1)
    codes[filled] = pd.factorize(hashes[filled])[0]
    first = np.flatnonzero(filled & ~pd.Series(codes).duplicated().to_numpy())
    return codes, (column.iloc[first[i : i + SLICE]].tolist() for i in range(0, len(first), SLICE))


def _as_json(lists):
    """Yield ``json.dumps`` of all texts in parts: whole it takes five times their memory."""
    yield b"["
    for i, texts in enumerate(lists):
        yield (", " * (i > 0) + json.dumps(texts)[1:-1]).encode()
    yield b"]"

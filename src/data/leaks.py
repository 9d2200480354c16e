"""Point out what makes results look too good or too bad, such as a column that tells the target."""

import numpy as np
import pandas as pd

from src.data import columns, tokenizer
from src.data.parse import NA_WORDS

SAMPLE = 2000  # training rows on which columns are compared with the target
WRONG = 0.02  # share of rows in which a column that tells the class is wrong at most, ...
OF_CHANCE = 0.1  # ... and the share of that by chance
ROWS = 50_000  # that are hashed at once
UNEXPLAINED = 0.01  # share of the variance of values


def hints(parts: dict, info: dict, transforms: dict) -> list[str]:
    """Return sentences on unknown tokens, words for empty cells that are values, and `telling` columns."""
    text, said = transforms.get("tokenizer"), []
    if text:
        said += tokenizer.unknown(text, parts["val"], transforms["roles"]["text"])
    for name, values in (transforms["categories"] | {info["target"]: info["classes"]}).items():
        for word in (value for value in values if value.lower() in NA_WORDS):
            advice = f"dataset.read.na_values=[{word}] makes it an empty cell of a file"
            said.append(f"{name}: {word!r} is a value; {advice}")
    return said + telling(parts["train"], info, columns.names(transforms))


def telling(train: dict, info: dict, names: list[str]) -> list[str]:
    """Return a sentence for each column that alone tells the target of nearly all training rows.

    Sorted by such a column, neighbours have the same class or nearly the same value (von Neumann 1941).
    ``names``: the column behind each of x_num and of x_cat.
    """
    rows = np.random.default_rng(0).permutation(len(train["y"]))[:SAMPLE]  # where cells are equal, any order
    y, said = train["y"][rows], {}
    if len(y) < 20:
        return []
    values = [column for key in ("x_num", "x_cat") if key in train for column in train[key][rows].T]
    for name, x in zip(names, values, strict=True):
        ordered = y[np.argsort(x, kind="stable")]
        if info["task"] == "regression":
            wrong = (np.diff(ordered) ** 2).mean() / 2 / (y.var() or 1.0)
            found, what = wrong <= UNEXPLAINED, f"explains {1 - wrong:.1%} of {info['target']}"
        else:
            changes = np.count_nonzero(np.diff(ordered)) - info["n_outputs"] + 1
            wrong = max(0, changes) / 2 / len(y)  # a row that does not fit differs from two neighbours
            chance = 1 - ((np.bincount(y) / len(y)) ** 2).sum()
            found = wrong <= min(WRONG, OF_CHANCE * chance / 2)
            what = f"tells {info['target']} in {1 - wrong:.1%} of the training rows"
        if found:
            said[name] = f"{name} alone {what}: dataset.ignore=[{name}] if it is known only afterwards"
    return list(said.values())


def shared(frame: pd.DataFrame, names: list[str], rows: dict[str, np.ndarray]) -> list[str]:
    """Return a sentence on rows of val and test that have the cells of a training row in all ``names``.

    Those with the same features, but another target, are counted, too; ``names``: the target, the features.
    """
    target, features = _keys(frame, names[:1]), _keys(frame, names[1:])
    keys, said = features * np.uint64(31) + target, []
    for part in ("val", "test"):
        n, n_alike = (
            int(pd.Series(one[rows[part]]).isin(one[rows["train"]]).sum())  # np.isin takes five times as long
            for one in (keys, features)
        )
        if n_alike:
            of = f"{n_alike:,} of {len(rows[part]):,} {part} rows ({n_alike / len(rows[part]):.1%})"
            other = f", {n_alike - n:,} of them with another target" if n_alike > n else ""
            said.append(f"{of} have the same features as a training row{other}")
    return said


def _keys(frame: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Return a number for each row that is equal where the cells of all ``names`` are."""
    keys = np.zeros(len(frame), np.uint64)
    for name in names:  # by columns, and some rows at a time, which become objects: no copy of the table
        for start in range(0, len(frame), ROWS):
            some = slice(start, start + ROWS)
            cells = pd.util.hash_pandas_object(frame[name].iloc[some], index=False).to_numpy()
            keys[some] = keys[some] * np.uint64(1_000_003) + cells
    return keys

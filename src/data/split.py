"""Cut rows into train, val and test: by a column, time or whole groups, or at random within each class."""

import numpy as np

from src.data.cells import read
from src.system.errors import UserError

NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split(
    n_rows, *, named=None, classes=None, groups=None, times=None, test_size, val_size, split_seed, seed
):  # fmt: skip
    """Return the row numbers of each part, ascending: {"train", "val", "test"}.

    named : (n_rows,) text or None, the part of each row; parts that do not occur in it are cut as below
    classes : (n_rows,) int or None, keeps each class's share in every part
    groups : (n_rows,) or None, rows of one group stay in one part
    times : (n_rows,) numbers or None, the latest are test, those before them val; one moment is in one part
    split_seed, seed : ``split_seed`` cuts test, ``seed`` cuts val: runs that differ in ``seed`` alone share
        their test rows
    """
    parts = _named_parts(named) if named is not None else {"train": np.arange(n_rows)}
    for name, size, seeds in (("test", test_size, [split_seed, 0]), ("val", val_size, [seed, 1])):
        if name in parts:
            continue
        rows, rng = parts["train"], np.random.default_rng(seeds)
        if times is not None:
            held = times[rows] >= np.sort(times[rows])[-max(1, round(size * len(rows)))]
        else:
            held = _draw(rng, size, len(rows), *(None if x is None else x[rows] for x in (classes, groups)))
        if not held.any() or held.all():
            few = "" if groups is None else f" in {len(np.unique(groups[rows]))} groups or clusters"
            raise UserError(f"{len(rows)} rows{few} are too few to cut a {name} part of {size:.0%} from them")
        parts[name], parts["train"] = rows[held], rows[~held]
    return {name: parts[name] for name in ("train", "val", "test")}


def moments(column) -> np.ndarray:
    """Return a column of dates or numbers as numbers (n,); refuse others, and empty cells."""
    kind, times = read(column)
    if kind["kind"] not in ("number", "date") or np.isnan(times).any():
        raise UserError(f"dataset.time={column.name} should hold a date or a number in each row")
    return times


def _named_parts(named) -> dict:
    unknown = sorted({str(name) for name in named} - set(NAMES))
    if unknown:
        raise UserError(f"the split column holds {unknown[0]!r}; it may hold {', '.join(NAMES)}")
    part_of_row = np.array([NAMES[name] for name in named])
    if "train" not in part_of_row:
        raise UserError("the split column leaves no row to train on")
    return {name: np.flatnonzero(part_of_row == name) for name in np.unique(part_of_row).tolist()}


def _draw(rng, size, n_rows, classes, groups):
    """Return (n_rows,) bool, true for the rows held out."""
    if groups is not None:
        names, group_of_row = np.unique(groups, return_inverse=True)
        order = rng.permutation(len(names))
        counts = np.bincount(group_of_row)[order]
        rows_before = np.cumsum(counts) - counts
        return np.isin(group_of_row, order[rows_before < size * n_rows])
    held = np.zeros(n_rows, bool)
    if classes is None:
        held[rng.permutation(n_rows)[: round(size * n_rows)]] = True
        return held
    for k in np.unique(classes):  # a rare class is held out by chance, and one row always stays to learn from
        rows = np.flatnonzero(classes == k)
        n_held = min(int(size * len(rows) + rng.random()), len(rows) - 1)
        held[rng.permutation(rows)[:n_held]] = True
    return held

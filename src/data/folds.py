"""Cut the rows that are not test into folds, by scikit-learn's splitters."""

import numpy as np

from src.system.errors import UserError

# cv= -> which keys keep rows together
NEEDS = {"time": "dataset.time=column", "group": "dataset.group=column or dataset.split_by=similarity"}


def folds(parts: dict, cv: dict, seed: int, classes=None, groups=None, times=None) -> list[dict]:
    """Return the row numbers of each part in each fold; val is held out, and test is the same in all.

    parts : of `split`; train and val are cut anew
    cv : the section of the config: name, n_folds, ...
    classes : (n_rows,) text or None
    groups, times : as of `split`
    """
    name, rows = cv["name"], np.sort(np.concatenate([parts["train"], parts["val"]]))
    kept = "time" if times is not None else "group" if groups is not None else None
    if kept and name != kept:
        raise UserError(f"cv={name} would part rows that {NEEDS[kept]} keeps together: take cv={kept}")
    if name in NEEDS and not kept:
        raise UserError(f"cv={name} needs {NEEDS[name]}")
    if name == "stratified" and classes is None:
        raise UserError("cv=stratified keeps the share of each class, this target has none: take cv=kfold")
    y, group_of_row, time_of_row = (None if x is None else x[rows] for x in (classes, groups, times))
    units, unit_of_row = np.unique(time_of_row, return_inverse=True) if name == "time" else (rows, None)
    _check_number(cv, units, y, group_of_row)
    found = []
    for train, val in _splitter(cv, seed, y).split(units, y if unit_of_row is None else None, group_of_row):
        if unit_of_row is not None:
            train, val = (np.flatnonzero(np.isin(unit_of_row, some)) for some in (train, val))
        if y is not None:
            _check_classes(y, train, f"fold {len(found)} of cv={name}")
        found.append({"train": rows[train], "val": rows[val], "test": parts["test"]})
    return found


def _splitter(cv: dict, seed: int, y):
    from sklearn import model_selection as sk  # 1.5 s, which a run without folds need not wait for

    n = {"n_splits": cv.get("n_folds")}
    shuffled = n | {"shuffle": True, "random_state": seed}
    repeats = n | {"n_repeats": cv.get("n_repeats"), "random_state": seed}
    return {
        "kfold": lambda: sk.KFold(**shuffled),
        "stratified": lambda: sk.StratifiedKFold(**shuffled),
        "group": lambda: sk.GroupKFold(**shuffled),
        "time": lambda: sk.TimeSeriesSplit(**n),
        "repeated": lambda: (sk.RepeatedKFold if y is None else sk.RepeatedStratifiedKFold)(**repeats),
        "loo": sk.LeaveOneOut,
    }[cv["name"]]()


def _check_number(cv: dict, units, y, groups) -> None:
    """Refuse more folds than there are rows, groups, moments, or rows of the rarest class."""
    name, n = cv["name"], cv.get("n_folds", 2)
    known = {"group": "groups", "time": "moments"}.get(name, "rows")
    n_known = len(units if name != "group" else np.unique(groups))
    if n + (name == "time") > n_known:  # its first rows are in no val
        raise UserError(f"cv.n_folds={n}: there are {n_known} {known} that are not test: take fewer folds")
    if y is not None and name in ("stratified", "repeated"):
        names, counts = np.unique(y, return_counts=True)
        if n > counts.min():
            rows = f"class {str(names[counts.argmin()])!r} has {counts.min()} that are not test"
            advice = "take fewer folds, or cv=kfold"
            raise UserError(f"cv.n_folds={n} needs as many rows of each class, {rows}: {advice}")


def _check_classes(y, train, place: str) -> None:
    """Refuse a fold that does not train on each class: predictions of the folds could not be averaged."""
    if (lacking := np.setdiff1d(y, y[train])).size:
        n = (y == lacking[0]).sum()
        rows = f"{n} row{'s' if n > 1 else ''} that {'are' if n > 1 else 'is'} not test"
        raise UserError(
            f"{place} trains on no row of class {str(lacking[0])!r}, which has {rows}: "
            "take cv=stratified, fewer folds, or leave the class out"
        )

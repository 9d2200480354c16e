"""Cut the rows that are not test into folds, by scikit-learn's splitters."""

import warnings

import numpy as np

from src.system.errors import UserError, one_line

# cv= -> which keys keep rows together
NEEDS = {"time": "dataset.time=column", "group": "dataset.group=column or dataset.split_by=similarity"}


def folds(parts: dict, cv: dict, seed: int, classes=None, groups=None, times=None) -> list[dict]:
    """Return the row numbers of each part in each fold; val is held out, and test is the same in all.

    parts : of `split`; train and val are cut anew
    cv : the section of the config: name, n_folds, ...
    classes : (n_rows,) text or None
    groups, times : as of `split`
    """
    name, outer = cv["name"], cv.get("outer")
    if outer is not None:
        wide = cv | {"n_folds": cv["n_outer"], "n_repeats": 1, "outer": None}
        parts = _within(outer, folds(parts, wide, seed, classes, groups, times))
    rows = np.sort(np.concatenate([parts["train"], parts["val"]]))
    kept = "time" if times is not None else "group" if groups is not None else None
    if kept and name != kept:
        raise UserError(f"cv={name} would part rows that {NEEDS[kept]} keeps together: take cv={kept}")
    if name in NEEDS and not kept:
        raise UserError(f"cv={name} needs {NEEDS[name]}")
    if name == "stratified" and classes is None:
        raise UserError("cv=stratified keeps the share of each class, this target has none: take cv=kfold")
    y, group, unit = (None if x is None else x[rows] for x in (classes, groups, times))
    units = rows if unit is None else np.unique(unit)  # the moments of cv=time
    found = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of more folds than rows of the rarest class
            pairs = [*_splitter(cv, seed, y).split(units, y if unit is None else None, group)]
    except (ValueError, UserWarning) as error:
        raise UserError(f"cv={name}: {one_line(error).rstrip('.')}: take fewer folds") from None
    for train, val in pairs:
        if unit is not None:
            train, val = (np.flatnonzero(np.isin(unit, units[some])) for some in (train, val))
        if y is not None and (lacking := np.setdiff1d(y, y[train])).size:
            where = f"fold {len(found)} of cv={name} trains on no row of class {str(lacking[0])!r}"
            n = (y == lacking[0]).sum()
            raise UserError(f"{where} ({n} not in test): take fewer folds, or leave the class out")
        found.append({"train": rows[train], "val": rows[val], "test": parts["test"]})
    return found


def _within(outer: int, several: list[dict]) -> dict:
    """Return the parts that the folds within one outer fold are cut from; what that holds out is test."""
    if outer >= len(several):
        raise UserError(f"cv.outer={outer}: there are {len(several)} outer folds, from 0")
    train, test = several[outer]["train"], several[outer]["val"]
    return {"train": train, "val": test[:0], "test": test}


def _splitter(cv: dict, seed: int, y):
    from sklearn import model_selection as sk  # 1.5 s, which a run without folds need not wait for

    n, drawn = {"n_splits": cv.get("n_folds")}, {"random_state": seed}
    repeated = sk.RepeatedKFold if y is None else sk.RepeatedStratifiedKFold
    return {
        "kfold": lambda: sk.KFold(**n, shuffle=True, **drawn),
        "stratified": lambda: sk.StratifiedKFold(**n, shuffle=True, **drawn),
        "group": lambda: sk.GroupKFold(**n, shuffle=True, **drawn),
        "time": lambda: sk.TimeSeriesSplit(**n),
        "repeated": lambda: repeated(**n, n_repeats=cv["n_repeats"], **drawn),
        "loo": sk.LeaveOneOut,
    }[cv["name"]]()

"""Table columns to arrays: numbers (impute, scale), dates (their parts), categories (codes)."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from src.data.cells import coded, numbers
from src.system.errors import UserError

UNSEEN, MISSING = 0, 1  # category codes; values start at 2
LIMIT = 1e30  # larger numbers are cut to this: their squares would leave a float32's or a mean's range
MAX_FOR_QUANTILES = 100_000  # rows, evenly spaced, that quantiles are taken from


def fit_numeric(frame: pd.DataFrame, columns: list[str], scaler: str, dates=(), kinds=None) -> dict:
    """Return how to read, impute and scale each column: {"scaler", "columns": {name: {"median", ...}}, ...}.

    ``scaler``: "standard" (mean 0, deviation 1), "quantile" (to a normal distribution by <= 1,000 quantiles,
    Gorishniy et al. 2021), or "none". Empty cells get the column's median, and a 0/1 column flags them. Those
    `date_parts` become columns that vary.
    """
    kinds = kinds or {}
    state = {"scaler": scaler, "columns": {}}
    for name in columns:
        fitted = state["columns"][name] = _fit(numbers(frame[name], kinds.get(name)), scaler, name)
        if name in kinds:
            fitted["kind"] = kinds[name]
    for name in dates:
        parts = date_parts(numbers(frame[name], kinds[name]))
        kept = {part: x for part, x in parts.items() if part == "days" or np.nanmin(x) < np.nanmax(x)}
        fitted = {part: _fit(x, scaler, name) for part, x in kept.items()}
        for part in kept:
            fitted[part]["flagged"] &= part == "days"
        state.setdefault("dates", {})[name] = {"kind": kinds[name], "parts": fitted}
    return state


def date_parts(days: np.ndarray) -> dict[str, np.ndarray]:
    """Return numbers (n,) of days since 1970: days, year, month, day, weekday (Monday is 0) and hour."""
    moments = pd.DatetimeIndex((np.clip(days, -1e8, 1e8) * 86_400e6).round().astype("datetime64[us]"))
    parts = {"year": moments.year, "month": moments.month, "day": moments.day, "weekday": moments.day_of_week}
    parts = {part: values.to_numpy(np.float64) for part, values in parts.items()}
    return {"days": days} | parts | {"hour": days % 1 * 24}


def _fit(x: np.ndarray, scaler: str, name: str) -> dict:
    """Return median and scale of (n,) values, of which those that are nan are empty."""
    x = np.clip(x, -LIMIT, LIMIT)
    missing = np.isnan(x)
    if missing.all():
        raise UserError(f"column {name} has no value in the training rows: dataset.ignore it")
    state = {"median": float(np.median(x[~missing])), "flagged": bool(missing.any())}
    x[missing] = state["median"]
    if scaler == "standard":
        varies = x.max() > x.min()  # the computed deviation: of a constant perhaps 1e-17, of 1e-200 0
        state |= {"mean": float(x.mean()), "std": float(varies and x.std()) or 1.0}
    if scaler == "quantile":
        n_quantiles = int(np.clip(len(x) // 30, 10, 1000))
        sample = x[:: -(-len(x) // MAX_FOR_QUANTILES)]  # every k-th row, k rounded up
        state["quantiles"] = np.quantile(sample, np.linspace(0, 1, n_quantiles)).tolist()
    return state


def fitted_columns(state: dict) -> list[dict]:
    """Return the fitted columns: numbers, then the parts of dates."""
    dates = [part for date in state.get("dates", {}).values() for part in date["parts"].values()]
    return [*state["columns"].values(), *dates]


def _values(state: dict, frame: pd.DataFrame):
    """Yield the values (n,) float64 of each of `fitted_columns`."""
    for name, fitted in state["columns"].items():
        yield numbers(frame[name], fitted.get("kind"))
    for name, date in state.get("dates", {}).items():
        parts = date_parts(numbers(frame[name], date["kind"]))
        yield from (parts[part] for part in date["parts"])


def names(transforms: dict) -> list[str]:
    """Return the column of the table behind each of x_num, flags included, and of x_cat."""
    state = transforms["numeric"]
    dates = [name for name, date in state.get("dates", {}).items() for _ in date["parts"]]
    numeric = [*state["columns"], *dates]
    flagged = [name for name, column in zip(numeric, fitted_columns(state), strict=True) if column["flagged"]]
    return [*numeric, *flagged, *transforms["categories"]]


def n_numeric(state: dict) -> int:
    """Return F of `apply_numeric`: a column for each number, another where training rows had empty cells."""
    return sum(1 + column["flagged"] for column in fitted_columns(state))


def apply_numeric(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """Return (n, F) float32 without nan: numbers, then flags. By columns: no float64 copy of the table.

    Without a scaler, which only exports of several models have: numbers as they are, float64 with nan.
    """
    if state["scaler"] is None:
        return np.stack([*_values(state, frame)], 1)
    out = np.empty((len(frame), n_numeric(state)), np.float32)
    columns = fitted_columns(state)
    flag = len(columns)
    for i, (column, x) in enumerate(zip(columns, _values(state, frame), strict=True)):
        x = np.clip(x, -LIMIT, LIMIT)
        missing = np.isnan(x)
        x[missing] = column["median"]
        if state["scaler"] == "standard":
            x = (x - column["mean"]) / column["std"]
        if state["scaler"] == "quantile":
            x = _to_normal(x, np.asarray(column["quantiles"]))
        out[:, i] = np.clip(x, -LIMIT, LIMIT)
        if column["flagged"]:
            out[:, flag] = missing
            flag += 1
    return out


def _to_normal(x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Turn ranks within ``quantiles`` into normal deviates; one of several quantiles gets their middle."""
    if quantiles[0] == quantiles[-1]:
        return np.zeros_like(x)
    levels = np.linspace(0, 1, len(quantiles))
    up, down = np.interp(x, quantiles, levels), -np.interp(-x, -quantiles[::-1], -levels[::-1])
    return ndtri(np.clip((up + down) / 2, 1e-7, 1 - 1e-7))


def fit_categories(frame: pd.DataFrame, columns: list[str]) -> dict:
    return {name: sorted(coded(frame[name])[1]) for name in columns}


def apply_categories(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """Return (n, C) int64 codes: 0 for a value that training never saw, 1 for an empty cell."""
    out = np.empty((len(frame), len(state)), np.int64)
    for i, (name, values) in enumerate(state.items()):
        code_of = {value: code for code, value in enumerate(values, start=2)}
        place, texts = coded(frame[name])
        out[:, i] = np.array([*(code_of.get(text, UNSEEN) for text in texts), MISSING])[place]
    return out

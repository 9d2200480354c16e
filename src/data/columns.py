"""Table columns to arrays: roles of columns, numbers (impute, scale), categories (codes)."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from src.data.words import SCALERS
from src.system.errors import UserError

UNSEEN, MISSING = 0, 1  # category codes; values start at 2
LIMIT = 1e30  # larger numbers are cut to this: their squares would leave a float32's or a mean's range
MAX_FOR_QUANTILES = 100_000  # rows, evenly spaced, that quantiles are taken from


def infer_role(column: pd.Series) -> str:
    """Return "numeric", "categorical", "text" or "ignored", by the cells.

    Text is long and varied (four words or more on average, most cells different); a string column that hardly
    ever repeats is an identifier and ignored, as is an empty column.
    """
    filled = column.dropna()
    if not len(filled):
        return "ignored"
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return "numeric"
    sample = filled.head(2000)
    if holds_several(sample) or sample.map(type).eq(bytes).any():
        kind = type(sample.iloc[0]).__name__
        raise UserError(f"cells of column {column.name} hold {kind}: make columns of it or dataset.ignore it")
    sample = sample.astype(str)
    varied = sample.nunique() > 0.5 * len(sample)
    if varied and sample.str.split().str.len().mean() >= 4:
        return "text"
    return "ignored" if varied and len(sample) > 100 else "categorical"


def holds_several(cells: pd.Series) -> bool:
    """Return whether a cell holds a list, an array, ... instead of one value."""
    return cells.map(lambda cell: isinstance(cell, list | tuple | dict | set | np.ndarray)).any()


def numbers(column: pd.Series) -> np.ndarray:
    """Return (n,) float64; dates in days since 1970, infinite and empty cells nan; refuse text."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return ((column - pd.Timestamp(0, tz=column.dt.tz)).dt.total_seconds() / 86_400).to_numpy(np.float64)
    if not pd.api.types.is_numeric_dtype(column):
        values = pd.to_numeric(column, errors="coerce")
        wrong = values.isna() & column.notna()
        if wrong.any():
            row, cell = column.index[np.argmax(wrong)], column[wrong].iloc[0]
            raise UserError(f"column {column.name} should hold numbers, but row {row} holds {cell!r}")
        column = values
    out = column.to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isinf(out), np.nan, out) if np.isinf(out).any() else out


def fit_numeric(frame: pd.DataFrame, columns: list[str], scaler: str) -> dict:
    """Return how to impute and scale each column: {"scaler", "columns": {name: {"median", ...}}}.

    ``scaler``: "standard" (mean 0, deviation 1), "quantile" (to a normal distribution by <= 1,000 quantiles,
    Gorishniy et al. 2021), or "none". Empty cells get the column's median, and a 0/1 column flags them.
    """
    if scaler not in SCALERS:
        raise UserError(f"model.scaler={scaler} is unknown; known: {', '.join(SCALERS)}")
    fitted = {}
    for name in columns:
        x = np.clip(numbers(frame[name]), -LIMIT, LIMIT)
        missing = np.isnan(x)
        if missing.all():
            raise UserError(f"column {name} has no value in the training rows: dataset.ignore it")
        state = fitted[name] = {"median": float(np.median(x[~missing])), "flagged": bool(missing.any())}
        x[missing] = state["median"]
        if scaler == "standard":
            varies = x.max() > x.min()  # the computed deviation: of a constant perhaps 1e-17, of 1e-200 0
            state |= {"mean": float(x.mean()), "std": float(varies and x.std()) or 1.0}
        if scaler == "quantile":
            n_quantiles = int(np.clip(len(x) // 30, 10, 1000))
            sample = x[:: -(-len(x) // MAX_FOR_QUANTILES)]  # every k-th row, k rounded up
            state["quantiles"] = np.quantile(sample, np.linspace(0, 1, n_quantiles)).tolist()
    return {"scaler": scaler, "columns": fitted}


def n_numeric(state: dict) -> int:
    """Return F of `apply_numeric`: a column for each number, another where training rows had empty cells."""
    return sum(1 + column["flagged"] for column in state["columns"].values())


def apply_numeric(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """Return (n, F) float32 without nan: numbers, then flags. By columns: no float64 copy of the table."""
    out = np.empty((len(frame), n_numeric(state)), np.float32)
    flag = len(state["columns"])
    for i, (name, column) in enumerate(state["columns"].items()):
        x = np.clip(numbers(frame[name]), -LIMIT, LIMIT)
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
    return {name: sorted(set(as_text(frame[name].dropna()))) for name in columns}


def apply_categories(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """Return (n, C) int64 codes: 0 for a value that training never saw, 1 for an empty cell."""
    out = np.full((len(frame), len(state)), UNSEEN, np.int64)
    for i, (name, values) in enumerate(state.items()):
        code_of = {value: code for code, value in enumerate(values, start=2)}
        empty = frame[name].isna().to_numpy()
        out[empty, i] = MISSING
        out[~empty, i] = [code_of.get(value, UNSEEN) for value in as_text(frame[name][~empty])]
    return out


def as_text(column: pd.Series) -> list[str]:
    """Return cells as text; 3 and 3.0 are the same, as whole numbers with empty cells are read as float."""
    return [str(int(x)) if isinstance(x, float) and x.is_integer() else str(x) for x in column]

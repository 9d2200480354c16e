"""Table columns to arrays: roles of columns, numbers (impute, scale), categories (codes)."""

import numpy as np
import pandas as pd

from src.system.errors import UserError

UNSEEN, MISSING = 0, 1  # category codes; values start at 2
LIMIT = 1e30  # larger numbers count as this: their squares would not fit into a float32's or a mean's range
MAX_FOR_QUANTILES = 100_000  # rows, evenly spaced, that quantiles are taken from
MAX_CLASSES_OF_NUMBERS = 20  # a numeric target with more different values is a regression


def infer_roles(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Sort columns into {"numeric", "categorical", "text", "ignored"} by their content.

    Text is long and varied (four words or more on average, most of them different); a string column that hardly ever
    repeats is an identifier and ignored, as is a column with nothing in it.
    """
    roles = {"numeric": [], "categorical": [], "text": [], "ignored": []}
    for name, column in frame.items():
        roles[_infer_role(column)].append(name)
    return roles


def _infer_role(column: pd.Series) -> str:
    filled = column.dropna()
    if not len(filled):
        return "ignored"
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return "numeric"
    sample = filled.head(2000)
    if sample.map(lambda cell: isinstance(cell, list | tuple | dict | set | np.ndarray | bytes)).any():
        kind = type(sample.iloc[0]).__name__
        raise UserError(f"cells of column {column.name} hold {kind}: spread them over columns, or dataset.ignore it")
    sample = sample.astype(str)
    varied = sample.nunique() > 0.5 * len(sample)
    if varied and sample.str.split().str.len().mean() >= 4:
        return "text"
    return "ignored" if varied and len(sample) > 100 else "categorical"


def infer_task(target: pd.Series) -> str:
    """ "classification" for text, booleans and few whole numbers; else "regression"."""
    if not pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target):
        return "classification"
    values = np.asarray(target.dropna().unique(), np.float64)
    whole = np.isfinite(values).all() and np.all(np.mod(values, 1) == 0)
    return "classification" if whole and len(values) <= MAX_CLASSES_OF_NUMBERS else "regression"


def numbers(column: pd.Series) -> np.ndarray:
    """(n,) float64; dates in days since 1970, infinities and empty cells nan.

    Raises
    ------
    UserError
        naming the column and the first value that is not a number.
    """
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
    """How to impute and scale each column, as a plain dict: {"scaler", "columns": {name: {"median", ...}}}.

    ``scaler``: "standard" (mean 0, deviation 1), "quantile" (to a normal distribution by up to 1,000 quantiles, as in
    Gorishniy et al. 2021), or "none". Columns with empty cells get the median and a 0/1 column of their own.
    """
    if scaler not in ("standard", "quantile", "none"):
        raise UserError(f"model.scaler={scaler} is unknown; known: standard, quantile, none")
    return {"scaler": scaler, "columns": {name: _fit_column(name, numbers(frame[name]), scaler) for name in columns}}


def _fit_column(name: str, x: np.ndarray, scaler: str) -> dict:
    x = np.clip(x, -LIMIT, LIMIT)
    filled = x[~np.isnan(x)]
    if not len(filled):
        raise UserError(f"column {name} has no value in the training rows; drop it")
    state = {"median": float(np.median(filled)), "flagged": len(filled) < len(x)}
    x = np.where(np.isnan(x), state["median"], x) if state["flagged"] else x
    if scaler == "standard":
        varies = x.max() > x.min()  # the computed deviation of a constant may be 1e-17
        state |= {"mean": float(x.mean()), "std": float(x.std()) if varies else 1.0}
    if scaler == "quantile":
        n_quantiles = int(np.clip(len(x) // 30, 10, 1000))
        some = x[:: -(-len(x) // MAX_FOR_QUANTILES)]
        state["quantiles"] = np.quantile(some, np.linspace(0, 1, n_quantiles)).tolist()
    return state


def n_numeric(state: dict) -> int:
    """Columns that `apply_numeric` makes: one for each number, one more where training rows had empty cells."""
    return sum(1 + column["flagged"] for column in state["columns"].values())


def apply_numeric(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """(n, F) float32 without nan: the numbers, then the flags. One column at a time, so that little memory is taken."""
    out = np.empty((len(frame), n_numeric(state)), np.float32)
    flag = len(state["columns"])
    for i, (name, column) in enumerate(state["columns"].items()):
        x = np.clip(numbers(frame[name]), -LIMIT, LIMIT)
        missing = np.isnan(x)
        if missing.any():
            x = np.where(missing, column["median"], x)
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
    """Rank within ``quantiles`` -> normal deviate; a value that spans several quantiles gets their middle."""
    from scipy.special import ndtri

    levels = np.linspace(0, 1, len(quantiles))
    up, down = np.interp(x, quantiles, levels), -np.interp(-x, -quantiles[::-1], -levels[::-1])
    return ndtri(np.clip((up + down) / 2, 1e-7, 1 - 1e-7)) if quantiles[0] < quantiles[-1] else np.zeros_like(x)


def fit_categories(frame: pd.DataFrame, columns: list[str]) -> dict:
    return {name: sorted(set(as_text(frame[name].dropna()))) for name in columns}


def apply_categories(state: dict, frame: pd.DataFrame) -> np.ndarray:
    """(n, C) int64 codes: 0 for a value that training never saw, 1 for an empty cell."""
    out = np.full((len(frame), len(state)), UNSEEN, np.int64)
    for i, (name, values) in enumerate(state.items()):
        code_of = {value: code for code, value in enumerate(values, start=2)}
        empty = frame[name].isna().to_numpy()
        out[empty, i] = MISSING
        out[~empty, i] = [code_of.get(value, UNSEEN) for value in as_text(frame[name][~empty])]
    return out


def as_text(column: pd.Series) -> list[str]:
    """Cells as text; 3 and 3.0 are the same, as a column of whole numbers with empty cells is read as float."""
    return [str(int(x)) if isinstance(x, float) and x.is_integer() else str(x) for x in column]

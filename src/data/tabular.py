"""Table columns to arrays: roles of columns, numbers (impute, scale), categories (codes)."""

import numpy as np
import pandas as pd

from src.storage import UserError

UNSEEN, MISSING = 0, 1  # category codes; values start at 2
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
    sample = filled.head(2000).astype(str)
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


def numbers(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(n, len(columns)) float64; dates in days since 1970, infinities and empty cells nan.

    Raises
    ------
    UserError
        naming the column and the first value that is not a number.
    """
    out = np.empty((len(frame), len(columns)))
    for i, name in enumerate(columns):
        column = frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            out[:, i] = (column - pd.Timestamp(0, tz=column.dt.tz)).dt.total_seconds() / 86_400
            continue
        values = pd.to_numeric(column, errors="coerce")
        wrong = values.isna() & column.notna()
        if wrong.any():
            row, cell = column.index[np.argmax(wrong)], column[wrong].iloc[0]
            raise UserError(f"column {name} should hold numbers, but row {row} holds {cell!r}")
        out[:, i] = values.to_numpy(np.float64, na_value=np.nan)
    out[np.isinf(out)] = np.nan
    return out


def fit_numeric(x: np.ndarray, columns: list[str], scaler: str) -> dict:
    """How to impute and scale: x (n, F) float64 -> a plain dict of lists.

    ``scaler``: "standard" (mean 0, deviation 1), "quantile" (to a normal distribution by up to 1,000 quantiles, as in
    Gorishniy et al. 2021), or "none". Columns with empty cells get the median and a 0/1 column of their own.
    """
    if scaler not in ("standard", "quantile", "none"):
        raise UserError(f"model.scaler={scaler} is unknown; known: standard, quantile, none")
    missing = np.isnan(x)
    empty = missing.all(0) if len(x) else np.zeros(x.shape[1], bool)
    if empty.any():
        raise UserError(f"column {columns[int(np.argmax(empty))]} has no value in the training rows; drop it")
    median = np.nanmedian(x, 0) if x.size else np.zeros(x.shape[1])
    filled = np.where(missing, median, x)
    state = {
        "columns": columns,
        "scaler": scaler,
        "median": median.tolist(),
        "flagged": [i for i in range(x.shape[1]) if missing[:, i].any()],
    }
    if scaler == "standard":
        varies = filled.max(0, initial=-np.inf) > filled.min(0, initial=np.inf)  # std of a constant may be 1e-17
        state |= {"mean": filled.mean(0).tolist(), "std": np.where(varies, filled.std(0), 1.0).tolist()}
    if scaler == "quantile":
        n_quantiles = int(np.clip(len(x) // 30, 10, 1000))
        quantiles = np.quantile(filled, np.linspace(0, 1, n_quantiles), axis=0) if x.size else np.zeros((0, x.shape[1]))
        state["quantiles"] = quantiles.T.tolist()
    return state


def apply_numeric(state: dict, x: np.ndarray) -> np.ndarray:
    """x (n, F) float64 with nan -> (n, F + flagged columns) float32 without."""
    missing = np.isnan(x)
    out = np.where(missing, np.asarray(state["median"]), x)
    if state["scaler"] == "standard":
        out = (out - np.asarray(state["mean"])) / np.asarray(state["std"])
    if state["scaler"] == "quantile":
        for i, quantiles in enumerate(state["quantiles"]):
            out[:, i] = _to_normal(out[:, i], np.asarray(quantiles))
    limit = np.finfo(np.float32).max
    return np.concatenate([out.clip(-limit, limit), missing[:, state["flagged"]]], axis=1).astype(np.float32)


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

"""The cells of a column, whichever container brings them: as numbers, or as text.

All that reads cells goes through `kind_of`, `numbers` and `as_text`: a column is what its cells are.
"""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

from src.data.parse import days, fitting, kind_of_text, parse
from src.system.errors import UserError

SAMPLE = 2000  # cells, evenly spaced, that show the kind of text; all cells confirm it
KINDS = {"b": "flag", "i": "number", "u": "number", "f": "number", "M": "date", "m": "duration"}  # numpy's
OBJECTS = {  # pandas' names of what an object column holds
    "boolean": "flag", "integer": "number", "floating": "number", "mixed-integer-float": "number",
    "decimal": "number", "datetime": "date", "datetime64": "date", "date": "date",
    "timedelta": "duration", "timedelta64": "duration",
}  # fmt: skip


class Rows:
    """Some rows of a frame, read like one; a column is copied when it is asked for, the frame never."""

    def __init__(self, frame: pd.DataFrame, rows: np.ndarray):
        self.frame, self.rows, self.columns = frame, rows, frame.columns

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> pd.Series:
        return self.frame[name].iloc[self.rows]


def bare(column: pd.Series) -> pd.Series:
    """Return the cells in numpy's dtypes, as str, or as objects; never sparse, nullable, Arrow's, ...."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype | pd.DatetimeTZDtype):
        return column
    if isinstance(dtype, pd.StringDtype):
        return column.astype("str")
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(dtype, pd.CategoricalDtype):  # whole numbers stay exact beside empty cells
        return bare(column.astype(object if column.hasnans else dtype.categories.dtype))
    if isinstance(dtype, pd.ArrowDtype) or pd.api.types.is_numeric_dtype(dtype):
        cells = pa.array(column.array).to_pandas(integer_object_nulls=True, date_as_object=False)
        return bare(cells.set_axis(column.index).rename(column.name))
    return column.astype(object)  # intervals, periods


def typed(column: pd.Series) -> str | None:
    """Return the kind that the types of the cells say; None for text and mixtures."""
    column = bare(column)
    if column.dtype == object:
        return OBJECTS.get(pd.api.types.infer_dtype(column, skipna=True))
    return KINDS.get(column.dtype.kind)


def sampled(column: pd.Series) -> pd.Series:
    """Return up to `SAMPLE` filled cells, evenly spaced; of a column that is nearly empty the first ones."""
    cells = column.iloc[:: max(1, -(-len(column) // SAMPLE))].dropna()
    return cells if len(cells) > SAMPLE // 10 else column.dropna().head(SAMPLE)


def holds_several(cells: pd.Series) -> bool:
    """Return whether a cell holds a list, an array, ... instead of one value."""
    cells = bare(cells)
    several = list | tuple | dict | set | np.ndarray
    return cells.dtype == object and cells.map(lambda cell: isinstance(cell, several)).any()


def read(column: pd.Series) -> tuple[dict, np.ndarray | None]:
    """Return the kind of a column, as src/data/parse.py spells it, and its `numbers`; None for text."""
    if kind := typed(column):
        return {"kind": kind}, numbers(column)
    cells = pa.array(as_text(sampled(column)), pa.large_string())
    kind = kind_of_text(cells)
    return (kind, None) if kind["kind"] == "text" else fitting(as_array(column), [kind])


def numbers(column: pd.Series, kind: dict | None = None) -> np.ndarray:
    """Return (n,) float64: numbers; flags as 0 and 1; dates in days since 1970; durations in seconds.

    Infinite and empty cells become nan. Text is read as ``kind`` says, without it as numbers.
    """
    if column.dtype.kind in "biuf":
        out = column.to_numpy(np.float64, na_value=np.nan)
    else:
        out = _numbers(bare(column), kind or {"kind": "number"})
    return np.where(np.isinf(out), np.nan, out) if np.isinf(out).any() else out


def _numbers(column: pd.Series, kind: dict) -> np.ndarray:
    by_type = typed(column)
    if by_type == "date":
        return days(pd.to_datetime(column, utc=True, errors="coerce"))
    if by_type == "duration":
        return pd.to_timedelta(column).dt.total_seconds().to_numpy(np.float64)
    if by_type:
        return column.where(column.notna(), np.nan).to_numpy(np.float64)
    values, wrong = parse(as_array(column), kind)
    if wrong.any() and not kind.get("loose"):
        row, cell = column.index[np.argmax(wrong)], column[wrong].iloc[0]
        raise UserError(f"column {column.name} should hold {kind['kind']}s, but row {row} holds {cell!r}")
    return values


def as_array(column: pd.Series) -> pa.Array:
    """Return cells as Arrow's text, empty ones as null."""
    column = bare(column)
    if isinstance(column.dtype, pd.StringDtype):
        cells = pa.array(column, pa.large_string())  # in chunks after pd.concat
        return cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    return pa.array(as_text(column), pa.large_string(), mask=column.isna().to_numpy())


def as_text(column: pd.Series) -> list[str]:
    """Return cells as text: text as written, whole numbers without a point, 0.1 of any precision as 0.1."""
    column = bare(column)
    if isinstance(column.dtype, pd.StringDtype):
        return column.fillna("").tolist()
    if column.dtype.kind in "iuf":  # each different number once
        values, place = np.unique(column.to_numpy(), return_inverse=True)
        return np.array([_text(value) for value in values], object)[place].tolist()
    return ["" if empty else _text(cell) for cell, empty in zip(column, column.isna(), strict=True)]


def coded(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return for each cell the place of its text among the different texts, -1 if empty; and those texts."""
    column = bare(column)
    if not isinstance(column.dtype, pd.StringDtype):
        column = pd.Series(as_text(column), dtype="str").mask(column.isna().to_numpy())
    place, texts = pd.factorize(column)
    return place, texts.tolist()


def _text(cell) -> str:
    if isinstance(cell, float | np.floating):
        if np.isnan(cell):
            return ""
        return str(int(cell)) if cell.is_integer() else str(cell)
    if isinstance(cell, Decimal):
        return format(cell.normalize(), "f")
    if isinstance(cell, datetime.datetime):
        return str(cell).removesuffix(" 00:00:00")
    return str(cell)

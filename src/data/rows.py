"""New rows through the recorded ETL of a run, one by one: each of them gets a prediction."""

import math
from contextlib import suppress

import numpy as np
import pandas as pd

from src.data.cells import as_text, numbers
from src.data.code import load_function
from src.data.prepare import missing
from src.data.versions import call
from src.system.errors import UserError, log

KEPT = ("dataset", "version", "function", "arguments", "source", "input_columns", "columns")
N_CELLS = 5  # of each column of the input, from its lowest to its highest
N_AGAIN = 100  # rows but the first that go through the ETL once more, in reverse
ADVICE = "each new row gets one prediction: prepare the rows yourself and add etl=False"


class NotTaken(UserError):
    """Rows that the ETL does not take; perhaps they are what it returns."""


def recipe(record: dict, raw: pd.DataFrame) -> dict:
    """Return, as JSON, what `Etl` needs of a version's record, and some cells of each column of its input."""
    return {key: record[key] for key in KEPT} | {"cells": {name: _cells(raw[name]) for name in raw}}


def _cells(column: pd.Series) -> list:
    plain = (x if isinstance(x, str | int | float) else str(x) for x in column.head(200).dropna())
    cells = list(dict.fromkeys(plain))
    with suppress(TypeError):  # text and numbers have no order
        cells.sort()
    return [cells[i] for i in np.unique(np.linspace(0, len(cells) - 1, N_CELLS).astype(int))] if cells else []


class Etl:
    """A recorded ETL for new rows; ``needed`` are the columns that the model reads.

    A column that the rows lack, such as the target, is filled with one of its cells, then with others: what
    the model reads must stay the same.
    """

    def __init__(self, record: dict, needed: list[str], title: str):
        self.record, self.needed, self.title, self.said = record, needed, title, set()
        self.function = load_function(record["source"], record["function"])
        self.settled = None  # columns whose absence was found to change nothing, see `settle`

    def settle(self, names: list[str]) -> None:
        """Check on rows of recorded cells that each row with the columns ``names`` is made of itself alone.

        If so, later rows with these columns are not checked one by one, which takes six times as long.
        """
        rng = np.random.default_rng(0)
        cells = {name: self.record.get("cells", {}).get(name) or [math.nan] for name in names}
        columns = {name: rng.choice(np.array(known, object), N_AGAIN) for name, known in cells.items()}
        raw = pd.DataFrame(columns)
        whole, order = self._through(raw), rng.permutation(N_AGAIN)
        for some in (order, order[:7]):
            if not _same(whole.iloc[some], self._call(raw.iloc[some], 0)):
                return
        self.settled = {*names}

    def prepare(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Return the needed columns of each row; rows that look like what the ETL returns stay so."""
        try:
            return self._through(raw)
        except NotTaken as error:
            if not self._looks_prepared(raw):
                raise
            self._warn(f"{error}; the rows are taken as what it returns")
            return raw

    def _warn(self, text: str) -> None:
        """Log a sentence once, not for each piece of a file."""
        if text not in self.said:
            log.warning("%s", text)
        self.said.add(text)

    def _through(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Refuse dropped, added and moved rows; warn where other rows change what a row becomes."""
        absent = [name for name in self.record["input_columns"] if name not in raw]
        if gone := [name for name in absent if name in self.needed]:
            raise NotTaken(missing(gone, raw))
        whole = self._call(raw, 0)
        self._check_rows(raw, whole)
        if self.settled is not None and self.settled <= {*raw.columns}:
            return whole.set_axis(raw.index)
        some = np.unique(np.linspace(min(1, len(raw) - 1), len(raw) - 1, N_AGAIN).astype(int))[::-1]
        part, again = whole.iloc[some], self._call(raw.iloc[some], 0)
        if not _same(part, again):
            if len(part) != len(again) or np.isin(_hashes(again), _hashes(whole)).all():
                raise UserError(f"{self.title} reorders rows, and {ADVICE}")
            self._warn(f"{self.title} makes a row of other rows, too: its prediction depends on them")
        for k in range(1, N_CELLS if absent else 0):
            if not _same(again, self._call(raw.iloc[some], k)):
                raise NotTaken(f"{self.title} needs what these rows lack: {', '.join(absent)}")
        return whole.set_axis(raw.index)

    def _call(self, raw: pd.DataFrame, k: int) -> pd.DataFrame:
        """Return the needed columns that the ETL makes; a column that is absent holds its ``k``-th cell."""
        columns = {}
        for name, dtype in self.record["input_columns"].items():
            known = self.record.get("cells", {}).get(name) or [math.nan]  # older versions have no cells
            cell = known[min(k, len(known) - 1)]
            column = raw[name] if name in raw else pd.Series(cell, raw.index, name=name)
            columns[name] = _like(column, dtype).reset_index(drop=True)
        absent, frame = [name for name in columns if name not in raw], pd.DataFrame(columns, copy=False)
        try:
            made = call(self.function, frame, self.record["arguments"]).rename(columns=str)
        except Exception as error:  # the user's code may raise anything
            lack = f", which lack {', '.join(absent)}" if absent else ""
            reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            raise NotTaken(f"{self.title} fails on these rows{lack} ({reason})") from error
        if lost := [name for name in self.needed if name not in made]:
            raise NotTaken(f"{self.title} makes no column {', '.join(lost)} of these rows")
        return made[self.needed]

    def _check_rows(self, raw: pd.DataFrame, made: pd.DataFrame) -> None:
        """Refuse what the number of rows and their index tell."""
        n, n_made = len(raw), len(made)
        kept = np.isin(np.arange(n), made.index)
        if n_made < n:
            known = kept.sum() == n_made and not kept[:n_made].all()  # else it may have numbered rows anew
            first = f", the first is row {raw.index[kept.argmin()]}" if known else ""
            raise UserError(f"{self.title} drops {n - n_made} of {n} rows{first}; {ADVICE}")
        if n_made > n:
            raise UserError(f"{self.title} makes {n_made} rows of {n}; {ADVICE}")
        if kept.all() and (made.index != np.arange(n)).any():
            raise UserError(f"{self.title} reorders rows, and {ADVICE}")

    def _looks_prepared(self, raw: pd.DataFrame) -> bool:
        """Return whether needed columns are of the kinds that the ETL returns, not of those that it takes."""
        if any(name not in raw for name in self.needed):
            return False
        kinds = {name: is_number(raw[name].dtype) for name in self.needed}
        takes, returns = self.record["input_columns"], self.record["columns"]
        as_made = [kind == is_number(returns[name]) for name, kind in kinds.items()]
        as_taken = [name in takes and kind == is_number(takes[name]) for name, kind in kinds.items()]
        return all(as_made) and not all(as_taken)


def _like(column: pd.Series, dtype: str) -> pd.Series:
    """Return a column in the dtype that the ETL knows, which a few rows may not show, if no cell changes."""
    filled = column.notna()
    if is_number(dtype) and not is_number(column.dtype) and filled.any():
        try:
            column = pd.Series(numbers(column), column.index)
        except UserError as error:  # it names the row
            raise NotTaken(str(error)) from None
    elif dtype == "str" and is_number(column.dtype):
        column = pd.Series(as_text(column), column.index, dtype).where(filled)
    with suppress(TypeError, ValueError):
        cast = column.astype(dtype)
        if dtype.startswith("datetime") or (cast == column)[filled].all():
            return cast
    return column


def is_number(dtype) -> bool:
    return pd.api.types.is_numeric_dtype(dtype)


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return len(a) == len(b) and np.array_equal(_hashes(a), _hashes(b))


def _hashes(frame: pd.DataFrame) -> np.ndarray:
    """Return a number for each row: 3 and 3.0 are the same cell, as are all empty ones."""
    texts = pd.DataFrame({name: as_text(frame[name]) for name in frame})
    return pd.util.hash_pandas_object(texts, index=False).to_numpy()

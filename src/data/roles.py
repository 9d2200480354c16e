"""The role of each column: numeric, dates, categorical, text, or ignored for a reason."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.data.cells import as_text, holds_several, numbers, read, sampled, typed
from src.data.letters import kind_of
from src.data.words import CHINESE, THAI
from src.system.errors import UserError

ROLES = ("numeric", "dates", "categorical", "text")  # keys of the config; each names several columns
OF_TEXT = ("categorical", "ignored")  # roles of other text
NAMELESS = re.compile(r"(Unnamed: \d+|index|level_\d+|__index_level_\d+__)?")  # what pandas calls an index


@dataclass
class Table:
    """A frame in which numbers, flags, dates and durations are numbers, and what is known of its columns."""

    frame: pd.DataFrame
    roles: dict[str, list[str]]
    kinds: dict[str, dict]  # name -> how cells of new rows are read; not of plain numbers
    notes: dict[str, list[str]]  # "read", "ignored", "note" -> sentences for people


def arrange(frame: pd.DataFrame, dataset: dict, apart: set) -> Table:
    """Return the table with the roles that the config names; those of other columns are inferred.

    apart : columns that no model sees: the target, the group, ...
    """
    named = {}
    for role in ROLES:
        for name in dataset.get(role) or []:
            if named.setdefault(name, role) != role:
                raise UserError(f"dataset names {name} in two roles; a column has one")
    formats = dataset["dates"] if isinstance(dataset.get("dates"), dict) else {}
    roles = {role: [] for role in (*ROLES, "ignored")}
    table = Table(frame.copy(deep=False), roles, {}, {"read": [], "ignored": [], "note": []})
    for name in frame.columns:
        if name in named:
            role = _as_named(table, frame[name], named[name], formats.get(name))
        elif name not in apart:
            role = _as_inferred(table, frame[name], older="dates" not in dataset)
        else:
            continue
        if "alphabet" in dataset and (role == "text" or (name not in named and role in OF_TEXT)):
            role = _as_sequence(table, frame[name], role, dataset["alphabet"])
        roles[role].append(name)
    if not any(roles[role] for role in ROLES):
        raise UserError("no column is left to learn from")
    if not roles["dates"]:
        del roles["dates"]
    return table


def text_kind(table: Table, dataset: dict) -> str:
    """Return the kind of the text columns: that which all have, else "text"."""
    kinds = {table.kinds.get(name, {"kind": "text"})["kind"] for name in table.roles["text"]}
    return dataset["alphabet"] or (kinds.pop() if len(kinds) == 1 else "text")


def _as_named(table: Table, column: pd.Series, role: str, format: str | None) -> str:
    """Return the role that the config names; all cells must be numbers, or dates, if it says so."""
    if role in ("numeric", "dates"):
        kind = {"kind": "date", "format": format} if format and not typed(column) else read(column)[0]
        if kind["kind"] == "text":
            kind = {"kind": "date" if role == "dates" else "number"}
        if role == "dates" and kind["kind"] != "date":
            holds = f"which holds {kind['kind']}s: make dates of them in an etl"
            raise UserError(f"dataset.dates names {column.name}, {holds}")
        kind = {key: value for key, value in kind.items() if key != "loose"}
        _take(table, column, kind, numbers(column, kind))
    return role


def _as_inferred(table: Table, column: pd.Series, older: bool) -> str:
    """Return the role by the cells; configs ``older`` than dataset.dates go by the dtype, as they did."""
    cells, plain = sampled(column), column.dtype.kind in "biuf"
    if not plain and len(cells) and (holds_several(cells) or cells.map(type).eq(bytes).any()):
        hold = f"cells of column {column.name} hold {type(cells.iloc[0]).__name__}"
        raise UserError(f"{hold}: make columns of it or dataset.ignore it")
    if older:
        number = plain or pd.api.types.is_datetime64_any_dtype(column)
        kind, values = {"kind": "number" if number else "text"}, column
    else:
        kind, values = ({"kind": typed(column)}, column) if plain else read(column)
    reason = "is empty" if not len(cells) else "" if older else _useless(column, cells, kind)
    if not reason and kind["kind"] != "text":
        _take(table, column, kind, values)
        return "dates" if kind["kind"] == "date" else "numeric"
    role, reason = ("ignored", reason) if reason else _role_of_text(as_text(cells))
    if reason:
        table.notes["ignored"].append(f"{column.name}: {reason}")
    return role


def _as_sequence(table: Table, column: pd.Series, role: str, named: str | None) -> str:
    """Return "text", with its kind, for sequences of letters that hardly repeat; else the ``role``."""
    texts = as_text(sampled(column))
    kind, n = kind_of(texts), len(set(texts))
    if kind == "text" or (role != "text" and n <= min(len(texts) / 2, 100)):
        return role
    table.kinds[column.name] = {"kind": kind}
    notes, lengths = table.notes["ignored"], [*map(len, texts)]
    notes[:] = [note for note in notes if not note.startswith(f"{column.name}: ")]
    size = f"{min(lengths):,} to {max(lengths):,}" if min(lengths) < max(lengths) else f"{lengths[0]:,}"
    other = "" if named else "; dataset.alphabet=text if it is not"
    table.notes["read"].append(f"{column.name}: {named or kind}, {size} letters{other}")
    return "text"


def _useless(column: pd.Series, cells: pd.Series, kind: dict) -> str:
    """Return why nothing can be learned from a column, if so."""
    if cells.nunique() == 1 and column.nunique(dropna=False) == 1:
        return f"holds only {as_text(cells.head(1))[0]!r}"
    nameless = kind["kind"] == "number" and NAMELESS.fullmatch(column.name)
    if nameless and column.is_unique and not np.mod(numbers(cells, kind), 1).any():
        return "has no name and a different number in each row; looks like an index"
    return ""


def _role_of_text(texts: list[str]) -> tuple[str, str]:
    """Return "text" for what is long and varied: four words or more on average, most cells different.

    Other text that hardly ever repeats is an identifier: "ignored", and the reason.
    """
    different = len(set(texts)) / len(texts)
    if different > 0.5 and np.mean([_n_words(text) for text in texts]) >= 4:
        return "text", ""
    if different > 0.5 and len(texts) > 100:
        return "ignored", f"text, {different:.0%} different; looks like an identifier"
    return "categorical", ""


def _n_words(text: str) -> float:
    """Return about how many words a text has: two letters are one in Chinese, six in Thai."""
    n_words = len(text.split())
    if text.isascii():
        return n_words
    return n_words + len(re.findall(f"[{CHINESE}]", text)) / 2 + len(re.findall(f"[{THAI}]", text)) / 6


def _counts(column: pd.Series) -> bool:
    """Return whether each number is one more than the last."""
    x = numbers(column)
    return len(x) >= 20 and bool((x[1:] == x[:-1] + 1).all())


def _take(table: Table, column: pd.Series, kind: dict, values) -> None:
    """Put the values of a column into the table, with a sentence on text that is read as something else."""
    name = column.name
    if kind != {"kind": "number"}:
        table.kinds[name] = kind
    if column.dtype.kind not in "biuf":
        table.frame[name] = values
    if _counts(table.frame[name].iloc[:20]) and _counts(table.frame[name]):  # most need no look at all rows
        table.notes["note"].append(f"{name} counts the rows: dataset.ignore=[{name}] if it measures nothing")
    if typed(column) or not np.isfinite(values).any():
        return
    row, said = int(np.argmax(np.isfinite(values))), []
    shown = as_text(pd.Series(values[row : row + 1]))[0]
    if kind["kind"] == "date":
        shown = str(np.datetime64(int(values[row] * 86_400), "s")).removesuffix("T00:00:00").replace("T", " ")
    if kind["kind"] == "duration":
        shown += " seconds"
    if str(column.iloc[row]) != shown:
        said.append(f"{column.iloc[row]!r} is {shown}")
    lost = column[np.isnan(values) & column.notna().to_numpy()].astype(str)
    if len(lost):
        texts = ", ".join(map(repr, lost.unique()[:3]))
        said.append(f"{len(lost)} {'cells' if len(lost) > 1 else 'cell'} ({texts}) counted as empty")
    if said:
        table.notes["read"].append(f"{name}: {', '.join(said)}")

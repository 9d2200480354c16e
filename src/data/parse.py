"""Text that says numbers, flags, dates or durations: which of them a column says, and their values.

A kind is a dict: {"kind": "number", "decimal": ","}, {"kind": "date", "format": "%d/%m/%Y"},
{"kind": "flag"}, {"kind": "duration"} or {"kind": "text"}. "loose": True lets cells that do not fit be empty.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.tseries.api import guess_datetime_format

NEARLY_ALL = 0.95  # share of the filled cells that must fit a kind
TRUE, FALSE = ("true", "yes", "y", "t", "on", "1"), ("false", "no", "n", "f", "off", "0")
NA_WORDS = ("none", "na", "n/a", "null", "nan")  # empty among numbers, values among text
EMPTY = (*NA_WORDS, "", "?", "-", "--", ".", "#n/a", "#na", "<na>", "-nan", "nat", "nil", "inf", "-inf")
GROUP = {".": r"[,'’ \x{A0}\x{202F}]", ",": r"[.'’ \x{A0}\x{202F}]"}  # decimal sign -> thousands' signs
MONEY = r"(?:[A-Z]{0,3}\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|BRL|Fr\.?|kr\.?|zł)"
SPACE = r"[\s\x{A0}\x{202F}]*"
CODE = r"^[+-]?0[0-9]"  # 02134: a code, not a number
ISO = r"^[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([T ]|$)"
DATE = "|".join([
    r"^([A-Za-z]{3,9},? )?[0-9]{1,4}[-/. ]+[0-9A-Za-z]{1,9}[-/., ]+[0-9]{1,4}([T ,]|$)",  # 15-Jan-2020 10:00
    r"^[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4}([ ,]|$)",  # January 15, 2020
    "^[0-9]{4}-[0-9]{2}$",
])  # fmt: skip
# formats that pandas does not guess
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DURATION = "|".join([
    r"^-?[0-9]+ days?,?( [+-]?[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?)?$",
    r"^[0-9]{1,3}:[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?$",
])  # fmt: skip


def kind_of_text(cells: pa.Array) -> dict:
    """Return the kind that fits a sample of text best; without digits it is text or flags."""
    digits = pc.sum(pc.match_substring_regex(cells, "[0-9]")).as_py() or 0
    words = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(cells)), _array(*TRUE, *FALSE, *EMPTY))
    if digits < 0.3 * len(cells) and (pc.sum(words).as_py() or 0) < NEARLY_ALL * len(cells):
        return {"kind": "text"}
    kinds = [{"kind": "number"}, {"kind": "number", "decimal": ","}, {"kind": "flag"}, {"kind": "duration"}]
    if (pc.sum(pc.match_substring_regex(cells, DATE)).as_py() or 0) > 0.5 * len(cells):
        kinds += [{"kind": "date"}]  # ISO 8601
        kinds += [{"kind": "date", "format": guess} for guess in _guesses(cells)]
        kinds += [{"kind": "date", "format": day + clock} for day in DAYS for clock in CLOCKS]
    return fitting(cells, kinds)[0]


def fitting(cells: pa.Array, kinds: list[dict]) -> tuple[dict, np.ndarray | None]:
    """Return the kind that the most cells fit, the first of equals, and the values of the cells.

    Unless nearly all cells fit it is text, without values.
    """
    best, fewest, found = {"kind": "text"}, np.inf, None
    for kind in kinds:
        values, wrong = parse(cells, kind)
        n_wrong, n_right = wrong.sum(), (~np.isnan(values)).sum()
        allowed = 0 if kind["kind"] == "flag" else (1 - NEARLY_ALL) * (n_wrong + n_right)
        if n_right and n_wrong <= allowed and n_wrong < fewest:
            best, fewest, found = kind | ({"loose": True} if n_wrong else {}), n_wrong, values
        if not fewest:
            break
    if best["kind"] == "number" and pc.any(pc.match_substring_regex(cells, CODE)).as_py():
        return {"kind": "text"}, None
    if best["kind"] == "flag" and len(pc.unique(pc.utf8_lower(cells.filter(~np.isnan(found))))) > 2:
        return {"kind": "text"}, None  # t, n and f
    return best, found


def parse(cells: pa.Array, kind: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return text as numbers (n,), and which cells do not fit (n,) bool; words for an empty cell do."""
    coded = pc.dictionary_encode(cells)  # each different text once
    texts, place = pc.utf8_trim_whitespace(coded.dictionary), pc.fill_null(coded.indices, -1).to_numpy()
    empty = pc.is_in(pc.utf8_lower(texts), _array(*EMPTY)).to_numpy(False)
    values = PARSERS[kind["kind"]](texts, kind)
    wrong = np.isnan(values) & ~empty
    values[empty | np.isinf(values)] = np.nan
    return np.append(values, np.nan)[place], np.append(wrong, False)[place]


def _guesses(cells: pa.Array) -> list[str]:
    """Return formats that pandas guesses from some cells, with the day before the month first."""
    words = list(dict.fromkeys(cells.to_pylist()))[:20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a day above 12 in the place of the month
        guesses = [guess_datetime_format(word, dayfirst=first) for first in (True, False) for word in words]
    return [guess for guess in dict.fromkeys(guesses) if guess]


def _array(*texts: str) -> pa.Array:
    return pa.array(texts, pa.large_string())


def _where(mask: pa.Array, cells: pa.Array) -> pa.Array:
    return pc.if_else(mask, cells, pa.scalar(None, cells.type))


def _cast(texts: pa.Array) -> np.ndarray:
    """Return text as the nearest float64, null as nan."""
    return pc.fill_null(pc.cast(texts, pa.float64()), np.nan).to_numpy(False).copy()


def _numbers(cells: pa.Array, kind: dict) -> np.ndarray:
    """Read -3.5, 1e5, 29,416.10, $5, (5), 74 %; with decimal "," 1.234,50 €. Per cent stay per cent."""
    decimal = kind.get("decimal", ".")
    plain = r"^-?[0-9]+(\.[0-9]+)?$" if decimal == "." else "^-?[0-9]+$"
    simple = pc.fill_null(pc.match_substring_regex(cells, plain), False)
    values, others = _cast(_where(simple, cells)), pc.invert(simple)
    rest, sign, point = cells.filter(others), rf"[+\-−]?{SPACE}", re.escape(decimal)
    number = rf"(?:[1-9][0-9]{{0,2}}(?:{GROUP[decimal]}[0-9]{{3}})+|[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+"
    number = rf"((?:{number})(?:[eE][+-]?[0-9]+)?)"
    pattern = rf"^\(?{sign}{MONEY}?{SPACE}{sign}{number}{SPACE}(?:{MONEY}|[%‰])?\)?$"
    digits = pc.replace_substring_regex(rest, pattern, r"\1")
    digits = pc.replace_substring(pc.replace_substring_regex(digits, GROUP[decimal], ""), decimal, ".")
    read = _cast(_where(pc.match_substring_regex(rest, pattern), digits))
    negative = pc.fill_null(pc.match_substring_regex(rest, r"^\(|^[^0-9]*[-−]"), False).to_numpy(False)
    values[others.to_numpy(False)] = np.where(negative, -read, read)
    return values


def _flags(cells: pa.Array, kind: dict) -> np.ndarray:
    lower = pc.utf8_lower(cells)
    true, false = (pc.is_in(lower, _array(*words)).to_numpy(False) for words in (TRUE, FALSE))
    return np.where(true, 1.0, np.where(false, 0.0, np.nan))


def _dates(cells: pa.Array, kind: dict) -> np.ndarray:
    iso = _where(pc.match_substring_regex(cells, ISO), cells).to_pandas()  # plain in any column
    found = days(pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce"))
    if "format" not in kind:
        return found
    other = days(pd.to_datetime(cells.to_pandas(), format=kind["format"], utc=True, errors="coerce"))
    return np.where(np.isnan(other), found, other)


def _durations(cells: pa.Array, kind: dict) -> np.ndarray:
    cells = _where(pc.match_substring_regex(cells, DURATION), cells)
    cells = pc.replace_substring_regex(pc.replace_substring(cells, ",", ""), "^([0-9]+:[0-9]+)$", r"\1:00")
    return pd.to_timedelta(cells.to_pandas(), errors="coerce").dt.total_seconds().to_numpy(copy=True)


PARSERS = {"number": _numbers, "flag": _flags, "date": _dates, "duration": _durations}


def days(stamps: pd.Series) -> np.ndarray:
    """Return days since 1970 in UTC; of microseconds, so that no unit of a container rounds another way."""
    moments = stamps.dt.tz_localize(None).to_numpy("datetime64[us]")
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6 / 86_400)

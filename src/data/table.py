"""Read a user's file as it is: separator, encoding and packing are found, and no cell loses a digit."""

import codecs
import csv
import io
import re
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from src.data.source import DAMAGED, not_empty, read_parquet, refuse_duplicates, refuse_foreign, unpacked
from src.system.errors import UserError, log, nearest, one_line
from src.system.tables import find_table, is_parquet

HEAD = 1 << 18  # bytes from which the separator is found
PLAIN = re.compile("utf-8|ascii|iso8859|cp125|latin")  # encodings in which , ; 0 and line ends are one byte
WORDS = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe|\xfe\xff": "utf-16"}
MARKS |= {b".\0.\0": "utf-16-le", b"\0.\0.": "utf-16-be"}


def read_table(path: str | Path, options: dict | None = None) -> pd.DataFrame:
    """Return a file, CSV or Parquet, or a folder of Parquet files, as a frame.

    options : the keys of ``dataset.read``, for CSV: separator, encoding, decimal, thousands, na_values,
        parse_dates; they mean what they mean for pandas, and are found where they are null
    """
    path = find_table(path)
    if is_parquet(path):
        return read_parquet(path)
    refuse_foreign(path)
    file = TextFile(path, options or {})
    try:
        return not_empty(file.read(), path)
    except (pd.errors.EmptyDataError, IndexError):
        raise UserError(f"{path} is empty") from None
    except (*DAMAGED, LookupError) as error:
        hint = ""
        if isinstance(error, pd.errors.ParserError | pd.errors.ParserWarning):
            hint = f"; its separator was {file.separator!r}, dataset.read.separator=... sets another"
        if isinstance(error, UnicodeError | LookupError):
            hint = f"; it was read as {file.encoding}, dataset.read.encoding=... sets another"
        raise UserError(f"{path} is not a readable CSV file: {one_line(error)}{hint}") from None


class TextFile:
    """A CSV file and how it is written; each pass opens it again, so that its text is never kept."""

    def __init__(self, path: Path, options: dict):
        self.path, self.options, self.notes, self.blanks = path, options, [], set()
        self.encoding, separator = options.get("encoding"), options.get("separator")
        self.separator, self.skip = WORDS.get(separator, separator), 0

    def read(self) -> pd.DataFrame:
        self.decoded(self.find_layout)
        frame = self.stripped(self.restored(self.decoded(self.parse)))
        self.tell()
        return frame

    def decoded(self, call):
        """Return what ``call`` returns, as cp1252, Windows' superset of Latin-1, if a letter is not UTF-8."""
        try:
            return call()
        except UnicodeDecodeError:
            if self.encoding != "utf-8" or self.options.get("encoding"):
                raise
            self.notes = ["not UTF-8, read as cp1252: if letters are wrong, set dataset.read.encoding"]
            self.encoding = "cp1252"
            return call()

    def tell(self) -> None:
        """Log how the file was read; an ordinary one needs no line."""
        shown = {"\t": "tab"}.get(self.separator, self.separator)
        if self.notes or self.separator != ",":
            log.info("file     %s", "; ".join([f"{self.path.name}, separator {shown}", *self.notes]))

    def open(self):
        """Return the file's bytes, unpacked, in an encoding whose separators are single bytes."""
        file = unpacked(self.path)
        if PLAIN.match(codecs.lookup(self.encoding).name):
            return file
        with file:
            return io.BytesIO(file.read().decode(self.encoding).encode())

    def find_layout(self) -> None:
        """Find encoding, separator and names; Excel's first line ``sep=;`` names the separator."""
        if self.encoding is None:
            with unpacked(self.path) as file:
                start = file.read(4)
            found = (name for mark, name in MARKS.items() if re.match(mark, start, re.S))
            self.encoding = next(found, "utf-8")
        with self.open() as file:
            head = file.read(HEAD)
        lines = head.decode("utf-8-sig", errors="replace").splitlines(keepends=True)
        lines = lines[:-1] if len(head) == HEAD else lines  # the last one is cut
        named = re.fullmatch(r'"?sep=(.)"?\s*', lines[0]) if lines else None
        self.skip, lines = (1, lines[1:]) if named else (0, lines)
        if self.separator is None:
            self.separator = named[1] if named else separator_of(lines[:200])
        first = {"header": None, "nrows": 1, "dtype": str, "na_filter": False, "skipinitialspace": True}
        raw = enumerate(self.pandas(**first).iloc[0])
        self.names = [name.strip() or f"Unnamed: {i}" for i, name in raw]
        refuse_duplicates(self.names, self.path)
        for row in rows_of(lines[:1000], self.separator):
            cells = zip(self.names, row, strict=False)
            self.blanks |= {name for name, cell in cells if cell != cell.strip()}

    def parse(self, **options) -> pd.DataFrame:
        """Return the rows."""
        given = self.options
        options |= {key: given[key] for key in ("decimal", "thousands") if given.get(key) is not None}
        if given.get("parse_dates") and "usecols" not in options:
            options["parse_dates"] = [self.known(str(name)) for name in given["parse_dates"]]
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            options["skipinitialspace"] = bool(self.blanks)  # a quarter slower; `stripped` does the rest
            return self.pandas(header=0, names=self.names, index_col=False, **options)

    def known(self, name: str) -> str:
        if name not in self.names:
            near = nearest(name, self.names)
            raise UserError(f"dataset.read.parse_dates={name}: {self.path} has no such column{near}")
        return name

    def pandas(self, **options) -> pd.DataFrame:
        """Call ``pandas.read_csv``, whose C parser takes a separator of one character."""
        one = {"sep": self.separator, "low_memory": False}
        options |= one if len(self.separator) == 1 else {"sep": re.escape(self.separator), "engine": "python"}
        encoding = self.encoding if PLAIN.match(codecs.lookup(self.encoding).name) else "utf-8"
        with self.open() as file:
            return pd.read_csv(
                file, encoding=encoding, skiprows=self.skip, keep_default_na=False, na_values=self.empty(),
                **options,
            )  # fmt: skip

    def restored(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with columns as text whose digits pandas changes: 007, 12345678901234567890."""
        names = [name for name in frame if may_lose(frame[name])]
        if not names:
            return frame
        texts = self.texts(names)
        if texts is None or len(texts) != len(frame):  # lines that Arrow counts or cuts in another way
            texts = self.parse(usecols=names, dtype=str)
        kept = [name for name in names if loses(texts[name], exact=frame[name].dtype.kind == "i")]
        for name in kept:
            frame[name] = texts[name].mask(texts[name].isin(self.empty()))
        if kept:
            self.notes.append(f"as text, to keep all digits: {', '.join(kept)}")
        return frame

    def texts(self, names: list[str]) -> pd.DataFrame | None:
        """Return columns as text, by Arrow in a third of pandas' time; None where it cannot cut the lines."""
        import pyarrow as pa
        from pyarrow import csv

        encoding = "utf8" if self.encoding.startswith("utf") else self.encoding
        lines = {"column_names": self.names, "skip_rows": self.skip, "encoding": encoding}
        convert = csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
        try:
            parse = csv.ParseOptions(delimiter=self.separator, newlines_in_values=True)
            with self.open() as file:
                table = csv.read_csv(file, csv.ReadOptions(use_threads=False, **lines), parse, convert)
        except (pa.ArrowException, ValueError):
            return None
        frame = table.slice(1).to_pandas()  # the first row holds the names
        return frame.apply(lambda cells: cells.str.strip()) if self.blanks else frame

    def stripped(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame without blanks around cells of text; a cell of blanks alone is empty."""
        for name in frame.columns[[isinstance(dtype, pd.StringDtype) for dtype in frame.dtypes]]:
            cells = frame[name].str.strip()
            if not cells.equals(frame[name]):
                frame[name] = cells.mask(cells.isin(self.empty()))
                self.blanks.add(name)
        if self.blanks:
            self.notes.append(f"blanks around names and cells left out: {', '.join(sorted(self.blanks))}")
        return frame

    def empty(self) -> list[str]:
        """Return the words that stand for an empty cell."""
        return ["", *map(str, self.options.get("na_values") or [])]


def separator_of(lines: list[str]) -> str:
    """Return the separator that gives most lines as many cells as the header; of several, most cells."""
    best, most = ",", (0, 1)
    for sign in ",;\t|":
        widths = list(map(len, rows_of(lines, sign, skipinitialspace=True))) or [0]
        share = round(widths.count(widths[0]) / len(widths), 1)
        if widths[0] > 1 and (share, widths[0]) > most:
            best, most = sign, (share, widths[0])
    return best


def rows_of(lines: list[str], separator: str, **options) -> list[list[str]]:
    """Return the cells of lines that are not empty; none where Python's csv cannot read a line."""
    with suppress(csv.Error, TypeError):  # TypeError: a separator of several signs
        return [row for row in csv.reader(lines, delimiter=separator, **options) if row]
    return []


def may_lose(column: pd.Series) -> bool:
    """Return whether pandas may have read whole numbers of more digits than it kept."""
    if column.dtype == object:
        return bool(column.map(type).eq(int).any())  # beyond 64 bits
    if column.dtype.kind != "f":
        return column.dtype.kind in "iu"
    x = column.dropna().to_numpy()
    return len(x) > 0 and bool((x[:1000] == np.floor(x[:1000])).all() and (x == np.floor(x)).all())


def loses(cells: pd.Series, exact: bool) -> bool:
    """Return whether a number loses signs of a cell: 007, +49123456, more than 2**53 if it is not exact."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.array(cells, pa.string())
    size = pc.binary_length(text)
    odd = pc.greater(size, 1e9 if exact else 15)
    for start in ("0", "+", "-0"):
        odd = pc.or_(odd, pc.and_(pc.starts_with(text, start), pc.greater(size, 1)))
    longer = pd.Series(text.filter(odd).to_pylist(), dtype=str)
    return bool(longer.str.fullmatch(r"[+-]?0\d+|\+\d{7,}" + ("" if exact else r"|[+-]?\d{16,}")).any())

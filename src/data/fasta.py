"""Read FASTA and FASTQ, packed or not: letters and headers go into two buffers, not into Python objects."""

import io
import math
import re
from array import array
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from src.data.source import DAMAGED, refuse_duplicates, unpacked
from src.data.table import read_table
from src.system.errors import UserError, log, one_line
from src.system.tables import find_table

LETTERS = bytes(range(65, 91)) + bytes(range(97, 123)) + b"*-. \t"
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
KEY = re.compile(r"(?:^|[\s;|])([A-Za-z_][\w.-]*)=")
SAMPLE = 1000  # headers, from the first on, that show which keys there are
TEXT = pd.StringDtype("pyarrow", na_value=float("nan"))


def read_fasta(path: str | Path, header: str | None = None, labels: str | None = None) -> pd.DataFrame:
    r"""Return columns id, sequence, one for each ``key=value`` of the headers, and those of ``labels``.

    header : a regular expression whose named groups become columns, ``(?P<label>\w+)$``
    labels : a table whose column id, or else its first one, holds the ids
    """
    ((frame, _),) = fasta_chunks(find_table(path), header, labels)
    return frame


def fasta_chunks(path: Path, header: str | None, labels: str | None, size: float = math.inf):
    """Yield (frame, share of the file that was read) after each ``size`` letters."""
    records, n = Records(path, size), 0
    try:
        with unpacked(path) as file:
            n_bytes = path.stat().st_size if type(file) is io.BufferedReader else math.inf
            for _ in records.read(file):
                if n and len(records.headers[1]) == 1:  # all of the last records were empty
                    continue
                frame = _frame(records, header)
                n += len(frame)
                yield _labelled(frame, labels) if labels else frame, records.n_bytes / n_bytes
    except DAMAGED as error:
        raise UserError(f"{path}, after line {records.line}: {one_line(error)}") from None


def _frame(records: "Records", header: str | None) -> pd.DataFrame:
    """Return the records that were read, and forget them."""
    path, empty = records.path, records.empty
    headers, sequences = (_texts(*buffers) for buffers in (records.headers, records.letters))
    records.forget()
    if not len(headers):
        raise UserError(f"{path}, line {records.line}: the file ends without a sequence")
    columns = _of_headers(headers, header)
    refuse_duplicates([*columns, "sequence"], f"a header of {path}")
    frame = pd.DataFrame(columns | {"sequence": pd.Series(sequences, dtype=TEXT)})
    twice = len(frame) - frame["id"].nunique()
    notes = [f"{twice:,} ids occur again"] if twice else []
    notes += [f"{len(empty):,} records without letters left out, first in line {empty[0]}"] if empty else []
    log.info("file     %s", "; ".join([f"{path.name}, {len(frame):,} sequences", *notes]))
    return frame


class Records:
    """The records of a file as they are read; a mistake is refused with its line and its reason."""

    def __init__(self, path: Path, size: float):
        self.path, self.size, self.line, self.began, self.n_bytes = path, size, 0, None, 0
        self.forget()

    def forget(self) -> None:
        self.headers, self.letters = ((bytearray(), array("q", [0])) for _ in range(2))  # texts, their ends
        self.empty = []

    def read(self, file):
        """Yield after each ``size`` letters, and at the end."""
        lines = self.lines(file)
        for line in lines:
            if line.startswith(b"@") and self.began is None:
                yield from self.fastq(line, lines)
                break
            if line.startswith(b">"):
                self.end()
                if len(self.letters[0]) > self.size:
                    yield
                self.begin(line)
            elif line and not line.startswith(b";"):  # a comment of old files
                self.add(line)
        else:
            self.end()
        yield

    def lines(self, file):
        """Yield lines without their ends, and count them."""
        for self.line, raw in enumerate(file, start=1):
            self.n_bytes += len(raw)
            line = raw.rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf" if self.line == 1 else b"")
            if b"\r" in line:
                raise self.mistake("it holds a CR: lines should end in LF")
            yield line

    def fastq(self, line: bytes | None, lines):
        """Read records of four lines: @header, letters, +, as many signs of quality; yield as `read` does."""
        while line is not None:
            if len(self.letters[0]) > self.size:
                yield
            self.begin(line, b"@")
            sequence, plus, quality = (next(lines, None) for _ in range(3))
            if quality is None or not plus.startswith(b"+") or len(quality) != len(sequence):
                raise self.mistake("a record should be @header, letters, + and as many signs of quality")
            self.add(sequence)
            self.end()
            line = next((line for line in lines if line), None)

    def begin(self, line: bytes, mark: bytes = b">") -> None:
        if not line.startswith(mark) or CONTROL.search(line):
            raise self.mistake(f"a header should begin with {mark.decode()}, without control characters")
        try:
            line.decode()
        except UnicodeDecodeError:
            raise self.mistake("the header is not UTF-8") from None
        self.header, self.began = line[1:].strip(), self.line

    def add(self, line: bytes) -> None:
        if self.began is None:
            raise self.mistake("a sequence comes before the first header, which begins with >")
        if wrong := line.translate(None, LETTERS):
            raise self.mistake(f"{wrong[:1].decode('latin-1')!r} is no letter of a sequence")
        self.letters[0].extend(line.translate(None, b" \t"))

    def end(self) -> None:
        """Close a record; one without letters is left out, as nothing can be learned from it."""
        if self.began and len(self.letters[0]) == self.letters[1][-1]:
            self.empty.append(self.began)
        elif self.began:
            self.headers[0].extend(self.header)
            for texts, ends in (self.headers, self.letters):
                ends.append(len(texts))

    def mistake(self, reason: str) -> UserError:
        return UserError(f"{self.path}, line {self.line}: {reason}")


def _texts(texts: bytearray, ends: array) -> pa.Array:
    return pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(texts))


def _of_headers(headers: pa.Array, pattern: str | None) -> dict[str, pd.Series]:
    """Return the columns of the headers: id, the first word, and those of a pattern or of ``key=value``."""
    columns = _groups(headers, r"^(?P<id>\S*)")
    try:
        columns |= _groups(headers, pattern) if pattern else {}
    except (re.error, pa.ArrowException) as error:
        what = f"no regular expression with named groups, such as (?P<label>\\w+): {one_line(error)}"
        raise UserError(f"dataset.header={pattern} is {what}") from None
    if pattern and all(column.isna().all() for name, column in columns.items() if name != "id"):
        like = f"a named group, such as (?P<label>\\w+), and fit headers like {headers[0].as_py()[:80]!r}"
        raise UserError(f"dataset.header={pattern} should have {like}")
    for key in dict.fromkeys(key for text in headers[:SAMPLE].to_pylist() for key in KEY.findall(text)):
        value = rf"(?:^|[\s;|]){re.escape(key)}=(?P<value>.*?)\s*(?:[;|]|\s[A-Za-z_][\w.-]*=|$)"
        columns.setdefault(key, _groups(headers, value)["value"])
    return columns


def _groups(texts: pa.Array, pattern: str) -> dict[str, pd.Series]:
    """Return the named groups of each text, empty where the pattern does not fit."""
    found, names = pc.extract_regex(texts, pattern), re.compile(pattern).groupindex
    return {name: pd.Series(pc.struct_field(found, name), dtype=TEXT) for name in names}


def _labelled(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the frame with the columns of a table, row by row of the same id."""
    table = read_table(path)
    key = "id" if "id" in table else table.columns[0]
    table.index = table.pop(key).astype(str)
    if table.index.has_duplicates:
        raise UserError(f"{path} holds the {key} {table.index[table.index.duplicated()][0]} twice")
    known = frame["id"].isin(table.index).sum()
    if not known:
        raise UserError(f"{path}: no {key} ({table.index[0]}) is that of a sequence ({frame['id'].iloc[0]})")
    log.info("labels   %s, for %d of %d sequences", Path(path).name, known, len(frame))
    refuse_duplicates(["id", "sequence", *table], path)
    return frame.assign(**{name: table[name].reindex(frame["id"]).array for name in table})

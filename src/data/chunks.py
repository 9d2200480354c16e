"""New rows of a file some at a time, each read as the whole file is, so that no file is too large."""

import functools
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from src.data.fasta import fasta_chunks
from src.data.load import read_and_etl
from src.data.source import DAMAGED, check_frame, parts_of, refuse_foreign, valid
from src.data.table import TextFile
from src.system.errors import UserError, one_line
from src.system.tables import find_table, is_fasta, is_parquet

N_BYTES = 16 << 20  # of text that is read at once: a frame of it and its arrays take about 150 MB
N_ROWS = 100_000  # of a Parquet file
TABLES = (".csv", ".tsv", ".txt", ".parquet")  # which may also hold the rows for a run on a FASTA file
READERS = ("csv", "parquet", "fasta", "genome")  # datasets whose files can be read in pieces


def chunks(path: str | Path, dataset: dict) -> Iterator[tuple[pd.DataFrame, float]]:
    """Yield rows of a file and the share of it that was read; the index counts on from one to the next.

    dataset : the section of a config; a reader that is not one of `READERS` takes the whole file at once
    """
    reader, n = dataset.get("reader") or dataset["name"], 0
    if reader == "genome" and not is_fasta(path) and Path(path).suffix not in TABLES:
        found = [(read_and_etl(dataset)[0](dataset | {"bed": str(path)}), 1.0)]
    elif "path" in dataset and (reader not in READERS or (reader == "csv" and dataset.get("read") is None)):
        found = [(read_and_etl(dataset)[0](dataset | {"path": str(path)}), 1.0)]
    elif is_fasta(path) or (reader == "fasta" and Path(path).suffix not in TABLES):
        found = fasta_chunks(find_table(path), dataset.get("header"), dataset.get("labels"), N_BYTES)
    elif is_parquet(path):
        found = _of_parquet(find_table(path))
    else:
        found = _of_text(find_table(path), dataset.get("read") or {})
    for frame, share in found:
        frame = check_frame(frame)
        yield frame.set_axis(pd.RangeIndex(n, n + len(frame))), share
        n += len(frame)
    if not n:
        raise UserError(f"{path} has no rows")


def _of_parquet(path: Path) -> Iterator[tuple[pd.DataFrame, float]]:
    try:
        with parts_of(path) as (schema, _, batches, n_rows):
            names, n = [name for name in schema.names if not name.startswith("__index_level_")], 0
            for batch in batches(batch_size=N_ROWS, columns=names):
                n += len(batch)
                columns = {name: valid(batch.column(name)).to_pandas() for name in names}
                if len(batch):
                    yield pd.DataFrame(columns, copy=False), n / n_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {one_line(error)}") from None


def _of_text(path: Path, options: dict) -> Iterator[tuple[pd.DataFrame, float]]:
    """Yield the rows of a CSV file; a column that is text in the first rows stays text."""
    refuse_foreign(path)
    file, line, texts = TextFile(path, options), 0, {}
    try:
        file.decoded(file.find_layout)
        for block, share in _blocks(file):
            file.open = functools.partial(io.BytesIO, block)
            frame = file.stripped(file.restored(file.decoded(functools.partial(file.parse, dtype=texts))))
            if not line:
                file.tell()
            other = set(frame) - set(map(str, options.get("parse_dates") or ()))
            texts |= {name: str for name in other if isinstance(frame[name].dtype, pd.StringDtype)}
            line += block.count(b"\n") - 1 - file.skip
            if len(frame):
                yield frame, share
    except (pd.errors.EmptyDataError, IndexError):
        raise UserError(f"{path} is empty") from None
    except (*DAMAGED, LookupError) as error:
        where = re.sub(r"line (\d+)", lambda found: f"line {int(found[1]) + line}", one_line(error))
        if isinstance(error, pd.errors.ParserWarning):
            where = f"line {line + 2 + file.skip} has more cells than the {len(file.names)} of the header"
        raise UserError(f"{path} is not a readable CSV file: {where}") from None


def _blocks(file: TextFile) -> Iterator[tuple[bytes, float]]:
    """Yield blocks of whole rows, each below a header, and the share of the file that was read."""
    before = rb"(?:\A|(?<=\n)|(?<=%s)) *" % re.escape(file.separator.encode())
    quoted = re.compile(before + rb'"[^"]*(?:""[^"]*)*("|\Z)')
    rest, read, header = b"", 0, b""
    with file.open() as stream:
        size = file.path.stat().st_size if type(stream) is io.BufferedReader else math.inf  # inf: packed
        while new := stream.read(N_BYTES):
            read += len(new)
            rest += new
            if end := _last_row(rest, quoted):
                yield header + rest[:end], read / size
                header = b"x\n" * file.skip + file.separator.join("x" * len(file.names)).encode() + b"\n"
                rest = rest[end:]
    if rest.strip():
        yield header + rest, 1.0


def _last_row(block: bytes, quoted: re.Pattern) -> int:
    """Return where the last whole row ends: at a line end that is not within quotes; 0 if there is none."""
    end = block.rfind(b"\n") + 1
    for start, stop in reversed([one.span() for one in quoted.finditer(block)] if b'"' in block else []):
        if start < end <= stop:
            end = block.rfind(b"\n", 0, start) + 1
    return end

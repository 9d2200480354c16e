"""Read tables from files and fetch public ones, each failure in one sentence."""

import bz2
import csv
import gzip
import importlib.util
import lzma
import re
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from src.system.errors import UserError, one_line
from src.system.paths import data_dir
from src.system.tables import find_table

# of a damaged CSV file, packed or not
DAMAGED = (ValueError, Warning, OSError, EOFError, csv.Error, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
FOREIGN = {".xlsx": "an Excel file", ".xls": "an Excel file", ".ods": "a spreadsheet", ".7z": "a 7z archive"}
FOREIGN |= dict.fromkeys((".tar", ".tgz", ".tbz2", ".txz"), "a tar archive")
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zX": lzma.open}


def find_files(folder: str, *names: str) -> list[Path] | None:
    """Return the files ``data_dir()/folder/name``, or None if one is missing."""
    paths = [data_dir() / folder / name for name in names]
    return paths if all(path.is_file() for path in paths) else None


def find_in_sklearn(name: str) -> Path:
    """Return a data file of scikit-learn, found without importing it: 1.5 s, which a torch run saves."""
    (place,) = importlib.util.find_spec("sklearn").submodule_search_locations
    return Path(place) / "datasets" / "data" / name


def download(url: str, checksum: str, folder: str) -> Path:
    """Fetch ``url`` once into ``data_dir()/folder``, with a progress bar; ``checksum`` as ``sha256:...``."""
    import pooch

    target, name = data_dir() / folder, url.rpartition("/")[2]
    try:
        return Path(pooch.retrieve(url, checksum, fname=name, path=target, progressbar=True))
    except ValueError as error:  # pooch raises it for a wrong checksum, and keeps no such file
        raise UserError(f"{url} is not the file that was expected ({str(error).splitlines()[0]})") from None
    except (OSError, ImportError) as error:
        raise UserError(f"{url} could not be fetched into {target}: {one_line(error)}") from None


def read_csv(path: str | Path, sep: str = ",", **options) -> pd.DataFrame:
    """Return a CSV file (also .gz, .zip, .bz2, .xz) as a frame, read with pandas' ``options``."""
    path = find_table(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    plain = {"sep": sep, "low_memory": False}  # pandas' C parser takes a separator of one character
    options |= plain if len(sep) == 1 else {"sep": re.escape(sep), "engine": "python"}
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0].tolist()
        refuse_duplicates(header, path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return not_empty(pd.read_csv(path, index_col=False, **options), path)
    except (pd.errors.EmptyDataError, IndexError):
        raise UserError(f"{path} is empty") from None
    except DAMAGED as error:
        hint = "set dataset.separator if it is not a comma; the file must be UTF-8"
        raise UserError(f"{path} is not a readable CSV file: {one_line(error)}; {hint}") from None


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Return a Parquet file, or all files of a folder (``year=2020/`` becomes a column), as a frame."""
    import pyarrow as pa

    path = find_table(path)
    try:
        with parts_of(path) as (schema, read, *_):  # column by column: the whole would be in memory twice
            names = [name for name in schema.names if not name.startswith("__index_level_")]
            refuse_duplicates(names, path)
            columns = {name: valid(read(columns=[name]).column(0)).to_pandas() for name in names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {one_line(error)}") from None
    return not_empty(pd.DataFrame(columns, copy=False), path)


def valid(read):
    """Return what was read of a Parquet file; a damaged one may hold text that only later is no UTF-8."""
    read.validate(full=True)
    return read


def refuse_foreign(path: Path) -> None:
    for suffix in map(str.lower, path.suffixes):
        if suffix in FOREIGN:
            raise UserError(f"{path} is {FOREIGN[suffix]}: save its table as a CSV file and name that")


def unpacked(path: Path):
    """Return the open file, unpacked where its first bytes say so; of a zip the only table in it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    with path.open("rb") as file:
        start = file.read(4)
    for mark, opener in OPENERS.items():
        if start.startswith(mark):
            return opener(path)
    if start == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa  # Python has no zstd before 3.14

        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    if start != b"PK\x03\x04":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    if len(names) != 1:
        raise ValueError(f"the zip holds {len(names)} files ({', '.join(names[:5])}) instead of one")
    return archive.open(names[0])


@contextmanager
def parts_of(path: Path):
    """Yield the schema of a Parquet file, or of a folder of them, functions that read columns and batches of
    rows, and the number of rows.
    """
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    if path.is_dir():
        files = sorted(map(str, path.rglob("*.parquet")))
        if not files:
            raise UserError(f"{path} is a folder without Parquet files: name a file")
        whole = ds.dataset(files, format="parquet", partitioning="hive", partition_base_dir=str(path))
        if len({tuple(part.physical_schema.names) for part in whole.get_fragments()}) > 1:
            raise UserError(f"the files in {path} have different columns: name one file")
        yield whole.schema, whole.to_table, whole.to_batches, whole.count_rows()
    else:
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow, file.read, file.iter_batches, file.metadata.num_rows


def check_frame(frame) -> pd.DataFrame:
    """Return a user's frame with plain text as column names; refuse duplicates."""
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"data must be a pandas DataFrame, not {type(frame).__name__}")
    if isinstance(frame.columns, pd.MultiIndex):
        raise UserError("the frame has columns of several levels; flatten them first")
    frame = frame.rename(columns=str)
    refuse_duplicates(frame.columns.tolist(), "the frame")
    return not_empty(frame, "the frame")


def refuse_duplicates(header: list, where) -> None:
    twice = sorted({str(name) for name in header if header.count(name) > 1 and not pd.isna(name)})
    if twice:
        raise UserError(f"{where} names a column twice: {', '.join(twice)}; rename one of them")


def not_empty(frame: pd.DataFrame, where) -> pd.DataFrame:
    if not len(frame) or not len(frame.columns):
        raise UserError(f"{where} has no rows")
    return frame

"""Reads tables from files and fetches public ones, each failure in one sentence."""

import csv
import importlib.util
import logging
import lzma
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import pandas as pd

from src.system.errors import UserError
from src.system.paths import data_dir

log = logging.getLogger("reprise")


def find(folder: str, *names: str) -> list[Path] | None:
    """The files ``data_dir()/folder/name``, or None if one is missing."""
    paths = [data_dir() / folder / name for name in names]
    return paths if all(path.is_file() for path in paths) else None


def download(url: str, checksum: str, folder: str) -> Path:
    """Fetch ``url`` once into ``data_dir()/folder``, with a progress bar; ``checksum`` as ``sha256:...``.

    Raises
    ------
    UserError
        when the source cannot be reached or what came is not what was expected.
    """
    import pooch

    target = data_dir() / folder
    try:
        return Path(pooch.retrieve(url, checksum, fname=url.rpartition("/")[2], path=target, progressbar=True))
    except ValueError as error:  # pooch's word for a wrong checksum; it keeps no such file
        raise UserError(f"{url} is not the file that was expected ({str(error).splitlines()[0]})") from None
    except (OSError, ImportError) as error:
        raise UserError(f"{url} could not be fetched into {target}: {_short(error)}") from None


def of_sklearn(name: str) -> Path:
    """A file that scikit-learn carries, found without importing it: that takes seconds, which a torch run saves."""
    (place,) = importlib.util.find_spec("sklearn").submodule_search_locations
    return Path(place) / "datasets" / "data" / name


def read_csv(path: str | Path, sep: str = ",", **options) -> pd.DataFrame:
    """A CSV file (also .gz, .zip, .bz2, .xz) as a frame; pandas' ``options``. Duplicate headers are refused."""
    path = _existing(path)
    if len(sep) == 1:
        options |= {"sep": sep, "low_memory": False}
    else:
        options |= {"sep": re.escape(sep), "engine": "python"}
    try:
        first = {name: value for name, value in options.items() if name != "low_memory"}
        _refuse_duplicates(pd.read_csv(path, header=None, nrows=1, dtype=str, **first).iloc[0].tolist(), path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(path, index_col=False, **options)
    except (pd.errors.EmptyDataError, IndexError):
        raise UserError(f"{path} is empty") from None
    except (ValueError, Warning, OSError, EOFError, csv.Error, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        hint = "its separator is said by dataset.separator, its encoding has to be UTF-8"
        raise UserError(f"{path} is not a readable CSV file: {_short(error)}; {hint}") from None
    return _not_empty(frame, path)


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A Parquet file as a frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _existing(path)
    try:
        with pq.ParquetFile(path) as file:  # a column at a time: the whole table would be held twice
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            _refuse_duplicates(names, path)
            columns = {name: file.read(columns=[name]).column(0).to_pandas() for name in names}
        frame = pd.DataFrame(columns, copy=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {_short(error)}") from None
    return _not_empty(frame, path)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    for candidate in (path, data_dir() / path):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    raise UserError(f"no file {path} (looked from {Path.cwd()} and in {data_dir()})")


def _refuse_duplicates(header: list, where) -> None:
    twice = sorted({str(name) for name in header if header.count(name) > 1 and not pd.isna(name)})
    if twice:
        raise UserError(f"{where} names a column twice: {', '.join(twice)}; rename one of them")


def check_frame(frame) -> pd.DataFrame:
    """A user's frame with plain text column names, duplicates refused."""
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"data must be a pandas DataFrame, not {type(frame).__name__}")
    if isinstance(frame.columns, pd.MultiIndex):
        raise UserError("the frame has columns of several levels; flatten them first")
    frame = frame.rename(columns=str)
    _refuse_duplicates(frame.columns.tolist(), "the frame")
    return _not_empty(frame, "the frame")


def _not_empty(frame: pd.DataFrame, where) -> pd.DataFrame:
    if not len(frame) or not len(frame.columns):
        raise UserError(f"{where} has no rows")
    return frame


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

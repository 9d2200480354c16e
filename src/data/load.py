"""From the name of a dataset to its arrays: read, ETL, cut, shape."""

import importlib
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd

from src.data import versions
from src.data.code import Closure
from src.data.digest import digest
from src.data.fasta import read_fasta
from src.data.prepare import Data, cut, shape
from src.data.rows import recipe
from src.data.source import check_frame
from src.data.table import read_table
from src.data.versions import etl
from src.system.code import locate
from src.system.errors import UserError
from src.system.paths import data_dir
from src.system.tables import find_table, is_fasta, is_parquet, places


def read_and_etl(dataset: str | dict):
    """Return ``read(cfg)`` and ``etl(df, ...)`` of a dataset, by its name or its section of the config.

    A file's dataset has the file's name and the reader's functions; the user's own may name its ``function``.
    """
    if isinstance(dataset, dict) and dataset.get("function"):
        read, module = locate(dataset["function"]), sys.modules[dataset["function"].rpartition(".")[0]]
        return read, getattr(module, "etl", etl)
    name = dataset if isinstance(dataset, str) else dataset.get("reader") or dataset["name"]
    module = importlib.import_module(f"src.dataset.{name}")
    return module.read, getattr(module, "etl", etl)


def load_frame(dataset: dict, frame=None, origin=None) -> tuple[pd.DataFrame, dict]:
    """Return a dataset's table, or ``frame``, after the ETL, and the record of its version.

    The record's "path" is where the file was found. Its "recipe" is what new rows need to go through the same
    ETL; None if it changes nothing.

    origin : as in `read_dataset`; "output", a digest: a table that differs from it after the ETL is refused
    """
    name = dataset["name"]
    function = read_and_etl(dataset)[1]
    if frame is None:
        raw, path = read_dataset(dataset, origin)
    else:
        raw, path = check_frame(frame), None
    location = path or ("memory" if frame is not None else f"dataset={name}")
    dataset = dataset | {"path": path} if path else dataset
    if dataset["etl"] is None:
        made, record = versions.run_versioned(name, function, raw, location, dataset["args"], dataset)
    else:
        record = versions.read_version(name, dataset["etl"])
        made = versions.replay(record, raw)
    wanted = (origin or {}).get("output")
    if wanted and record["output"] != wanted:
        changed = "its ETL, or a library" if record["input"] == origin["input"] else "the data"
        raise UserError(
            f"{changed} has changed since ({dataset.get('path') or name}: digest {record['output']}, it was "
            f"{wanted}): bring it back; src.resume also takes changed=true, to go on with the data as it is"
        )
    same = record["code"] == Closure(etl).digest
    extra = {"recipe": None if same else recipe(record, raw), "path": dataset.get("path")}
    return check_frame(made), record | extra


def known_recipe(info: dict) -> dict | None:
    """Return the version here that made an older run's data, whose files do not hold it; None if unknown."""
    for name in versions.complete_versions(info["dataset"]):
        record = versions.read_version(info["dataset"], name)
        if record["output"] == info["digest"] and record["code"] != Closure(etl).digest:
            return record
    return None


def read_dataset(dataset: dict, origin: dict | None = None) -> tuple[pd.DataFrame, str | None]:
    """Return the table of a dataset, and where its file was found; None if it names no file.

    origin : of a table that was read before: its digest, "input" (None: unknown), and "folders" where the
        file may be now. A file that holds that table is preferred, and one that was moved must hold it
    """
    read, known, path = read_and_etl(dataset)[0], origin or {}, dataset.get("path")
    if not path:
        return check_frame(read(dataset)), None
    found, wanted = list(map(str, places(path, known.get("folders")))), known.get("input")
    for place in found if wanted else ():
        with suppress(UserError):
            raw = check_frame(read(dataset | {"path": place}))
            if digest(raw) == wanted:
                return raw, place
    if found and (not wanted or places(path)):
        return check_frame(read(dataset | {"path": found[0]})), found[0]
    try:
        if found:
            raise UserError(f"{', '.join(found)} holds other data")
        return check_frame(read(dataset)), path
    except UserError as error:
        if origin is None:
            raise
        reason = error if found else f"nor in {data_dir()}, {', '.join(known['folders'])}"
        raise UserError(f"no file {path}, {reason}; name it where it is now with dataset.path=...") from None


def read_input(data) -> tuple[pd.DataFrame, str]:
    """Return (frame, location) of a frame in memory, or of the path of a CSV, Parquet or FASTA file."""
    if not isinstance(data, str | Path):
        return check_frame(data), "memory"
    path = find_table(data).resolve()
    return check_frame(read_fasta(path) if is_fasta(path) else read_table(path)), str(path)


def reload_etl(dataset: str, version: str, data=None) -> pd.DataFrame:
    """Make the data of a version again by its recorded code from its recorded input, and prove it equal.

    data : the input, a DataFrame or a path, if it was a frame in memory or has moved
    """
    record = versions.read_version(dataset, version)
    cfg, location = record["cfg"], record["location"]
    if data is None and location == "memory":
        raise UserError(f"{dataset} {version} was made from a frame in memory: pass it again with data=df")
    if cfg is None and location != "memory":  # recorded before files were read as they are
        cfg = {"reader": "parquet" if is_parquet(location) else "csv", "path": location, "separator": ","}
    if isinstance(data, str | Path) and cfg and "path" in cfg:
        data, cfg = None, cfg | {"path": str(data)}
    if data is None:
        data, _ = read_dataset(cfg, {"input": record["input"], "folders": [str(Path.cwd())]})
    return versions.replay(record, read_input(data)[0])


def load_data(
    dataset: dict, *, scaler: str, class_weight, seed: int, frame=None, origin=None, cv=None, cuts=None,
) -> Data:  # fmt: skip
    """Return the arrays of a dataset; the options are those of `cut` and `shape`, ``origin`` see below.

    cv : of a run that is one fold, ``cv["fold"]``
    cuts : table, record and rows, where the folds of a run share the work
    """
    table, record, rows = cuts or fold_of(*load_frame(dataset, frame, origin), dataset, seed, cv)
    return arrays_of(table, rows, record, dataset, scaler=scaler, class_weight=class_weight)


def fold_of(table: pd.DataFrame, record: dict, dataset: dict, seed: int, cv: dict | None) -> tuple:
    """Return table, record and the rows of each part, those of the fold ``cv["fold"]`` if there is one."""
    rows = cut(table, dataset, seed, cv)
    if cv and cv["fold"] >= len(rows):
        raise UserError(f"cv.fold={cv['fold']}: there are {len(rows)} folds, from 0 to {len(rows) - 1}")
    return table, record, rows[cv["fold"]] if cv else rows


def arrays_of(frame: pd.DataFrame, rows: dict, record: dict, dataset: dict, **options) -> Data:
    """Return the arrays of a table of which `cut` has made ``rows``, and where it came from."""
    found = {"etl_version": record["version"], "data_digest": record["output"]}
    data = shape(frame, rows, dataset, **options, **found)
    data.transforms["etl"] = record["recipe"]
    data.source = source_of(record)
    return data


def source_of(record: dict) -> dict:
    return {"input_path": record["path"], "input_digest": record["input"]}

"""From the name of a dataset to its arrays: read, ETL, cut, shape."""

import importlib
from pathlib import Path

import pandas as pd

from src.data import versions
from src.data.code import Closure
from src.data.prepare import Data, cut, shape
from src.data.rows import recipe
from src.data.source import check_frame
from src.data.table import read_table
from src.system.errors import UserError
from src.system.tables import find_table, is_parquet


def etl(df: pd.DataFrame) -> pd.DataFrame:
    """Return ``df`` as it is: the ETL of a dataset whose file has none."""
    return df  # name, annotations and body give the code's digest, which recorded versions know


def read_and_etl(dataset: str | dict):
    """Return ``read(cfg)`` and ``etl(df, ...)`` of a dataset, by its name or its section of the config.

    A file's dataset has the file's name, and the reader's functions.
    """
    name = dataset if isinstance(dataset, str) else dataset.get("reader") or dataset["name"]
    module = importlib.import_module(f"src.dataset.{name}")
    return module.read, getattr(module, "etl", etl)


def load_frame(dataset: dict, frame=None) -> tuple[pd.DataFrame, dict]:
    """Return a dataset's table, or ``frame``, after the ETL, and the record of its version.

    The record's "recipe" is what new rows need to go through the same ETL; None if it changes nothing.
    """
    name = dataset["name"]
    read, function = read_and_etl(dataset)
    location = dataset.get("path") or (f"dataset={name}" if frame is None else "memory")
    raw = check_frame(read(dataset) if frame is None else frame)
    if dataset["etl"] is None:
        made, record = versions.run_versioned(name, function, raw, location, dataset["args"], dataset)
    else:
        record = versions.read_version(name, dataset["etl"])
        made = versions.replay(record, raw)
    same = record["code"] == Closure(etl).digest
    return check_frame(made), record | {"recipe": None if same else recipe(record, raw)}


def known_recipe(info: dict) -> dict | None:
    """Return the version here that made an older run's data, whose files do not hold it; None if unknown."""
    for name in versions.complete_versions(info["dataset"]):
        record = versions.read_version(info["dataset"], name)
        if record["output"] == info["digest"] and record["code"] != Closure(etl).digest:
            return record
    return None


def read_input(data) -> tuple[pd.DataFrame, str]:
    """Return (frame, location) of a frame in memory, or of the path of a CSV or Parquet file."""
    if not isinstance(data, str | Path):
        return check_frame(data), "memory"
    path = find_table(data).resolve()
    return check_frame(read_table(path)), str(path)


def reload_etl(dataset: str, version: str, data=None) -> pd.DataFrame:
    """Make the data of a version again by its recorded code from its recorded input, and prove it equal.

    data : DataFrame or path, optional
        the input, if it was a frame in memory or has moved
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
        read, _ = read_and_etl(cfg)
        data = read(cfg)
    return versions.replay(record, read_input(data)[0])


def load_data(dataset: dict, *, scaler: str, class_weight, seed: int, frame=None) -> Data:
    """Return the arrays of a dataset; the options are those of `cut` and `shape`."""
    frame, record = load_frame(dataset, frame)
    origin = {"etl_version": record["version"], "data_digest": record["output"]}
    rows = cut(frame, dataset, seed)
    data = shape(frame, rows, dataset, scaler=scaler, class_weight=class_weight, **origin)
    data.transforms["etl"] = record["recipe"]
    return data

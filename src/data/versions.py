"""Versions of data: ``v1``, ``v2``, ... of what an ETL made, one for each code, arguments and input.

``outputs/etl/<dataset>/v2/`` holds ``etl.py`` (the function with all it uses) and ``version.json``; the data
stays in memory.
"""

import hashlib
import inspect
import json
import math
import re
import time
from difflib import unified_diff
from pathlib import Path
from types import FunctionType

import pandas as pd

from src.data.code import Closure, load_function
from src.data.digest import column_digests, digest, whole_digest
from src.system.code import point_out
from src.system.errors import UserError, log, printable
from src.system.files import hidden, locked, read_json, write_json, write_text
from src.system.paths import next_version, outputs, versions_in

WHY = "a library has changed, or it draws random numbers without a seed"


def folder() -> Path:
    return outputs() / "etl"


def etl(df: pd.DataFrame) -> pd.DataFrame:
    """Return ``df`` as it is: the ETL of a dataset whose file has none."""
    return df  # name, annotations and body give the code's digest, which recorded versions know


def run_versioned(dataset: str, function, raw: pd.DataFrame, location: str, arguments=None, cfg=None):
    """Call ``function(raw, **arguments)`` and give its result a version: the old one if nothing has changed.

    Returns what the function made, and its record: "version" ("v2"), "output" (its digest), ...

    dataset : whose versions these are
    location : where ``raw`` came from, for people: a path, "dataset=adult", or "memory"
    cfg : the dataset section of the config, to read the input again
    """
    arguments = arguments or {}
    if not re.fullmatch(r"[\w-]+", dataset):  # it names a folder
        raise UserError(f"{dataset!r} cannot name an ETL: use letters, digits, _ and -")
    if not _is_plain(arguments):
        shown = " ".join(str(arguments).split())[:200]
        raise UserError(f"arguments of an ETL should be plain values that JSON can hold: {shown}")
    if not isinstance(function, FunctionType):
        raise UserError(f"an ETL is a plain function written with def, not a {type(function).__name__}")
    closure, input_digests, input_columns = Closure(function), column_digests(raw), _schema(raw)
    frame = call(function, raw, arguments)
    output = whole_digest(input_digests if function is etl else column_digests(frame))
    record = {
        "dataset": dataset, "function": function.__name__, "code": closure.digest, "arguments": arguments,
        "input": whole_digest(input_digests), "output": output, "location": location, "cfg": cfg,
        "input_rows": len(raw), "rows": len(frame), "input_columns": input_columns, "columns": _schema(frame),
    }
    version = register(record, closure.text)
    if read_json(folder() / dataset / version / "version.json")["output"] != output:
        log.warning("%s %s makes something else than when it was recorded: %s", dataset, version, WHY)
    return frame, record | {"version": version, "source": closure.text}


def register(record: dict, text: str) -> str:
    """Return the version of a record: known, or the next number. Processes may register at once."""
    dataset, key = record["dataset"], _key(record)
    with locked(folder() / ".lock"):
        for name in complete_versions(dataset):
            if _key(read_json(folder() / dataset / name / "version.json")) == key:
                return name
        made = time.strftime("%Y-%m-%d %H:%M:%S")
        with next_version(folder() / dataset, "v") as path:
            part = hidden(path)
            part.mkdir()
            write_text(part / "etl.py", text)
            write_json(part / "version.json", {"version": path.name, **record, "made": made})
            part.rename(path)
        return path.name


def datasets() -> list[str]:
    """Return the names of the datasets that have versions."""
    return [path.name for path in sorted(folder().glob("*")) if complete_versions(path.name)]


def read_version(dataset: str, version: str) -> dict:
    """Return the record of one version, its code under "source"."""
    path = folder() / dataset / version
    if not (path / "version.json").is_file():
        known = ", ".join(complete_versions(dataset)) or "none"
        raise UserError(f"dataset {dataset} has no ETL version {version}; known: {known}")
    return read_json(path / "version.json") | {"source": (path / "etl.py").read_text(encoding="utf-8")}


def complete_versions(dataset: str) -> list[str]:
    """Return the versions of a dataset, ascending, without those that a kill left half-made."""
    names = (f"v{number}" for number in versions_in(folder() / dataset, "v"))
    return [name for name in names if (folder() / dataset / name / "version.json").is_file()]


def replay(record: dict, raw: pd.DataFrame) -> pd.DataFrame:
    """Run a version's recorded code on ``raw``; refuse where its input or its output is not what it was."""
    version = f"{record['dataset']} {record['version']}"
    if digest(raw) != record["input"]:
        rows = f"{record['input_rows']:,} rows then, {len(raw):,} now"
        raise UserError(f"{version}: the input has changed since ({record['location']}: {rows})")
    frame = call(load_function(record["source"], record["function"]), raw, record["arguments"])
    if digest(frame) != record["output"]:
        raise UserError(f"{version}: its recorded code makes something else now: {WHY}")
    return frame


def listing(dataset: str) -> str:
    """Return a line for each version: rows, columns, input, when it was made."""
    names = complete_versions(dataset)
    if not names:
        raise UserError(f"dataset {dataset} has no ETL version; known: {', '.join(datasets()) or 'none'}")
    lines = [dataset]
    for record in (read_version(dataset, name) for name in names):
        arguments = " ".join(f"{key}={value}" for key, value in record["arguments"].items())
        shape = f"{record['rows']:>10,} x {len(record['columns']):<4} output {record['output']}"
        lines.append(f"  {record['version']:5} {record['made']}  {shape}  {record['location']} {arguments}")
    return "\n".join(map(printable, lines))


def difference(dataset: str, old: str, new: str) -> str:
    """Return what changed between two versions: arguments, input, rows, columns, and the code as a diff."""
    a, b = read_version(dataset, old), read_version(dataset, new)
    lines = []
    titles = {"arguments": "arguments", "input": "input digest", "location": "input", "rows": "rows"}
    for key, title in titles.items():
        if a[key] != b[key]:
            lines.append(f"{title}: {a[key]} -> {b[key]}")
    before, after = a["columns"], b["columns"]
    lines += [f"column gone: {name}" for name in sorted(before.keys() - after)]
    lines += [f"column new: {name}" for name in sorted(after.keys() - before)]
    for name in before:
        if name in after and before[name] != after[name]:
            lines.append(f"column {name}: {before[name]} -> {after[name]}")
    if a["output"] == b["output"]:
        lines.append("the output is the same")
    codes = (record["source"].splitlines() for record in (a, b))
    lines += unified_diff(*codes, f"{old}/etl.py", f"{new}/etl.py", lineterm="")
    return "\n".join(map(printable, lines)) or "nothing changed"


def call(function, raw: pd.DataFrame, arguments: dict) -> pd.DataFrame:
    """Return the function's frame; it gets a shallow copy, so that ``raw`` stays as it is."""
    try:
        inspect.signature(function).bind(raw, **arguments)
    except TypeError as error:
        raise UserError(f"{function.__name__} does not take dataset.args={arguments}: {error}") from None
    try:
        frame = function(raw.copy(deep=False), **arguments)
    except Exception as error:
        point_out(error, {function.__module__})
        raise
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"{function.__name__} should return a DataFrame, not {type(frame).__name__}")
    return frame


def _key(record: dict) -> str:
    """Return what tells versions apart, as 16 hex digits."""
    text = json.dumps({key: record[key] for key in ("code", "arguments", "input")}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _is_plain(value) -> bool:
    """Return whether JSON gives a value back as it was; a tuple may come back as a list."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))


def _schema(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}

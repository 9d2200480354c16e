"""Versions of data: ``v1``, ``v2``, ... of what an ETL made, told apart by its code, its arguments and its input.

``outputs/etl/<dataset>/v2/`` holds ``etl.py`` (the function with all it uses, as text) and ``version.json``; the data
itself stays in memory. ``outputs/etl/index.json`` says which version belongs to which code, arguments and input.
"""

import hashlib
import inspect
import json
import logging
import re
import time
from pathlib import Path

import pandas as pd

from src.data.code import Closure, load
from src.data.digest import column_digests, digest, whole_digest
from src.system.errors import UserError
from src.system.files import locked, read_json, write_json, write_text
from src.system.paths import claim, outputs, versions_in

log = logging.getLogger("reprise")


def folder() -> Path:
    return outputs() / "etl"


def run_etl(dataset: str, function, raw: pd.DataFrame, location: str, arguments: dict | None = None, cfg=None):
    """Call ``function(raw, **arguments)`` and give its result a version: the old one where nothing has changed.

    Parameters
    ----------
    dataset : str
        under which the versions stand.
    location : str
        where ``raw`` came from, for people: a path, "dataset=adult", or "memory".
    cfg : dict, optional
        the dataset section of the config, to read the input again.

    Returns
    -------
    (DataFrame, dict)
        what the function made, and its record: "version" ("v2"), "output" (its digest), ...
    """
    if not re.fullmatch(r"[\w-]+", dataset):
        raise UserError(f"{dataset!r} cannot name an ETL: use letters, digits, _ and -")
    arguments = arguments or {}
    _check_plain(arguments)
    closure, of_columns = Closure(function), column_digests(raw)
    input_digest = whole_digest(of_columns)
    columns = _schema(raw)
    frame = _call(function, raw, arguments)
    output_digest = whole_digest(column_digests(frame, like=(raw, of_columns)))
    identity = {"code": closure.digest, "arguments": arguments, "input": input_digest}
    described = {
        "dataset": dataset, "function": function.__name__, **identity, "location": location, "cfg": cfg,
        "output": output_digest,
        "input_rows": len(raw), "rows": len(frame), "columns": _schema(frame), "input_columns": columns,
    }  # fmt: skip
    version = register(dataset, identity, described, closure.text)
    if read_json(folder() / dataset / version / "version.json")["output"] != output_digest:
        log.warning(
            "%s %s makes something else than when it was recorded: a library has changed, or it draws random numbers "
            "without a seed", dataset, version,
        )  # fmt: skip
    return frame, described | {"version": version}


def register(dataset: str, identity: dict, described: dict, text: str) -> str:
    """The version of ``identity``: known, or the next number. Several processes may register at once."""
    key = hashlib.blake2b(json.dumps(identity, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    with locked(folder() / ".lock"):
        index = read_index()
        known = index.get(dataset, {})
        if key in known:
            return known[key]
        for name in versions_of(dataset):  # complete, but a kill kept it out of the index
            if name not in known.values() and _identity(read_version(dataset, name)) == _identity(identity):
                write_json(folder() / "index.json", index | {dataset: known | {key: name}})
                return name
        path = claim(folder() / dataset, "v")
        write_text(path / "etl.py", text)
        write_json(
            path / "version.json", {"version": path.name, **described, "made": time.strftime("%Y-%m-%d %H:%M:%S")}
        )
        write_json(folder() / "index.json", index | {dataset: known | {key: path.name}})
        return path.name


def read_index() -> dict:
    """{dataset: {key: version}}."""
    path = folder() / "index.json"
    return read_json(path) if path.is_file() else {}


def read_version(dataset: str, version: str) -> dict:
    """The record of one version, its source under "source"."""
    path = folder() / dataset / version
    if not (path / "version.json").is_file():
        known = ", ".join(versions_of(dataset)) or "none"
        raise UserError(f"dataset {dataset} has no ETL version {version}; known: {known}")
    return read_json(path / "version.json") | {"source": (path / "etl.py").read_text(encoding="utf-8")}


def versions_of(dataset: str) -> list[str]:
    """Complete versions, ascending: what a kill left half-made is not among them."""
    names = (f"v{number}" for number in versions_in(folder() / dataset, "v"))
    return [name for name in names if (folder() / dataset / name / "version.json").is_file()]


def replay(record: dict, raw: pd.DataFrame) -> pd.DataFrame:
    """Run a version's recorded source on ``raw``, and prove that input and output are what they were.

    Raises
    ------
    UserError
        saying which of the two is not.
    """
    what = f"{record['dataset']} {record['version']}"
    if digest(raw) != record["input"]:
        rows = f"{record['input_rows']:,} rows then, {len(raw):,} now"
        raise UserError(f"{what}: the input has changed since ({record['location']}: {rows})")
    frame = _call(load(record["source"], record["function"]), raw, record["arguments"])
    if digest(frame) != record["output"]:
        raise UserError(
            f"{what}: its recorded code makes something else now: a library, or a random number without a seed"
        )
    return frame


def difference(dataset: str, old: str, new: str) -> str:
    """What changed between two versions: code as a diff, arguments, input, columns, rows."""
    from difflib import unified_diff

    a, b = read_version(dataset, old), read_version(dataset, new)
    lines = []
    for key, name in (("arguments", "arguments"), ("input", "input digest"), ("location", "input"), ("rows", "rows")):
        if a[key] != b[key]:
            lines.append(f"{name}: {a[key]} -> {b[key]}")
    gone, come = set(a["columns"]) - set(b["columns"]), set(b["columns"]) - set(a["columns"])
    retyped = [name for name in a["columns"] if name in b["columns"] and a["columns"][name] != b["columns"][name]]
    lines += [f"column gone: {name}" for name in sorted(gone)] + [f"column new: {name}" for name in sorted(come)]
    lines += [f"column {name}: {a['columns'][name]} -> {b['columns'][name]}" for name in retyped]
    if a["output"] == b["output"]:
        lines.append("the output is the same")
    code = unified_diff(
        a["source"].splitlines(), b["source"].splitlines(), f"{old}/etl.py", f"{new}/etl.py", lineterm=""
    )
    return "\n".join([*lines, *code]) or "nothing changed"


def _call(function, raw: pd.DataFrame, arguments: dict) -> pd.DataFrame:
    """The function's frame; ``raw`` is handed over as a shallow copy, so that its own columns stay what they are."""
    try:
        inspect.signature(function).bind(raw, **arguments)
    except TypeError as error:
        raise UserError(f"{function.__name__} does not take dataset.args={arguments}: {error}") from None
    frame = function(raw.copy(deep=False), **arguments)
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"{function.__name__} should return a DataFrame, not {type(frame).__name__}")
    return frame


def _identity(record: dict) -> str:
    return json.dumps({key: record[key] for key in ("code", "arguments", "input")}, sort_keys=True)


def _check_plain(arguments: dict) -> None:
    """Refuse arguments that JSON does not give back as they were."""
    try:
        plain = json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError):
        plain = None
    if plain is None or not _same(plain, arguments):
        shown = " ".join(str(arguments).split())[:200]
        raise UserError(f"arguments of an ETL must be plain values, as JSON has them: {shown}")


def _same(plain, value) -> bool:
    """Whether JSON gave a value back; a tuple may come back as a list."""
    if isinstance(value, dict):
        return plain.keys() == value.keys() and all(_same(plain[k], v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return len(plain) == len(value) and all(map(_same, plain, value))
    return plain == value


def _schema(frame: pd.DataFrame) -> dict:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}

"""Check a packed run that arrives: only files that a run has, not too large, with what later code reads."""

import errno
import hashlib
import io
import json
import math
import re
import stat
import zipfile
from contextlib import contextmanager
from pathlib import Path

from src.logger import csv
from src.system.errors import UserError
from src.system.files import to_disk

MAX_FILES, MAX_NAME = 10_000, 250
MAX_LIST = 2_000_000  # bytes of a zip's list of files
MAX_TEXT = 0.1  # share of the allowed size that a file may have which is read as a whole
FILE = re.compile(  # a run's files: one folder deep, names of plain lower-case letters
    r"(config|env|info|report|transforms)\.json|config\.yaml|code\.zip|metrics\.csv|predictions\.npz|val_epochs\.bin"
    r"|(log|profile)\.txt|model/(model_t[1-9]\d{0,8}(_\d{1,5})?\.(pt|joblib)|members\.json)|plots/[a-z0-9_]{1,80}\.png",
    re.ASCII,
)
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CONTROL = re.compile(r"\\u00|\\[bfr]|[\x7f-\x9f\ud800-\udfff]")  # as JSON writes them
MISSING = object()
MEMBERS = "model/members.json"  # of a run that is made of others
OLDER = re.compile(r"DONE|\.hydra/[a-z]+\.yaml")  # in older packs; not unpacked

# what later code reads: types, patterns, (alternatives), [of each item], {key: of its value}, {str: of each}
TEXT, COUNT = (str, None), (int, None)
SHAPES = {
    "config.json": {
        "seed": int, "threads": COUNT, "metric": TEXT, "metric_mode": TEXT, "pictures": bool, "profile": bool,
        "class_weight": (str, {str: float}, None), "tags": [str],
        "dataset": {"name": re.compile(r"\w{1,100}"), "split_seed": int, "etl": TEXT, "args": {str: object}},
        "model": ({"name": str, "net": {"class": str}}, {"name": str, "classifier": ({"class": str}, None)}),
        "trainer": {"max_epochs": COUNT, "num_nodes": int},
        "logger": {"csv": bool, "mlflow": bool, "wandb": bool, "project": str},
    },
    "report.json": {
        "run": re.compile(r"t[1-9]\d{0,8}", re.ASCII), "dataset": str, "model": str, "seed": int,
        "split_seed": int, "etl_version": TEXT, "data_digest": TEXT, "metric": {"name": str, "mode": str},
        "best_epoch": COUNT, "metrics": {str: (float, None)}, "timings": {str: float}, "overrides": [str],
    },
    "env.json": {
        "python": str, "machine": str, "platform": str, "threads": {str: TEXT}, "packages": {str: TEXT},
        "git": {"sha": TEXT},
    },
    "info.json": {
        "task": re.compile("binary|multiclass|regression"), "classes": [str], "class_type": TEXT,
        "n_outputs": int, "y_mean": float, "y_std": float, "n_num_features": int, "cat_cardinalities": [int],
        "vocab_size": int, "max_len": int,
    },
    "transforms.json": {str: object},
    "manifest.json": {"files": {str: str}},
    MEMBERS: {"members": [object]},
}  # fmt: skip
NEEDED = {*SHAPES, "code.zip", "predictions.npz"} - {MEMBERS}


class Parts(io.BufferedReader):
    """A file that is read in parts: zipfile would read its list of names at once, however long it is."""

    def read(self, size=-1):
        return super().read(min(size, MAX_LIST) if size and size > 0 else MAX_LIST)


@contextmanager
def opened(path: Path, place):
    """Open a zip; whatever a damaged one raises (zlib.error, struct.error, ...) becomes one sentence."""
    try:
        with Parts(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except Exception as error:
        of_the_disk = isinstance(error, OSError) and error.errno != errno.EINVAL  # EINVAL: a wrong position
        if of_the_disk or isinstance(error, UserError):
            raise
        raise UserError(f"{place} is not a packed run: {error}") from None


def receive(path: Path, folder: Path, room: int) -> dict[str, str]:
    """Write a pack's files into ``folder``, at most ``room`` bytes, and return {name: digest}."""
    with opened(path, path) as archive:
        names = [entry.filename for entry in archive.infolist()]
        check_names(names, path)
        check_entries(archive, path, room)
        digests = checked(archive.read("manifest.json"), "manifest.json", path)["files"]
        if {*digests, "manifest.json"} != {*names}:
            raise UserError(f"{path} holds other files than its manifest lists")
        digests = {name: digests[name] for name in names if FILE.fullmatch(name)}
        for name in digests:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if _copy(archive, name, folder / name) != digests[name]:
                raise UserError(f"{path} is damaged: {name} does not match its digest")
            check_content(folder / name, name, path, room)
        check_history(folder, path)
    return digests


def check_names(names, place) -> None:
    """Refuse names of files that no run has, a name that occurs twice, and a run with a file missing."""
    for name in names:
        if not FILE.fullmatch(name) and not OLDER.fullmatch(name) and name not in NEEDED:
            raise UserError(f"{place} holds {name[:200]!r}, which no run has")
    if len(set(names)) < len(names) or len(names) > MAX_FILES:
        raise UserError(f"{place} holds {len(names):,} files: at most {MAX_FILES:,}, each once, are allowed")
    if missing := sorted(NEEDED - set(names)):
        raise UserError(f"{place} is not a whole run: it has no {missing[0]}")
    if sum(name.startswith("model/") for name in names) != 1 and MEMBERS not in names:
        raise UserError(f"{place} is not a whole run: it should have one file in model/, or {MEMBERS}")


def check_entries(archive: zipfile.ZipFile, place, room: int) -> None:
    """Refuse what is too large, lies elsewhere or is no plain file.

    The sizes are what the zip says; `zipfile` stops reading a file there.
    """
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES:
        raise UserError(f"{place} holds {len(entries):,} files; at most {MAX_FILES:,} are allowed")
    if total > room:
        advice = f"if that is right, add max_size={math.ceil(total / 1e9)}GB"
        raise UserError(f"{place} would be {total / 1e9:.3g} GB, {room / 1e9:g} GB are allowed; {advice}")
    for entry in entries:
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        elsewhere = {"", ".", ".."} & {*name.split("/")} or {*name} & {*":\\"}
        if elsewhere or not name.isprintable() or len(name) > MAX_NAME:
            raise UserError(f"{place} holds a file called {name[:200]!r}")
        if name.endswith((".json", ".csv")) and entry.file_size > MAX_TEXT * room:
            raise UserError(f"{place}: {name} is larger than a tenth of the allowed {room / 1e9:g} GB")
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1 or entry.compress_type not in PLAIN:
            raise UserError(f"{place}: {name} is a link, encrypted, or compressed in an unknown way")


def _copy(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Write one file of a zip to ``path`` and return its digest."""
    digest = hashlib.sha256()
    with archive.open(name) as source, path.open("xb") as target:
        while part := source.read(1 << 20):
            digest.update(part)
            target.write(part)
    to_disk(path)
    return digest.hexdigest()


def check_content(path: Path, name: str, place, room: int) -> None:
    """Refuse a file without what later code reads; what is a zip is limited as the pack is."""
    if path.suffix in (".zip", ".npz") or (path.suffix == ".pt" and zipfile.is_zipfile(path)):
        with opened(path, f"{place}: {name}") as inner:
            check_entries(inner, f"{place}: {name}", room)
    if name in SHAPES:
        checked(path.read_bytes(), name, place)


def checked(text: bytes, name: str, place) -> dict:
    """Return the value of a JSON file; refuse one that is not like its shape."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if found := wrong(value, SHAPES[name], name):
        raise UserError(f"{place} is not a packed run: {found} is damaged")
    if name == "report.json" and CONTROL.search(json.dumps(value, ensure_ascii=False).replace(r"\\", "")):
        raise UserError(f"{place} is not a packed run: {name} holds control characters")
    return value


def wrong(value, like, place: str) -> str | None:
    """Return the first place in ``value`` that is not ``like`` its shape; None where there is none."""
    if isinstance(like, tuple):
        return None if any(wrong(value, one, place) is None for one in like) else place
    inner = []
    if isinstance(like, dict) and isinstance(value, dict):
        shapes = dict.fromkeys(value, like[str]) if str in like else like
        inner = [wrong(value.get(key, MISSING), one, f"{place}: {key}") for key, one in shapes.items()]
    elif isinstance(like, list) and isinstance(value, list):
        inner = [wrong(item, like[0], place) for item in value]
    elif isinstance(like, re.Pattern):
        inner = [None if isinstance(value, str) and like.fullmatch(value) else place]
    elif like is float:
        inner = [None if type(value) in (int, float) and math.isfinite(value) else place]
    elif type(value) is not like and value is not like and (like is not object or value is MISSING):
        return place
    return next(filter(None, inner), None)


def check_history(folder: Path, place) -> None:
    """Refuse a history that cannot be read: not of this run, or its epochs do not ascend."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    rows = csv.read(folder / "metrics.csv")
    columns = {"epoch", "train/loss", "val/loss", f"val/{report['metric']['name']}"}
    epochs = [row["epoch"] for row in rows]
    if any(columns - row.keys() for row in rows) or epochs != sorted(set(epochs)):
        raise UserError(f"{place} is not a packed run: metrics.csv is damaged")
    if not any((folder / "model").glob(f"model_{report['run']}[._]*")):
        raise UserError(f"{place} is not a packed run: its model is not that of {report['run']}")

"""A run as one file: pack and unpack."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from src.run.folder import Run, runs_folder
from src.system.errors import UserError
from src.system.files import read_json, replacing, write_json
from src.system.paths import claim

LEFT_OUT = ("checkpoints", "trackers.json")  # weights are in model/; trackers know the run under the sender's ids


def pack(name: str, file: str | None = None) -> Path:
    """Write run ``name`` into a zip file and return its path."""
    run = Run.open(name)
    if run.status != "done":
        raise UserError(f"{name} is {run.status}: only a run that is done can be packed")
    target = Path(file or f"{name}.zip").expanduser().resolve()
    paths = sorted(path for path in run.folder.rglob("*") if path.is_file())
    paths = [path for path in paths if path.relative_to(run.folder).parts[0] not in LEFT_OUT and path.name[0] != "."]
    manifest = {}
    with replacing(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            inside, content = path.relative_to(run.folder).as_posix(), path.read_bytes()
            manifest[inside] = hashlib.sha256(content).hexdigest()
            archive.writestr(inside, content)
        archive.writestr("manifest.json", json.dumps({"run": name, "files": manifest}, indent=1))
    return target


def unpack(file: str | Path, trust: bool = False) -> Run:
    """Check a packed run's digests and put it under the next number.

    Raises
    ------
    UserError
        for a file that is no packed run, is damaged, or names a place outside its folder; nothing is kept of it.
    """
    path = Path(file).expanduser()
    contents = _checked(_read(path), path)
    folder = claim(runs_folder(), "t")
    try:
        return _place(folder, contents, trust)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be unpacked: {error}") from None
        raise


def _read(path: Path) -> dict[str, bytes]:
    """{name: content} of all that the zip holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:  # zipfile lets through what a damaged file makes of it: zlib.error, struct.error, ...
        raise UserError(f"{path} is not a packed run: {' '.join(str(error).split())}") from None


def _checked(files: dict[str, bytes], path: Path) -> dict[str, bytes]:
    """The packed files, each inside the folder and as its digest says."""
    try:
        manifest = json.loads(files["manifest.json"])["files"]
        digests = {str(name): str(digest) for name, digest in manifest.items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is not a packed run: it has no manifest") from None
    names = set(files) - {"manifest.json"}
    if names != set(digests):
        raise UserError(f"{path} holds other files than its manifest says")
    contents = {}
    for name in sorted(names):
        inside = PurePosixPath(name)
        plain = str(inside) == name and name != "." and "\\" not in name and ":" not in name
        if not plain or inside.is_absolute() or ".." in inside.parts:
            raise UserError(f"{path} wants to write outside its folder: {name}")
        contents[name] = files[name]
        if hashlib.sha256(contents[name]).hexdigest() != digests[name]:
            raise UserError(f"{path} is damaged: {name} is not what its digest says")
    for name in ("config.json", "report.json", "code.zip"):
        if name not in contents:
            raise UserError(f"{path} is not a packed run: it has no {name}")
    for name in ("config.json", "report.json"):
        try:
            content = json.loads(contents[name])
        except ValueError:
            content = None
        if not isinstance(content, dict) or (name == "report.json" and not isinstance(content.get("run"), str)):
            raise UserError(f"{path} is not a packed run: its {name} is not one")
    return contents


def _place(folder: Path, contents: dict[str, bytes], trust: bool) -> Run:
    old = json.loads(contents["report.json"])["run"]
    for name, content in contents.items():
        target = folder / name.replace(f"model/model_{old}.", f"model/model_{folder.name}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    report = read_json(folder / "report.json") | {"run": folder.name, "received_as": old, "sweep": None, "parent": None}
    report.pop("signed", None)
    write_json(folder / "report.json", report)
    (folder / "DONE").touch()
    run = Run.open(folder.name, trust)
    if trust:
        run.sign()
        write_json(folder / "report.json", run.report)
    return run

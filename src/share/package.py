"""Pack a run into one zip file and unpack it elsewhere; its ``manifest.json`` has a digest of each file."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from src.run.folder import Run, runs_folder
from src.run.trust import seals
from src.system.errors import UserError
from src.system.files import read_json, replacing, write_json
from src.system.paths import claim

LEFT_OUT = ("checkpoints", "trackers.json")  # weights are in model/; the trackers' ids are the sender's


def pack(name: str, file: str | None = None) -> Path:
    """Write run ``name`` into a zip file, t7.zip if ``file`` is None, and return its path."""
    run = Run.open(name)
    if run.status != "done":
        raise UserError(f"{name} is {run.status}: only a run that is done can be packed")
    target = Path(file or f"{name}.zip").expanduser().resolve()
    digests = {}
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(run.folder.rglob("*")):
            inside = path.relative_to(run.folder)
            if not path.is_file() or path.name.startswith(".") or inside.parts[0] in LEFT_OUT:
                continue
            content = path.read_bytes()
            digests[inside.as_posix()] = hashlib.sha256(content).hexdigest()
            archive.writestr(inside.as_posix(), content)
        archive.writestr("manifest.json", json.dumps({"run": name, "files": digests}, indent=1))
    return target


def unpack(file: str | Path, trust: bool = False) -> Run:
    """Check a packed run and put it under the next version.

    A file that is no packed run, is damaged or would write outside its folder is refused, and nothing kept.
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
    """Return {name: content} of everything in the zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:  # a damaged file can raise anything: zlib.error, struct.error, ...
        raise UserError(f"{path} is not a packed run: {' '.join(str(error).split())}") from None


def _checked(files: dict[str, bytes], path: Path) -> dict[str, bytes]:
    """Return the packed files: each named in the manifest, inside the folder, and as its digest says."""
    try:
        manifest = json.loads(files.pop("manifest.json"))["files"]
        digests = {str(name): str(digest) for name, digest in manifest.items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is not a packed run: it has no manifest") from None
    if files.keys() != digests.keys():
        raise UserError(f"{path} holds other files than its manifest lists")
    for name, content in sorted(files.items()):
        inside = PurePosixPath(name)
        plain = str(inside) == name and name != "." and "\\" not in name and ":" not in name
        if not plain or inside.is_absolute() or ".." in inside.parts:
            raise UserError(f"{path} would write outside its folder: {name}")
        if hashlib.sha256(content).hexdigest() != digests[name]:
            raise UserError(f"{path} is damaged: {name} does not match its digest")
    for name in ("config.json", "report.json", "code.zip"):
        if name not in files:
            raise UserError(f"{path} is not a packed run: it has no {name}")
    for name, key, kind in (("config.json", "model", dict), ("report.json", "run", str)):
        try:
            valid = isinstance(json.loads(files[name])[key], kind)
        except (ValueError, TypeError, KeyError):
            valid = False
        if not valid:
            raise UserError(f"{path} is not a packed run: its {name} is damaged")
    return files


def _place(folder: Path, contents: dict[str, bytes], trust: bool) -> Run:
    """Write the files into ``folder``, under the name that the run has here; sealed if it is trusted."""
    old = json.loads(contents["report.json"])["run"]
    for name, content in contents.items():
        target = folder / name.replace(f"model/model_{old}.", f"model/model_{folder.name}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    report = read_json(folder / "report.json")
    report |= {"run": folder.name, "received_as": old, "sweep": None, "parent": None}
    report.pop("signed", None)  # the sender's seals
    if trust:
        report["signed"] = seals(folder)
    write_json(folder / "report.json", report)
    (folder / "DONE").touch()
    return Run.open(folder.name, trust)

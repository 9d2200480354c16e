"""``python -m src.unpack file=t7.zip``: take in a packed run; nothing of it runs until it is trusted."""

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

from src import shell, storage
from src.run import Run, runs_folder
from src.storage import UserError, read_json, write_json


def main() -> None:
    words = shell.verb("unpack", sys.argv[1:])
    run = unpack(words["file"], words["trust"])
    print(
        f"{run}\nreceived as {run.name}"
        + ("" if words["trust"] else "; its code and its pickles run only with trust=true")
    )


def unpack(file: str | Path, trust: bool = False) -> Run:
    """Check a packed run's digests and put it under the next number.

    Raises
    ------
    UserError
        for a file that is no packed run, is damaged, or names a place outside its folder; nothing is kept of it.
    """
    path = Path(file).expanduser()
    contents = _checked(_read(path), path)
    folder = storage.claim(runs_folder(), "t")
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


if __name__ == "__main__":
    shell.run(main)

"""Pack a run into one zip file and unpack it elsewhere; its ``manifest.json`` has a digest of each file."""

import json
import os
import re
import shutil
import time
import zipfile
from pathlib import Path

from src.run.folder import Run, find, runs_folder
from src.run.lock import hold
from src.run.trust import START, digest, seal_of
from src.share.arrival import FILE, SHAPES, check_names, receive
from src.system.errors import UserError, sentence
from src.system.files import hidden, host, read_json, replacing, to_disk, write_json
from src.system.paths import next_version

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def pack(name: str, file: str | None = None, force: bool = False) -> Path:
    """Write run ``name`` into a zip file, t7.zip if ``file`` is None, and return its path."""
    name = find(name).name  # of "latest"
    target = Path(file or f"{name}.zip").expanduser().resolve()
    with hold(find(name), "pack", force), replacing(target) as temporary:
        run = Run.open(name)
        if run.status != "done":
            raise UserError(f"{name} is {run.status}: only a run that is done can be packed")
        before, digests = stamps(run.folder), {}
        check_names([*before, "manifest.json"], name)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for inside in before:
                digests[inside] = digest(run.folder / inside)
                archive.write(run.folder / inside, inside)
            archive.writestr("manifest.json", json.dumps({"run": name, "files": digests}, indent=1))
        if stamps(run.folder) != before:
            raise UserError(f"{name} was changed while it was packed: pack it again")
    return target


def stamps(folder: Path) -> dict[str, tuple]:
    """Return {name: (size, time of change)} of the files that a pack holds, sorted."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name, stat = path.relative_to(folder).as_posix(), path.lstat()
        if FILE.fullmatch(name) and path.is_file() and not path.is_symlink():
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return found


def unpack(file: str | Path, trust: bool = False, max_size: str = "2GB") -> Run:
    """Check a packed run and put it under the next version.

    A file that is no packed run, is damaged, too large or holds anything else than a run is refused, and
    nothing is kept. A kill leaves nothing either: the run gets its name when it is whole.
    """
    path, room = Path(file).expanduser(), n_bytes(max_size)
    if not path.is_file():
        raise UserError(f"{path} is not a packed run: there is no such file")
    folder = hidden(runs_folder() / "unpack")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        return _place(folder, receive(path, folder, room), trust)
    except OSError as error:
        raise UserError(f"{path} cannot be unpacked: {sentence(error)}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def n_bytes(size: str) -> int:
    """Return a size as a number: "5GB" -> 5_000_000_000."""
    number = size.upper().rstrip("KMGTB ")
    unit = size.upper().removeprefix(number).strip()
    if not number.replace(".", "", 1).isdecimal() or unit not in UNITS:
        raise UserError(f"max_size={size}: write a number and its unit, max_size=5GB")
    return int(float(number) * UNITS[unit])


def _place(folder: Path, digests: dict[str, str], trust: bool) -> Run:
    """Give what was unpacked into ``folder`` the name that it has here; sealed if it is trusted."""
    known, now = read_json(folder / "report.json"), time.time()
    report, old = {key: known[key] for key in SHAPES["report.json"]}, known["run"]
    if re.fullmatch("[0-9a-f]{16}", str(known.get("input_digest"))):  # older runs have none
        report["input_digest"] = known["input_digest"]
    report |= dict.fromkeys(("sweep", "parent", "replay_of"))  # these were the sender's
    with next_version(runs_folder(), "t") as target:
        sealed = []
        for name, found in digests.items():
            if name in (*START, "transforms.json") or name.startswith("model/"):
                new = re.sub(rf"model_{old}(?=[._])", f"model_{target.name}", name)
                (folder / name).rename(folder / new)
                sealed.append(seal_of(target.name, new, found))
        report |= {"run": target.name, "received_as": old, "sealed": sealed if trust else []}
        report |= {"status": "done", "pid": os.getpid(), "host": host(), "started": now, "finished": now}
        write_json(folder / "report.json", report)
        (folder / "DONE").touch()
        for one in [*folder.glob("*/"), folder]:
            to_disk(one)
        folder.rename(target)
        to_disk(target.parent)
    return Run.open(target.name, trust)

"""``python -m src.pack run=t7``: a run as one file, with a digest of each of its parts."""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

from src import shell
from src.run import Run
from src.storage import UserError, replacing

LEFT_OUT = ("checkpoints", "trackers.json")  # weights are in model/; trackers know the run under the sender's ids


def main() -> None:
    words = shell.verb("pack", sys.argv[1:])
    path = pack(words["run"], words["file"])
    print(
        f"{path}   {path.stat().st_size / 1e6:.1f} MB; take it in elsewhere with: python -m src.unpack file={path.name}"
    )


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


if __name__ == "__main__":
    shell.run(main)

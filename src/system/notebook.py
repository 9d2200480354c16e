"""Modules of what was typed into a notebook, a script or a terminal: files that Python imports by name."""

import atexit
import hashlib
import importlib.util
import re
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from src.system.errors import UserError, one_line

NAME = re.compile(r"notebook_[0-9a-f]{8}")


@cache
def folder() -> str:
    """Return the folder of these modules, which goes with this process; children need it in PYTHONPATH."""
    made = tempfile.TemporaryDirectory(prefix="reprise-")
    atexit.register(made.cleanup)
    sys.path.append(made.name)
    return made.name


def keep(text: str) -> str:
    """Make ``text`` a module and return its name, notebook_1a2b3c4d: another text has another name."""
    name = f"notebook_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
    path = Path(folder(), f"{name}.py")
    if not path.is_file():
        path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
    return name


def unpack(archive: Path, dotted: list[str]) -> None:
    """Make the modules of ``dotted`` names that a run keeps in its code.zip; the caller checks its trust."""
    for name in {name.partition(".")[0] for name in dotted}:
        if not NAME.fullmatch(name) or importlib.util.find_spec(name):
            continue
        try:
            with zipfile.ZipFile(archive) as code:
                text = code.read(f"{name}.py").decode()
        except Exception as error:  # a damaged zip can raise anything
            raise UserError(f"{archive} has no readable {name}.py: {one_line(error)}") from None
        if keep(text) != name:
            raise UserError(f"{name}.py in {archive} is not what it was")

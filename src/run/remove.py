"""Remove runs: any folder with the name of a run, whatever is in it, also on a full disk."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from src.run.folder import find, runs_folder
from src.run.lock import hold
from src.system.errors import UserError
from src.system.files import hidden
from src.system.paths import remember_removed, versions_in


def expand(names: str, key: str = "remove") -> list[str]:
    """ "t3,t5-t7" -> ["t3", "t5", "t6", "t7"]; a range holds only the runs that exist."""
    known, out = versions_in(runs_folder(), "t"), []
    for name in map(str.strip, names.split(",")):
        match = re.fullmatch(r"t(\d+)(?:-t(\d+))?", name)
        if not match:
            raise UserError(f"{key}={names}: write runs as t3,t5-t9")
        if match[2] is None and int(match[1]) not in known:
            find(name)  # refuses it
        out += [f"t{number}" for number in known if int(match[1]) <= number <= int(match[2] or match[1])]
    return list(dict.fromkeys(out))


def remove_run(name: str, force: bool = False) -> int:
    """Remove a run and return how many bytes it had; a kill leaves only what `sweep` removes."""
    folder, number = runs_folder() / name, int(name[1:])
    gone, n_bytes = hidden(folder), size(folder)
    with hold(folder, "clean", force):
        with suppress(OSError):  # no space now: again afterwards
            remember_removed(runs_folder(), number)
        try:
            folder.rename(gone)
        except OSError:
            gone = folder
    shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink()
    with suppress(OSError):  # it was empty
        remember_removed(runs_folder(), number)
    return n_bytes


def size(folder: Path) -> int:
    n_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # the run has just replaced it
                n_bytes += os.lstat(os.path.join(parent, name)).st_size
    return n_bytes

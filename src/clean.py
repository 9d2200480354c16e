"""Show the size of all runs, or remove some: ``remove=t3,t5-t9``."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from src.config import shell
from src.run.folder import find, opened, run_names, runs_folder
from src.run.lock import check_free, hold
from src.system.errors import UserError
from src.system.files import hidden, sweep
from src.system.paths import remember_removed, versions_in


def clean(remove: str | None = None, force: bool = False) -> None:
    """Show the size of every run, the largest first, or remove some; their numbers are not used again.

    python -m src.clean
    python -m src.clean remove=t3,t5-t9

    remove : runs and ranges of runs; what trackers hold of them stays there
    force : even if another process seems to hold one of them
    """
    sweep(runs_folder())
    if remove is None:
        shell.show(table())
        return
    names = expand(remove)
    for name in names:
        check_free(runs_folder() / name, force)  # else nothing is removed
    freed = sum(remove_run(name, force) for name in names)
    shell.show(f"{freed / 1e6:.1f} MB freed; what trackers hold of these runs stays there")


def table() -> str:
    """Return one line a run, the largest first."""
    recorded, rows = run_names(), []
    for name in (f"t{number}" for number in versions_in(runs_folder(), "t")):
        text = repr(opened(name)) if name in recorded else f"{name}: never started"
        rows.append((size(runs_folder() / name), text))
    if not rows:
        return f"no runs in {runs_folder()}"
    rows.sort(key=lambda row: -row[0])
    total = sum(n_bytes for n_bytes, _ in rows)
    rows.append((total, "in all; remove some with: python -m src.clean remove=t3,t5-t9"))
    return "\n".join(f"{n_bytes / 1e6:9.1f} MB   {text}" for n_bytes, text in rows)


def expand(names: str) -> list[str]:
    """ "t3,t5-t7" -> ["t3", "t5", "t6", "t7"]; a range holds only the runs that exist."""
    known, out = versions_in(runs_folder(), "t"), []
    for name in map(str.strip, names.split(",")):
        match = re.fullmatch(r"t(\d+)(?:-t(\d+))?", name)
        if not match:
            raise UserError(f"remove={names}: write runs as t3,t5-t9")
        if match[2] is None and int(match[1]) not in known:
            find(name)  # refuses it
        out += [f"t{number}" for number in known if int(match[1]) <= number <= int(match[2] or match[1])]
    return list(dict.fromkeys(out))


def remove_run(name: str, force: bool = False) -> int:
    """Remove a run and return how many bytes it had; also on a full disk, and whatever is in the folder."""
    folder, number = runs_folder() / name, int(name[1:])
    gone, n_bytes = hidden(folder), size(folder)
    with hold(folder, "clean", force):
        with suppress(OSError):  # no space now: again afterwards
            remember_removed(runs_folder(), number)
        try:
            folder.rename(gone)  # a kill leaves what `sweep` finds, and never half a run
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


if __name__ == "__main__":
    shell.call(clean)

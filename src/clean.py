"""Show the size of all runs, or remove some: ``remove=t3,t5-t9``."""

import re
import shutil

from src.config import shell
from src.run.folder import Run, find, run_names, runs_folder
from src.system.errors import UserError
from src.system.paths import remember_removed, versions_in


def clean(remove: str | None = None) -> None:
    """Show the size of every run, the largest first, or remove some; their numbers are not used again.

    python -m src.clean
    python -m src.clean remove=t3,t5-t9

    remove : runs and ranges of runs; what trackers hold of them stays there
    """
    if remove is None:
        print(table())
    else:
        freed = sum(remove_run(name) for name in expand(remove))
        print(f"{freed / 1e6:.1f} MB freed; what trackers hold of these runs stays there")


def table() -> str:
    """Return one line a run, the largest first."""
    recorded, rows = run_names(), []
    for name in (f"t{number}" for number in versions_in(runs_folder(), "t")):
        text = repr(Run.open(name)) if name in recorded else f"{name}: never started"
        rows.append((size(find(name)), text))
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
        if match[2] is None:
            find(name)  # refuses a run that does not exist
        out += [f"t{number}" for number in known if int(match[1]) <= number <= int(match[2] or match[1])]
    for name in set(out) & set(run_names()):
        if Run.open(name).status == "running":
            raise UserError(f"{name} is still running; nothing was removed")
    return list(dict.fromkeys(out))


def remove_run(name: str) -> int:
    """Remove a run and return how many bytes it had."""
    n_bytes = size(folder := find(name))
    remember_removed(runs_folder(), int(name[1:]))
    shutil.rmtree(folder)
    return n_bytes


def size(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    shell.call(clean)

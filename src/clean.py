"""``python -m src.clean``: what runs weigh; ``remove=t3,t5-t9`` removes them."""

import re
import shutil
import sys

from src.config import shell
from src.run.folder import Run, find, runs_folder
from src.system.errors import UserError
from src.system.paths import remember_removed, versions_in


def main() -> None:
    words = shell.verb("clean", sys.argv[1:])
    if words["remove"] is None:
        print(table())
        return
    freed = sum(remove(name) for name in expand(words["remove"]))
    print(f"{freed / 1e6:.1f} MB freed; what trackers hold of these runs stays there")


def table() -> str:
    """One line a run, the heaviest first."""
    rows = []
    for number in versions_in(runs_folder(), "t"):
        folder = runs_folder() / f"t{number}"
        what = repr(Run.open(folder.name)) if (folder / "report.json").is_file() else f"{folder.name}: never began"
        rows.append((weight(folder), what))
    if not rows:
        return f"no runs in {runs_folder()}"
    lines = [f"{size / 1e6:9.1f} MB   {what}" for size, what in sorted(rows, key=lambda row: -row[0])]
    total = (
        f"{sum(size for size, _ in rows) / 1e6:9.1f} MB   in all; remove some with: python -m src.clean remove=t3,t5-t9"
    )
    return "\n".join([*lines, total])


def expand(names: str) -> list[str]:
    """ "t3,t5-t7" -> ["t3", "t5", "t6", "t7"]: of a range, those that there are."""
    out = []
    for word in names.split(","):
        match = re.fullmatch(r"t(\d+)(?:-t(\d+))?", word.strip())
        if not match:
            raise UserError(f"remove={names}: write runs as t3,t5-t9")
        if match[2] is None:
            out.append(find(word.strip()).name)
        else:
            there = versions_in(runs_folder(), "t")
            out += [f"t{number}" for number in there if int(match[1]) <= number <= int(match[2])]
    for name in (out := list(dict.fromkeys(out))):
        if (find(name) / "report.json").is_file() and Run.open(name).status == "running":
            raise UserError(f"{name} is still running; nothing was removed")
    return out


def remove(name: str) -> int:
    """Remove run ``name``; returns the bytes that it weighed."""
    folder = find(name)
    size = weight(folder)
    remember_removed(runs_folder(), int(name[1:]))
    shutil.rmtree(folder)
    return size


def weight(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    shell.run(main)

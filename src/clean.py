"""Show the size of all runs, or remove some: ``remove=t3,t5-t9``."""

from src.config import shell
from src.run.folder import opened, run_names, runs_folder
from src.run.lock import check_free
from src.run.remove import expand, remove_run, size
from src.system.files import sweep
from src.system.paths import versions_in


def clean(remove: str | None = None, force: bool = False) -> None:
    """Show the size of every run, the largest first, or remove some; their numbers are not used again.

    python -m src.clean
    python -m src.clean remove=t3,t5-t9

    remove : runs and ranges of runs; what trackers hold of them stays there
    force : even if another process seems to hold one of them
    """
    for folder in (runs_folder(), *runs_folder().glob("t*/"), *runs_folder().glob("t*/*/")):
        sweep(folder)
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


if __name__ == "__main__":
    shell.call(clean)

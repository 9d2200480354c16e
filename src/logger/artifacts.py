"""The files of a run that trackers keep."""

from pathlib import Path


def artifacts(folder: str) -> list[Path]:
    """The files of a run that trackers keep: all but checkpoints and what is still written to."""
    left_out = ("log.txt", "trackers.json")
    folder = Path(folder)
    files = (
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != "checkpoints"
    )
    return sorted(path for path in files if not path.name.startswith(".") and path.name not in left_out)

"""The files of a run that trackers keep."""

from pathlib import Path

LEFT_OUT = ("checkpoints", "trackers.json")  # large, or still written to


def artifacts(folder: str) -> list[Path]:
    """Return the files of a run that trackers keep, sorted; hidden ones are locks and temporary files."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(path for path in paths if path.relative_to(folder).parts[0] not in LEFT_OUT)

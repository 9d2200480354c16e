"""Rank all runs, or a sweep's: mean over seeds, and what is more than chance: ``sweep=s3``."""

from src.config import shell
from src.study.leaderboard import leaderboards
from src.study.table import shown


def leaderboard(
    dataset: str | None = None, model: str | None = None, sweep: str | None = None, metric: str | None = None,
    format: str = "text",
) -> None:  # fmt: skip
    """Rank settings over their seeds by their metric on val, and compare them on the test rows.

    python -m src.leaderboard
    python -m src.leaderboard sweep=s3
    python -m src.leaderboard dataset=adult metric=f1 format=latex

    dataset : only runs on this dataset
    model : only runs of this model
    sweep : only runs of this sweep
    metric : another metric than the one that decided
    format : text, markdown, latex or csv
    """
    shell.show(shown(leaderboards({"dataset": dataset, "model": model, "sweep": sweep}, metric), format))


if __name__ == "__main__":
    shell.call(leaderboard)

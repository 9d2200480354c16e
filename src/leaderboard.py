"""Rank all runs, or a sweep's: mean over seeds, and what is more than chance: ``sweep=s3``."""

from src.config import shell
from src.study.experiment import write_experiment
from src.study.leaderboard import leaderboards
from src.study.table import shown
from src.system.errors import UserError


def leaderboard(
    dataset: str | None = None, model: str | None = None, sweep: str | None = None, metric: str | None = None,
    format: str = "text", experiment: str | None = None,
) -> None:  # fmt: skip
    """Rank settings over their seeds by their metric on val, and compare them on the test rows.

    python -m src.leaderboard
    python -m src.leaderboard sweep=s3
    python -m src.leaderboard sweep=s3 format=html
    python -m src.leaderboard sweep=s3 experiment=my_best
    python -m src.leaderboard dataset=adult metric=f1 format=latex

    dataset : only runs on this dataset
    model : only runs of this model
    sweep : only runs of this sweep
    metric : another metric than the one that decided
    format : text, markdown, latex, csv, or html: the sweep's page with pictures, outputs/sweeps/s3/sweep.html
    experiment : write the first setting as conf/experiment/<name>.yaml, for train experiment=<name>
    """
    if format == "html":
        if sweep is None or dataset or model or metric:
            raise UserError("format=html is the page of one sweep: write sweep=s3 format=html")
        from src.study.page import write  # matplotlib and Optuna, which no other format needs
        return shell.show(str(write(sweep)))
    boards = leaderboards(sweep, dataset=dataset, model=model, metric=metric)
    shell.show(shown(boards, format))
    if experiment:
        shell.show(f"\n{write_experiment(experiment, boards)}\n  python -m src.train experiment={experiment}")


if __name__ == "__main__":
    shell.call(leaderboard)

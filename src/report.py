"""Write a report of a run, a sweep or several runs as one HTML file: ``run=t7``."""

from pathlib import Path

from src.config import shell
from src.system.errors import UserError


def report(
    run: str | None = None, sweep: str | None = None, runs: str | None = None, format: str = "html",
    output: str | None = None,
):  # fmt: skip
    """Write a report as one file that needs no network: data, curves, pictures, metrics, worst errors.

    python -m src.report run=t7
    python -m src.report run=t7 format=markdown
    python -m src.report sweep=s3
    python -m src.report runs=t3,t7

    run : a run; its report is outputs/runs/t7/report.html; importances are computed if that takes seconds
    sweep : a sweep, its leaderboard and pictures: outputs/sweeps/s3/sweep.html
    runs : runs to compare: leaderboard, curves over each other, what differs in config, code and data
    format : html or, of one run, markdown
    output : another file, which is replaced if it exists
    """
    if sum(one is not None for one in (run, sweep, runs)) != 1:
        raise UserError("name one of run=t7, sweep=s3 and runs=t3,t7")
    if format not in ("html", "markdown") or (format == "markdown" and run is None):
        raise UserError(f"format={format}: should be html or, of one run, markdown")
    path = Path(output).expanduser() if output else None
    from src.share import importance
    from src.study import page
    from src.study import report as reports  # matplotlib and Optuna

    if run:
        importance.for_report(run)
        written = reports.of_run(run, "md" if format == "markdown" else "html", path)
    else:
        written = reports.of_runs(runs.split(","), path) if runs else page.write(sweep, path)
    shell.show(str(written))
    return written


if __name__ == "__main__":
    shell.call(report)

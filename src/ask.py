"""Compute a metric for recorded runs, of each epoch and at the end: ``runs=t1-t9 metric=f1``."""

import sys

from src.config import shell
from src.run.remove import expand
from src.study.ask import answer
from src.study.sweep import results
from src.system.errors import UserError


def ask(
    runs: str | None = None, metric: str | None = None, sweep: str | None = None, part: str = "val",
    metric_mode: str | None = None, curve: bool = False, output: str | None = None,
):  # fmt: skip
    """Return a metric of recorded runs as a DataFrame, from the predictions that they keep, without training.

    python -m src.ask runs=t1,t5-t9 metric=f1
    python -m src.ask sweep=s3 metric=f1,my.module.fn output=curves.csv

    runs : runs and ranges of runs
    metric : metrics by name, or your own fn(y_true, y_score) -> float; in a notebook also the function itself
    sweep : the runs of this sweep, instead of runs
    part : val or test; the epochs are those of val
    metric_mode : max or min, to find the best epoch of your own function
    curve : a row for each run and epoch, instead of one for each run and metric
    output : a csv file for the rows of each run and epoch
    """
    shell.console()
    if (runs is None) == (sweep is None) or not metric:
        raise UserError("name runs and a metric: runs=t1,t5-t9 metric=f1, or sweep=s3 metric=f1")
    names = [*results(sweep)["run"].dropna()] if runs is None else expand(runs, "runs")
    if not names:
        raise UserError(f"there are no runs of {sweep or runs}")
    if part not in ("val", "test"):
        raise UserError(f"part={part}: should be val or test")
    metrics = metric.split(",") if isinstance(metric, str) else [metric]
    finals, curves = answer(names, metrics, part, metric_mode)
    if output:
        curves.to_csv(output, index=False)
    return curves if curve else finals


if __name__ == "__main__":
    shell.show(shell.call(ask).to_string(index=False, na_rep="", float_format="{:.6f}".format))
else:  # `from src import ask` is the function, not this module, whoever has imported what before
    ask.ask = ask
    sys.modules[__name__] = ask

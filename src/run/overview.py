"""Show runs to people: the table at the end of a run, all runs as a DataFrame, the jobs of a sweep."""

import math
from contextlib import suppress

from src.logger.fanout import TRACKERS
from src.run.folder import Run, all_runs, runs_folder
from src.system.errors import printable
from src.system.files import sweep

COLUMNS = ("model", "dataset", "seed", "split_seed", "sweep", "best_epoch")  # of `runs`, from report.json
HAVE_COLUMNS = ("model=", "dataset=", "seed=", "dataset.split_seed=", "dataset.path=", "logger")  # overrides


def table(run) -> str:
    """Return the metrics of a `Run` or a `Recorder` at its end, each once, and what they are of."""
    report, deciding = run.report, run.report["metric"]["name"]
    columns = {part: of_part(report["metrics"], part) for part in ("val", "test")}
    columns = {"train": report["train_metrics"]} | columns | {"baseline": report["baseline"]}
    lines = side_by_side(columns, deciding)
    decides = "* decides, equal values by the loss on val"
    if run.cfg["model"].get("progress") == "staged":
        decides = "* is what a sweep optimises; this estimator stops by its loss and keeps its last stage"
    elif run.rows:
        decides += f"; the model is that of epoch {report['best_epoch']} of {run.rows[-1]['epoch']}"
    n, n_all = report["train_rows"]
    train = f"train: {n:,} of its {n_all:,} rows; " if n < n_all else ""
    knows = "the shares of the classes" if "log_loss" in columns["test"] else "the mean of the target"
    return "\n".join([*lines, decides, f"{train}baseline: a model that knows only {knows} in train, on test"])


def side_by_side(columns: dict[str, dict], deciding: str) -> list[str]:
    """Return lines with the metrics of {"train": {"loss": 0.3, ...}, "test": ...} in columns."""
    lines = ["", " " * 22 + "".join(f"{name:>10}" for name in columns)]
    for name in shown(columns["test"], deciding):
        cells = [_cell(column, name) for column in columns.values()]
        lines.append(f"{name + ' *' if name == deciding else name:22}" + "".join(cells))
    return lines


def shown(names, deciding: str) -> list[str]:
    """Return the names of metrics, the loss and the deciding one first, without second names for one of them.

    >>> shown(["loss", "accuracy", "f1", "f1_macro", "log_loss"], "accuracy")
    ['loss', 'accuracy', 'f1']
    """
    twins = {"log_loss": "loss", "f1_binary" if "f1_binary" in names else "f1_macro": "f1"}
    hidden = {twins[name] if name == deciding else name for name in twins}
    return [name for name in dict.fromkeys(["loss", deciding, *names]) if name not in hidden]


def of_part(metrics: dict, part: str) -> dict:
    """{"val/f1": 1, "test/f1": 2} -> {"f1": 1} for val."""
    return {key.partition("/")[2]: value for key, value in metrics.items() if key.startswith(f"{part}/")}


def places(run: Run) -> str:
    """Return where the seconds went, and where to look."""
    seconds = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in run.report["timings"].items())
    lines = ["", f"seconds   {seconds}", f"folder    {run.folder}"]
    answers = run.trackers
    for name, tracker in TRACKERS.items():
        if "error" not in answers.get(name, {"error": None}):
            lines.append(f"{name:10}{tracker.link(answers[name])}")
    typed = f"python -m src.predict run={run.name} input=new.csv output=p.csv"
    return "\n".join([*lines, f"predict   {typed}"])


def _cell(metrics: dict, name: str) -> str:
    if name not in metrics:
        return f"{'':>10}"
    return f"{math.nan if metrics[name] is None else metrics[name]:10.4f}"  # JSON keeps nan as null


def runs():
    """Return all runs as a DataFrame, one a row, the newest last.

    Columns: status, when it started, model, dataset, seeds, the metric that decides and its values, the other
    overrides, seconds, and all metrics.
    """
    import pandas as pd

    sweep(runs_folder())
    rows = []
    for run in all_runs():
        report, metrics = run.report, run.report.get("metrics", {})
        metric = (report.get("metric") or {}).get("name")
        row = {"run": run.name, "status": run.status, "started": None}
        with suppress(KeyError, ValueError, TypeError, OverflowError, OSError):  # of a damaged report
            row["started"] = pd.Timestamp.fromtimestamp(int(report["started"]))
        row |= {name: report.get(name) for name in COLUMNS} | {"metric": metric}
        row |= {part: metrics.get(f"{part}/{metric}") for part in ("val", "test")}
        overrides = map(str, report.get("overrides", ()))
        row["overrides"] = " ".join(text for text in overrides if not text.startswith(HAVE_COLUMNS))
        row["seconds"] = round(sum(report.get("timings", {}).values()), 3)
        row |= metrics
        rows.append({printable(key): printable(x) if isinstance(x, str) else x for key, x in row.items()})
    return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()


def runs_of(sweep: str) -> list[str]:
    """Return the names of the runs that belong to ``sweep``, "s3"."""
    return [run.name for run in all_runs() if run.report.get("sweep") == sweep]

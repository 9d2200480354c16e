"""Show runs to people: where a run's files are, all runs as a DataFrame, the jobs of a sweep."""

from contextlib import suppress

from src.logger.fanout import TRACKERS
from src.run.folder import Run, all_runs, runs_folder
from src.system.errors import printable
from src.system.files import sweep

COLUMNS = ("model", "dataset", "seed", "split_seed", "sweep", "best_epoch")  # of `runs`, from report.json
HAVE_COLUMNS = ("model=", "dataset=", "seed=", "dataset.split_seed=", "dataset.path=", "logger")  # overrides


def places(run: Run) -> str:
    """Return where the seconds went, and where to look."""
    stages = [f"{stage} {seconds:.1f}" for stage, seconds in run.report["timings"].items() if seconds >= 0.05]
    lines = ["", f"seconds   {', '.join(stages) or '0.0'}", f"folder    {run.folder}"]
    answers = {name: answer for name, answer in run.trackers.items() if "error" not in answer}
    for name in sorted(answers, key=[*TRACKERS, *answers].index):
        link = TRACKERS[name].link(answers[name]) if name in TRACKERS else answers[name].get("link")
        if link:
            lines.append(f"{name.rpartition('.')[2]:10}{link}")
    typed = f"python -m src.predict run={run.name} input=new.csv output=p.csv"
    return "\n".join([*lines, f"predict   {typed}"])


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

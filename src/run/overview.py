"""Show runs to people: the table at the end of a run, all runs as a DataFrame, the jobs of a sweep."""

import math

from src.logger.fanout import TRACKERS
from src.run.folder import BrokenRun, Run, all_runs, opened, runs_folder
from src.system.errors import printable
from src.system.files import sweep

COLUMNS = ("model", "dataset", "seed", "split_seed", "sweep", "best_epoch")  # of `runs`, from report.json


def summary(run: Run) -> str:
    """Return what a person wants to know at the end of a run: metrics, seconds, the folder, where to look."""
    metrics, deciding = run.report["metrics"], run.report["metric"]["name"]
    lines = ["", f"{'':22}{'train':>10}{'val':>10}{'test':>10}"]
    for name in dict.fromkeys(["loss", deciding, *(key.partition("/")[2] for key in metrics)]):
        cells = [_cell(metrics, f"{part}/{name}") for part in ("train", "val", "test")]
        lines.append(f"{name + ' *' if name == deciding else name:22}" + "".join(cells))
    lines.append("* decides")
    if run.cfg["model"].get("progress") == "staged":
        lines[-1] = "* is what a sweep optimises; this estimator stops by its loss and keeps its last stage"
    elif run.rows:
        lines[-1] += f"; the model is that of epoch {run.report['best_epoch']} of {run.rows[-1]['epoch']}"
    seconds = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in run.report["timings"].items())
    lines += ["", f"seconds   {seconds}", f"folder    {run.folder}"]
    answers = run.trackers
    for name, tracker in TRACKERS.items():
        if "error" not in answers.get(name, {"error": None}):
            lines.append(f"{name:10}{tracker.link(answers[name])}")
    return "\n".join([*lines, f'load      from src import load; load("{run.name}").predict(df)'])


def _cell(metrics: dict, name: str) -> str:
    if name not in metrics:
        return f"{'':>10}"
    return f"{math.nan if metrics[name] is None else metrics[name]:10.4f}"  # JSON keeps nan as null


def runs():
    """Return all runs as a DataFrame, one a row, the newest last: status, config, metrics, seconds."""
    import pandas as pd

    sweep(runs_folder())
    rows = []
    for run in all_runs():
        row = {"run": run.name, "status": run.status} | {name: run.report.get(name) for name in COLUMNS}
        row["seconds"] = round(sum(run.report.get("timings", {}).values()), 3)
        row |= run.report.get("metrics", {})
        rows.append({printable(key): printable(x) if isinstance(x, str) else x for key, x in row.items()})
    return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()


def runs_of(sweep: str) -> list[str]:
    """Return the names of the runs that belong to ``sweep``, "s3"."""
    return [run.name for run in all_runs() if run.report.get("sweep") == sweep]


def sweep_summary(name: str) -> str:
    """Return one line for each job of a sweep: its run, status, deciding metric on val and overrides."""
    lines = ["", f"{name}:"]
    for run in map(opened, runs_of(name)):
        if isinstance(run, BrokenRun):
            lines.append(f"  {run!r}")
            continue
        overrides = " ".join(map(str, run.report.get("overrides", [])))
        metric = run.report["metric"]
        value = f"val/{metric['name']} {run.objective:.4f}" if metric else ""
        lines.append(printable(f"  {run.name:6} {run.status:8} {value:28} {overrides}"))
    return "\n".join(lines)

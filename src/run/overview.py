"""Show runs to people: the table at the end of a run, all runs as a DataFrame, the jobs of a sweep."""

import math

from src.logger.fanout import TRACKERS
from src.run.folder import Run, run_names, runs_folder
from src.system.files import read_json

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
    elif run.history:
        lines[-1] += f"; the model is that of epoch {run.report['best_epoch']} of {run.history[-1]['epoch']}"
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

    rows = []
    for run in map(Run.open, run_names()):
        row = {"run": run.name, "status": run.status} | {name: run.report[name] for name in COLUMNS}
        row["seconds"] = round(sum(run.report["timings"].values()), 3)
        rows.append(row | run.report["metrics"])
    return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()


def runs_of(sweep: str) -> list[str]:
    """Return the names of the runs that belong to ``sweep``, "s3"."""
    return [name for name in run_names() if read_json(runs_folder() / name / "report.json")["sweep"] == sweep]


def sweep_summary(name: str) -> str:
    """Return one line for each job of a sweep: its run, status, deciding metric on val and overrides."""
    lines = ["", f"{name}:"]
    for run in map(Run.open, runs_of(name)):
        overrides = " ".join(run.report.get("overrides", []))
        metric = run.report["metric"]
        value = f"val/{metric['name']} {run.objective:.4f}" if metric else ""
        lines.append(f"  {run.name:6} {run.status:8} {value:28} {overrides}")
    return "\n".join(lines)

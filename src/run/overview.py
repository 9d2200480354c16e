"""What people look at: the table at the end of a run, all runs as a DataFrame, the jobs of a sweep."""

from src.run.folder import Run, runs_folder
from src.system.errors import without_password
from src.system.files import read_json
from src.system.paths import versions_in


def summary(run: Run) -> str:
    """What a person wants to know at the end: the table, the seconds, where it lies, how to look."""
    metrics, chosen = run.report["metrics"], run.report["metric"]["name"]
    names = list(dict.fromkeys(["loss", chosen, *(key.partition("/")[2] for key in metrics)]))
    lines = ["", f"{'':22}{'train':>10}{'val':>10}{'test':>10}"]
    for name in names:
        cells = (metrics.get(f"{part}/{name}") for part in ("train", "val", "test"))
        mark = " *" if name == chosen else ""
        lines.append(f"{name + mark:22}" + "".join(f"{'' if x is None else format(x, '.4f'):>10}" for x in cells))
    timings = run.report["timings"]
    seconds = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in timings.items())
    what = "* decides"
    if run.history:
        what += f"; the model is that of epoch {run.report['best_epoch']} of {run.history[-1]['epoch']}"
    if run.cfg["model"].get("progress") == "staged":
        what = "* is what a sweep optimises; this estimator stops by its own loss, and its last stage is the model"
    lines += [
        what,
        "",
        f"seconds   {seconds}",
        f"folder    {run.folder}",
    ]
    trackers = run.trackers
    if trackers.get("mlflow") and "error" not in trackers["mlflow"]:
        from src.logger.mlflow import uri

        lines.append(f"mlflow    mlflow ui --backend-store-uri {without_password(uri())}")
    if trackers.get("wandb") and "error" not in trackers["wandb"]:
        known = trackers["wandb"]
        lines.append(f"wandb     {'wandb sync ' + known['folders'][-1] if known['mode'] == 'offline' else known['id']}")
    return "\n".join([*lines, f'load      from src import load; load("{run.name}").predict(df)'])


def runs():
    """All runs as a DataFrame, one a row, the newest last: status, what it was, its metrics, its seconds."""
    import pandas as pd

    rows = []
    for number in versions_in(runs_folder(), "t"):
        folder = runs_folder() / f"t{number}"
        if not (folder / "report.json").is_file():
            continue  # claimed, and killed before its first word
        run = Run.open(folder.name)
        row = {"run": run.name, "status": run.status}
        row |= {key: run.report[key] for key in ("model", "dataset", "seed", "split_seed", "sweep", "best_epoch")}
        row["seconds"] = round(sum(run.report["timings"].values()), 1)
        rows.append(row | run.report["metrics"])
    return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()


def runs_of(sweep: str) -> list[str]:
    """The names of the runs that belong to ``sweep``, "s3"."""
    names = [f"t{number}" for number in versions_in(runs_folder(), "t")]
    return [name for name in names if _report(name).get("sweep") == sweep]


def _report(name: str) -> dict:
    path = runs_folder() / name / "report.json"
    return read_json(path) if path.is_file() else {}


def sweep_summary(name: str) -> str:
    """One line for each job: its run, its words, its status and its value."""
    lines = ["", f"{name}:"]
    for run in map(Run.open, runs_of(name)):
        words = " ".join(run.report.get("overrides", []))
        metric = run.report["metric"]
        value = f"val/{metric['name']} {run.objective:.4f}" if metric else ""
        lines.append(f"  {run.name:6} {run.status:8} {value:28} {words}")
    return "\n".join(lines)

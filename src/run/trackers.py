"""Give a run to its trackers: while it goes, and afterwards what a tracker missed."""

import time

from src.config.tree import flat
from src.logger import csv
from src.logger.fanout import Fanout, tracker_names
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError, without_password
from src.system.files import read_json


def describe(run) -> dict:
    """Return what trackers get to know of a `Run` or a `Recorder` at its start, see `Fanout`."""
    cfg, report, git = run.cfg, run.report, read_json(run.folder / "env.json")["git"]
    tags = {"dataset": report["dataset"], "model": report["model"], "version": run.name}
    tags |= {"seed": str(cfg["seed"]), "git": "none"}
    if git["sha"]:
        tags["git"] = git["sha"][:7] + ("-dirty" if git.get("dirty") else "")
    if report["sweep"]:
        tags["sweep"] = report["sweep"]
    if report.get("cv_of"):
        tags |= {"cv_of": report["cv_of"], "fold": str(report["fold"])}
    of_folds = run.name if cfg.get("cv") and cfg["cv"]["fold"] is None else None
    config = _without_passwords(cfg)
    return {
        "name": f"{run.name} {report['model']} {report['dataset']}", "project": cfg["logger"]["project"],
        "config": flat(config), "nested": config, "tags": tags, "labels": cfg["tags"], "commit": git["sha"],
        "source": " ".join(["src.train", *report.get("overrides", ())]), "started": report["started"],
        "parent": report["parent"], "log": str(run.folder / "log.txt"),
        "group": report["sweep"] or report.get("cv_of") or of_folds,
        "advice": f"the run goes on; afterwards: python -m src.sync run={run.name}",
    }  # fmt: skip


def _without_passwords(value):
    """Return a section of the config for others to see: an address of data may hold a password."""
    if isinstance(value, dict):
        return {key: _without_passwords(item) for key, item in value.items()}
    return without_password(value) if isinstance(value, str) else value


def row_times(run: Run) -> dict[int, float]:
    """Return {epoch: time} of the history; rows of an older run get the time of the last one."""
    metrics, known = run.folder / "metrics.csv", csv.read(run.folder / "times.csv")
    last = metrics.stat().st_mtime if metrics.is_file() else time.time()
    return {row["epoch"]: last for row in run.rows} | {row["epoch"]: row["time"] for row in known}


def final(report: dict) -> dict:
    """Return a report for trackers, whose metrics hold those of the training rows, too."""
    train = {f"train/{name}": value for name, value in report.get("train_metrics", {}).items()}
    return report | {"metrics": train | report["metrics"]}


def sync_run(run: Run) -> dict:
    """Send every tracker the rows, files and status that it missed; return what each tracker returned."""
    known = run.trackers
    behind = [name for name in tracker_names(run.cfg["logger"]) if not known.get(name, {}).get("closed")]
    if not behind:
        return known
    if "class" in run.cfg["logger"]:  # a tracker of the user's
        check_trust(run, code=True)
    if not run.cfg["logger"]["csv"]:
        raise UserError(f"{run.name} has no metrics.csv to send: it was made with logger.csv=false")
    trackers = Fanout(behind, describe(run), run.folder / "trackers.json")
    times = row_times(run)
    for row in run.rows:  # a tracker leaves out the rows that it holds
        trackers.log(row, times[row["epoch"]])
    if run.status == "done":
        trackers.record(run.folder, final(run.report))
    ended = run.report.get("finished") or max(times.values(), default=None)
    trackers.finish(run.status, ended, run.report.get("error"))
    return run.trackers

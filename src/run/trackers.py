"""Give a run to its trackers: while it goes, and afterwards what a tracker missed."""

from src.config.tree import flat
from src.logger.fanout import TRACKERS, Fanout
from src.run.folder import Run
from src.system.errors import UserError
from src.system.files import read_json


def tracker_names(logger: dict) -> list[str]:
    return [name for name in TRACKERS if logger[name]]


def open_trackers(run, which: list[str]) -> Fanout:
    """Start the trackers ``which`` for a `Run` or a `Recorder`; one that knows the run goes on with it."""
    cfg, report = run.cfg, run.report
    tags = {"dataset": report["dataset"], "model": report["model"]}
    tags |= {"version": run.name, "seed": str(cfg["seed"])}
    tags["git"] = read_json(run.folder / "env.json")["git"]["sha"] or "none"
    tags |= dict.fromkeys(cfg["tags"], "true")
    if report["sweep"]:
        tags["sweep"] = report["sweep"]
    described = {
        "name": run.name, "project": cfg["logger"]["project"], "config": flat(cfg), "tags": tags,
        "parent": report["parent"],
    }  # fmt: skip
    return Fanout(which, described, run.folder / "trackers.json")


def sync_run(run: Run) -> dict:
    """Send every tracker the rows, files and status that it missed; return what each tracker returned."""
    known = run.trackers
    behind = [name for name in tracker_names(run.cfg["logger"]) if not known.get(name, {}).get("closed")]
    if not behind:
        return known
    if not run.cfg["logger"]["csv"]:
        raise UserError(f"{run.name} has no metrics.csv to send: it was made with logger.csv=false")
    trackers = open_trackers(run, behind)
    for row in run.history:  # a tracker leaves out the rows that it holds
        trackers.log(row)
    if run.status == "done":
        trackers.record(run.folder, run.report)
    trackers.finish(run.status)
    return run.trackers

"""Give a run to its trackers: while it goes, and afterwards what a tracker missed."""

from src.config.tree import flat
from src.logger.fanout import Fanout, tracker_names
from src.run.folder import Run
from src.system.errors import UserError, without_password
from src.system.files import read_json


def open_trackers(run, which: list[str], wait: float | None = None) -> Fanout:
    """Start the trackers ``which`` for a `Run` or a `Recorder`; one that knows the run goes on with it.

    wait : seconds for which the end waits for them at most; None: for ever
    """
    cfg, report = run.cfg, run.report
    tags = {"dataset": report["dataset"], "model": report["model"]}
    tags |= {"version": run.name, "seed": str(cfg["seed"])}
    tags["git"] = read_json(run.folder / "env.json")["git"]["sha"] or "none"
    tags |= dict.fromkeys(cfg["tags"], "true")
    if report["sweep"]:
        tags["sweep"] = report["sweep"]
    config = {}
    for key, value in flat(cfg).items():  # an address of data may hold a password
        config[key] = without_password(value) if isinstance(value, str) else value
    described = {
        "name": run.name, "project": cfg["logger"]["project"], "config": config, "tags": tags,
        "parent": report["parent"],
        "advice": f"the run goes on; afterwards: python -m src.sync run={run.name}",
    }  # fmt: skip
    return Fanout(which, described, run.folder / "trackers.json", wait)


def sync_run(run: Run) -> dict:
    """Send every tracker the rows, files and status that it missed; return what each tracker returned."""
    known = run.trackers
    behind = [name for name in tracker_names(run.cfg["logger"]) if not known.get(name, {}).get("closed")]
    if not behind:
        return known
    if not run.cfg["logger"]["csv"]:
        raise UserError(f"{run.name} has no metrics.csv to send: it was made with logger.csv=false")
    trackers = open_trackers(run, behind)
    for row in run.rows:  # a tracker leaves out the rows that it holds
        trackers.log(row)
    if run.status == "done":
        trackers.record(run.folder, run.report)
    trackers.finish(run.status)
    return run.trackers

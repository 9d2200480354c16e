"""One job of a sweep: trained once, retried or left out as ``on_error`` says, and recorded when it ends."""

import functools
import json
import math
import os
import sys
import time
from pathlib import Path

from hydra.types import RunMode

from src.config import shell
from src.config.tree import parse
from src.run.again import check_code, config_to_resume, origin
from src.run.folder import BrokenRun, Run, all_runs
from src.run.lock import hold
from src.run.needed import done_before
from src.study import search
from src.study.best import duration, front, goals, rounded, scored
from src.study.run import run_config
from src.study.search import SHARED, STOP
from src.system.errors import UserError, is_full, is_told, log, sentence, without_password
from src.system.files import read_json
from src.system.paths import outputs

ENDED = "jobs.jsonl"  # in the folder of a sweep
FINISHED = ("done", "pruned")  # a job that ended so is not trained again


def run_once(cfg: dict, settings, failed: list, then=None) -> float:
    """Train the run that Hydra's ``settings`` are about and return its deciding metric on val, or nan.

    In a sweep that goes on, a done job is not trained again, an interrupted one goes on from its checkpoint.
    ``failed`` gets the names of failed runs, ``then`` is called with a run that is done.
    """
    section, typed = cfg.get("sweep") or {}, map(without_password, settings.overrides.task)
    member = membership(settings, section)
    report = member | {"overrides": [word for word in typed if not word.startswith("sweep.trial=")]}
    folder = outputs() / "sweeps" / member["sweep"] if member["sweep"] else None
    earlier = (run_of(member) if folder else None) or done_before(cfg, folder and folder / SHARED)
    if earlier and earlier.status in FINISHED:
        if folder:
            _done(folder, earlier, member["job"], section, report["overrides"])
        return earlier.objective
    if folder and (folder / STOP).is_file():
        return math.nan
    kind, _, times = cfg["on_error"].partition(":")
    cfg, options = _shares(cfg, settings.launcher, folder)
    _set_running(folder, member["job"], True)
    for left in reversed(range(1 + int(times or 0))):
        try:
            options["watch"] = search.watch(folder, section, cfg["trainer"]["max_epochs"])
            run = _resumed(earlier, options) if earlier else run_config(cfg, report=report, **options)
            break
        except Exception as error:
            name = getattr(error, "run", None)
            if name is None and isinstance(error, UserError):  # refused before it became a run
                _set_running(folder, member["job"], False)
                raise
            _show(error, name, left)
            if not left:
                _failed(error, name, kind, folder, member, failed)
                return math.nan
            earlier = Run.open(name) if name else earlier
    if folder and run:
        _done(folder, run, member["job"], section)
    if run and then:
        then(run)
    return run.objective if run else math.nan  # only rank 0 has a run


def _show(error: Exception, name: str | None, left: int) -> None:
    """Show an error now: Hydra reports only the first, at the end."""
    retried = f"; {left} more {'try' if left == 1 else 'tries'}" if left else ""
    shell.show(f"error: {name + ': ' if name else ''}{sentence(error)}{retried}", sys.stderr)


def _shares(cfg: dict, launcher, folder: Path | None) -> tuple[dict, dict]:
    """Return the config with the cores that a launcher gives each job, and options of `run_config`."""
    if "cpus_per_task" in launcher and cfg["threads"] is None:
        cfg = cfg | {"threads": launcher.cpus_per_task or 1}
    return cfg, {"n_side_by_side": launcher.get("n_jobs") or 1, "shared": folder and folder / SHARED}


def _resumed(run: Run, options: dict) -> Run | None:
    """Go on with a job's run by its recorded config, on the data and with the code that it began with."""
    with hold(run.folder, "resume"):
        cfg = config_to_resume(run, None, False, None)
        return run_config(cfg, resume=run, report=check_code(run, False), origin=origin(run, True), **options)


def _done(folder: Path, run: Run, job: int, section: dict, overrides=()) -> None:
    """Record once, and tell the search, that a job is done or pruned: a kill may have come between.

    overrides : of the job, where an earlier run has done the same
    """
    if not any(row["job"] == job and row["status"] in FINISHED for row in rows(folder)):
        ended(folder, run, job, overrides, section=section)
    if section.get("trial") is not None:
        search.tell(folder, section, run)


def _mark(folder: Path, job) -> Path:
    """Return the file that says that a job runs."""
    return folder / f".{job}.running"


def _set_running(folder: Path | None, job, runs: bool) -> None:
    """Say whether a job of a sweep runs."""
    if folder and runs:
        _mark(folder, job).touch()
    elif folder:
        _mark(folder, job).unlink(missing_ok=True)


def _failed(error: Exception, name: str | None, kind: str, folder, member: dict, failed) -> None:
    """Write a failure down; raise what is no user's mistake, with its traceback, unless a sweep goes on."""
    if folder and name:
        ended(folder, Run.open(name), member["job"])
    else:
        _set_running(folder, member["job"], False)
    if folder and (kind == "stop" or is_full(error)):
        (folder / STOP).touch()
    if not is_told(error):
        raise error
    failed.append(name or f"job {member['job']}")


def membership(settings, section: dict) -> dict:
    """Return the sweep, the job's number and the MLflow parent of a job, for its report; nulls for a run."""
    if settings.mode != RunMode.MULTIRUN:
        return {"sweep": None, "job": None, "parent": None}
    folder = Path(settings.sweep.dir)
    return {
        "sweep": folder.name, "job": settings.job.num if section.get("trial") is None else section["trial"],
        "parent": read_json(folder / "sweep.json")["parent"],
    }  # fmt: skip


def run_of(member: dict) -> Run | None:
    """Return the run that a job had when its sweep was begun again, None if it had none."""
    begun = read_json(outputs() / "sweeps" / member["sweep"] / "sweep.json")
    again = "SLURM_RESTART_COUNT" in os.environ  # SLURM has put the job into the queue again
    known = begun["runs"] | (newest(member["sweep"]) if again else {})
    name = known.get(str(member["job"]))
    return Run.open(name) if name else None


def newest(sweep: str) -> dict[str, str]:
    """Return {number of the job: its newest run} of a sweep; a job whose run is broken begins anew."""
    readable = (run for run in all_runs() if not isinstance(run, BrokenRun))
    return {str(run.report["job"]): run.name for run in readable if run.report.get("sweep") == sweep}


def ended(
    folder: Path, run: Run | None, job: int, overrides=(), error: str | None = None, section=None
) -> None:
    """Add a line about a job that ended to the sweep's ``jobs.jsonl``, and show how far the sweep is.

    Jobs in several processes write at once: a line is one write at the end of the file.

    run : None where the job died before it had one; then ``overrides`` and ``error`` are known; a run of
        another sweep, or of none, where that has done the same
    """
    report = run.report if run else {"overrides": overrides, "error": error}
    metric = report.get("metric") or {"name": None, "mode": None}
    row = {
        "job": job, "run": run and run.name, "status": run.status if run else "failed",
        "dataset": report.get("dataset"), "metric": metric["name"], "mode": metric["mode"],
        "value": report.get("metrics", {}).get(f"val/{metric['name']}"),
        "seconds": round(sum(report.get("timings", {}).values()), 1), "error": report.get("error"),
        "ended": time.time(), "overrides": list(overrides) or report.get("overrides", []),
        "reused": bool(run) and (report["sweep"], report.get("job")) != (folder.name, job),
    }  # fmt: skip
    _mark(folder, job).unlink(missing_ok=True)
    if section and section.get("trial") is not None:
        row["objectives"] = search.ends(run.report, section)
    path = folder / ENDED
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")  # the last writer was killed
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, ("\n" * torn + json.dumps(row) + "\n").encode())
    finally:
        os.close(descriptor)
    log.info(told(row, folder))


def told(row: dict, folder: Path) -> str:
    """Return how a job ended, with its own overrides, and how far its sweep is: two lines."""
    chosen = map(rounded, _chosen(row, folder))
    score = f"   {scored(row).partition(' ')[2]}" if front([row]) else ""
    line = f"{row['run'] or 'job ' + str(row['job'])} {row['status']}{score}   {row['seconds']} s"
    return f"{'   '.join([line, ' '.join(chosen)]).rstrip()}\n{progress(folder)}"


def _chosen(row: dict, folder: Path) -> list[str]:
    """Return the overrides of a job that are not the same in all jobs of its sweep."""
    fixed = _fixed(*read_json(folder / "sweep.json").get("words", ()))  # older sweeps recorded none
    typed = [text.lstrip("+") for text in row["overrides"]]
    return [text for text in typed if text.partition("=")[0] not in fixed]


@functools.cache  # Hydra's parser takes 4 ms for each
def _fixed(*words: str) -> list[str]:
    """Return the keys of a sweep that are the same in all jobs."""
    return ["sweep.trial", *(word.key_or_group for word in map(parse, words) if not word.is_sweep_override())]


def rows(folder: Path) -> list[dict]:
    """Return the last line of each job in ``jobs.jsonl``, without a line that a kill has torn."""
    found = {}
    path = folder / ENDED
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            found[row["job"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def progress(folder: Path, over: bool = False) -> str:
    """Return how far a sweep is: jobs that ended, the best of them, and, unless it is over, the time left."""
    sweep, ends = read_json(folder / "sweep.json"), rows(folder)
    n_done, n_pruned = (sum(row["status"] == status for row in ends) for status in FINISHED)
    text = f"{folder.name}   {n_done} of {sweep['n_jobs']} jobs done"
    n_reused = sum(row.get("reused", False) for row in ends)
    n_running = 0 if over else len([*folder.glob(".*.running")])  # a kill leaves its mark
    text += f" ({n_reused} by earlier runs)" if n_reused else ""
    n_failed = len(ends) - n_done - n_pruned
    for n, how in ((n_pruned, "pruned"), (n_failed, "failed"), (n_running, "running")):
        text += f", {n} {how}" if n else ""
    if best := front(ends):
        several = len(goals(best[0])) > 1
        text += f"   {len(best)} on the front" if several else f"   best {scored(best[0])}"
    since, left = sum(row["ended"] > sweep["began"] for row in ends), sweep["n_jobs"] - len(ends)
    if left and since and not over:
        text += f"   about {duration((time.time() - sweep['began']) / since * left)} left"
    return text


def answer(folder: Path) -> str:
    """Return what a search has found: the best job with what was chosen for it, or those on the front."""
    best = front([row for row in rows(folder) if row.get("objectives")])
    return "\n".join(" ".join([scored(row), "", *_chosen(row, folder)]) for row in best)

"""A sweep, ``outputs/sweeps/s3``: the jobs of a ``--multirun``, and a parent run in MLflow for them."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from src.config.jobs import compose_once
from src.config.space import SECONDS
from src.config.tree import written
from src.logger.fanout import Fanout
from src.run.folder import all_runs, find_sweep, name_of
from src.run.lock import hold
from src.study import jobs, nested
from src.study.best import goals, rounded
from src.study.launchers import replace_joblib, replace_submitit
from src.study.leaderboard import leaderboards
from src.study.table import aligned, shown
from src.system.errors import UserError, log, printable
from src.system.files import read_json, replacing, write_json
from src.system.paths import CHECKOUT, claim, outputs
from src.trainer import ranks

PARTS = ("val", "test")
QUICK = 60  # seconds of a sweep whose page, which takes three, is drawn only if asked for


@contextmanager
def sweep(words: list[str], cfg: dict, n_jobs: int, failed: list, again: str | None, force: bool):
    """Claim the next sweep, or go on with ``again``, and tell Hydra its folder; show its jobs at the end.

    Runs that are not done are added to ``failed``; the parent run in MLflow is done if there are none.

    words : train's overrides, by which the sweep can be started again
    cfg : the config of the first job
    force : go on though another process seems to hold the sweep
    """
    if ranks.launcher():
        raise UserError(f"{ranks.launcher()} starts the ranks of one run: leave --multirun out")
    folder = outputs() / "sweeps" / again if again else claim(outputs() / "sweeps", "s")
    with hold(folder, "sweep", force):
        os.environ["REPRISE_SWEEP"] = str(folder)  # an override would read ', \\ and ${ of a path
        flags, name = list(sys.argv[1:]), folder.name
        sys.argv.append("hydra.sweep.dir=${oc.env:REPRISE_SWEEP}")
        log.info("%s   %d jobs", name, n_jobs)
        trackers, parent = _parent(folder, cfg["logger"])
        write_json(folder / "sweep.json", {
            "parent": parent, "words": words, "argv": flags, "folder": os.getcwd(), "n_jobs": n_jobs,
            "began": time.time(), "runs": jobs.newest(name) if again else {},
        })  # fmt: skip
        for mark in (folder / jobs.STOP, *folder.glob(".*.running")):
            mark.unlink(missing_ok=True)
        shutil.rmtree(folder / jobs.SHARED, ignore_errors=True)  # of a sweep that was killed
        replace_joblib()
        if "submitit" in " ".join(words):  # else its import costs 0.1 s
            replace_submitit()
        compose_once()
        with _ended(folder, trackers, failed, cfg["pictures"]):
            yield


def _parent(folder: Path, logger: dict) -> tuple[Fanout, str | None]:
    """Return the trackers of the sweep itself, and its id in MLflow."""
    described = {
        "name": folder.name, "project": logger["project"], "config": {}, "tags": {"sweep": folder.name},
        "parent": None, "started": time.time(),
        "advice": f"{folder.name} goes on without a parent run there",
    }  # fmt: skip
    names = ["mlflow"] if logger["mlflow"] else []
    trackers = Fanout(names, described, folder / "trackers.json", logger["wait"])
    return trackers, trackers.started("mlflow").get("run_id") if names else None


@contextmanager
def _ended(folder: Path, trackers: Fanout, failed: list, pictures: bool | None):
    """Show and record how the block, all jobs of the sweep, ended."""
    status, began = "failed", time.monotonic()
    try:
        yield
        status = "done"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        shutil.rmtree(folder / jobs.SHARED, ignore_errors=True)
        page, verb = None, ("src.leaderboard", f"sweep={folder.name}", "format=html")
        if pictures is None:
            pictures = time.monotonic() - began > QUICK
        if pictures and status != "stopped":  # while this process makes the same tables as text
            page = python(*verb, stdout=subprocess.DEVNULL)
        table = results(folder.name)
        with replacing(folder / "results.csv") as temporary:
            table.to_csv(temporary, index=False)
        if len(table):  # else it was refused
            log.info("\n%s:\n%s", folder.name, aligned(listed(table)))
        bad = table[~table["status"].isin(jobs.FINISHED)]
        names = bad["run"].fillna("job " + bad["job"].astype(str))
        failed += [name for name in names if name not in failed]
        if (table["status"] == "done").sum() > 1:
            with suppress(UserError):  # it is told already
                log.info("\n%s", shown(leaderboards(folder.name), "text"))
        written = page and page.wait() == 0
        log.info("\npage      %s", folder / "sweep.html" if written else f"python -m {' '.join(verb)}")
        answer = [nested.told(folder), jobs.progress(folder, over=True), _found(folder)]
        log.info("\n%s", "\n".join(filter(None, answer)))
        if failed:
            log.info("to train what is missing: python -m src.train sweep_resume=%s", folder.name)
        if status == "done" and failed:
            status = "failed"
        trackers.finish(status, error=f"not done: {', '.join(failed)}" if failed else None)
        for mark in folder.glob(".*.failed"):  # for the jobs of this sweep
            mark.unlink()


def _found(folder: Path) -> str:
    """Return the best trials of a search, and the three parameters that decided most; "" for a grid."""
    if best := jobs.answer(folder):
        from src.study.trials import as_study, importances  # Optuna, which costs 0.2 s

        shares = list(importances(as_study(jobs.rows(folder))).items())
        best += "".join(f"\nimportance  {name} {share:.0%}" for name, share in shares[:3] if len(shares) > 1)
    return best


def begun(words: list[str]) -> tuple[list[str], str, bool]:
    """Return overrides and name of the sweep that ``sweep_resume=s3`` names, and whether by force.

    The command line becomes that of the sweep.
    """
    force = "force=true" in words
    first = next(word for word in words if word.startswith("sweep_resume="))
    others = [word for word in words if word not in (first, "force=true")]
    name = first.partition("=")[2]
    if others:
        raise UserError(f"{first} takes the sweep's own overrides: leave {' '.join(others)} out")
    folder = find_sweep(name)
    known = read_json(folder / "sweep.json")
    if "words" not in known:
        raise UserError(f"{name} is of an older version, which did not record its overrides")
    if Path(known["folder"]).is_dir():
        os.chdir(known["folder"])  # from where its relative paths count
    sys.argv[1:] = known["argv"]
    return known["words"], folder.name, force


def python(module: str, *words: str, **options) -> subprocess.Popen:
    """Start a verb in a child process, which has this one's folders."""
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-u", "-m", module, *words], env=environment, **options)


def run_sweep(*overrides: str | dict) -> pd.DataFrame:
    """Train every combination, as ``--multirun`` does in the shell, and return a row for each run.

    A dict has a model's own values, single ones or lists: ``{model: {key: values}}``.

    >>> run_sweep("model=mlp,linear", "dataset=wine", "seed=0,1,2")                        # doctest: +SKIP
    >>> run_sweep({"mlp": {"model.lr": [1e-3, 1e-2]}, "linear": {}}, "dataset=wine")       # doctest: +SKIP
    """
    words = []
    for one in overrides:
        models = isinstance(one, dict)
        words += ["sweep=models", f"sweep.models={written(one, 'sweep.models')}"] if models else [one]
    name, line = None, ""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with python("src.train", "--multirun", *words, **options) as child:
        for line in child.stdout:
            found = re.fullmatch(r"(s\d+)   \d+ jobs\n", line)
            name = name or (found and found[1])
            if name or not line.startswith("error: "):  # which is raised
                print(line, end="")
    if name is None:
        raise UserError(line.strip().removeprefix("error: "))
    return results(name)


def results(name: str) -> pd.DataFrame:
    """Return a row for each run of a sweep: job, run, status, its overrides, metrics, seconds, error."""
    found, runs = [], {run.name: run for run in all_runs()}
    name = name_of(name, runs.values())
    ends = jobs.rows(outputs() / "sweeps" / name)
    aimed = {row["job"]: [one["name"] for one in goals(row) if one["name"] != SECONDS] for row in ends}
    members = [(run, run.report) for run in runs.values() if run.report.get("sweep") == name]
    for row in ends:
        if row.get("reused") and row["run"] in runs:
            run = runs[row["run"]]
            members.append((run, run.report | {"job": row["job"], "overrides": row["overrides"]}))
    for run, report in members:
        row, metric = {"job": report.get("job"), "run": run.name, "status": run.status}, report["metric"]
        typed = map(str, report.get("overrides") or [])
        row |= dict(text.lstrip("+").split("=", 1) for text in typed if "=" in text)
        names = dict.fromkeys([metric["name"], *aimed.get(row["job"], ())] if metric else ())
        for key in [f"{part}/{name}" for name in names for part in PARTS]:
            row[key] = report["metrics"].get(key)
        seconds = round(sum(report["timings"].values()), 1)
        found.append(row | {"seconds": seconds, "error": report.get("error")})
    for row in ends:
        if row["run"] is None and all(row["job"] != other["job"] for other in found):
            typed = dict(text.split("=", 1) for text in row["overrides"] if "=" in text)
            known = {key: row[key] for key in ("job", "run", "status")}
            found.append(known | typed | {"seconds": row["seconds"], "error": row["error"]})
    table = pd.DataFrame(found, columns=None if found else ["job", "run", "status"])
    order = sorted(table, key=lambda name: 2 if name in ("seconds", "error") else "/" in name)  # keys, scores
    return table[order].sort_values("job", kind="stable", ignore_index=True)


def listed(table: pd.DataFrame) -> list[list[str]]:
    """Return the jobs for people as cells, the head first: what differs, a key by its last part if clear."""
    same = [name for name in table.columns[3:] if len(table) > 1 and table[name].nunique(dropna=False) == 1]
    same = [name for name in same if table[name].isna().all() or not ("/" in name or name == "error")]
    rows = [[name for name in table.columns if name not in (*same, "job")]]
    for _, row in table[rows[0]].astype({"seconds": str} if "seconds" in rows[0] else {}).iterrows():
        cells = ["" if pd.isna(x) else f"{x:.4f}" if isinstance(x, float) else str(x) for x in row]
        rows.append([cell.strip().rpartition("\n")[2][:100] for cell in cells])
    last = [name if "/" in name else name.rpartition(".")[2] for name in rows[0]]
    rows[0] = [name if last.count(part) > 1 else part for name, part in zip(rows[0], last, strict=True)]
    return [[printable(rounded(cell)) for cell in row] for row in rows]

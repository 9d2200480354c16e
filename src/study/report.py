"""Tell of one run, or of several, in one file that needs nothing else: HTML, or Markdown."""

import base64
import math
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from src.data.target import class_names
from src.metric.choose import choose
from src.metric.words import METRICS
from src.run.compare import causes
from src.run.folder import Run
from src.run.rows import rows_of
from src.run.table import of_part, shown
from src.study import page
from src.study.best import duration
from src.study.leaderboard import board, comparable
from src.study.statistics import N_GROUPS, jackknife
from src.system.errors import UserError, log, without_password
from src.system.files import read_json, write_text
from src.system.paths import outputs

N_WORST = 10
BOUNDS = dict.fromkeys(("loss", "log_loss", "mse", "rmse", "mae"), (0, math.inf)) | {"r2": (-math.inf, 1)}
BOUNDS |= dict.fromkeys(("mcc", "spearman"), (-1, 1))  # other built-in metrics are between 0 and 1
MAX_CELL = 160  # letters of a cell of a row
PACKAGES = ("torch", "lightning", "scikit-learn", "numpy", "pandas")
HERE = Path(__file__).parent


def of_run(name: str, kind: str, path: Path | None = None) -> Path:
    """Write the report of a run as ``kind``, html or md, beside its files or to ``path``; return the path."""
    run = Run.open(name)
    if run.status not in ("done", "pruned"):
        raise UserError(f"{run.name} is {run.status}: a report tells of a run that is done")
    path = path or run.folder / f"report.{kind}"
    pictures = {one.stem: _picture(one, path, kind) for one in run.plots.values()}
    write_text(path, page.render(HERE / f"run.{kind}", **_told(run), pictures=pictures))
    return path


def of_runs(names: list[str], path: Path | None = None) -> Path:
    """Write the comparison of runs: boards, curves over each other, and what differs; return the path."""
    runs = [Run.open(name) for name in names]
    groups = comparable(runs)
    if not groups:
        raise UserError(f"none of {', '.join(names)} is done")
    boards = []
    for group in sorted(groups, key=len, reverse=True):
        table = board(group)
        boards.append(page.shown(table, page.curves_of(table, [run.name for run in group])))
    changes = {f"{runs[0].name} and {run.name}": causes(runs[0], run) for run in runs[1:]}
    path = path or outputs() / f"report_{'_'.join(run.name for run in runs)[:80]}.html"
    told = [_told(run, rows=False) for run in runs]
    write_text(path, page.render(HERE / "runs.html", runs=told, boards=boards, changes=changes))
    return path


def _told(run: Run, rows: bool = True) -> dict:
    """Return what a template shows of a run; ``rows``: also the test rows with the worst errors."""
    report, info, env = run.report, run.info, read_json(run.folder / "env.json")
    typed = shlex.join(map(without_password, report.get("overrides", ())))
    deciding = report["metric"]["name"]
    arrays = run.arrays if run.status == "done" else {}
    facts = {
        "target": f"{info['target']} ({info['task']})", "classes": ", ".join(map(str, info["classes"] or ())),
        "rows": _rows(report, arrays), "data digest": report["data_digest"], "ETL": report["etl_version"],
        "seed": f"{report['seed']}, of the test part {report['split_seed']}",
        "kept epoch": report["best_epoch"],
        "seconds": duration(sum(report["timings"].values())),
    }  # fmt: skip
    packages = {name: env["packages"].get(name) for name in PACKAGES}
    machine = {"python": env["python"], "machine": env["machine"], "git": env["git"].get("sha")} | packages
    facts = {key: value for key, value in facts.items() if value not in (None, "")}
    columns = {role: names for role, names in info["columns"].items() if names}
    told = {
        "name": run.name, "model": report["model"], "dataset": report["dataset"], "status": run.status,
        "deciding": deciding, "typed": typed, "facts": facts, "columns": columns,
        "notes": report.get("notes", {}), "n_groups": N_GROUPS,
        "metrics": _metrics(run, arrays), "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
        "environment": {key: value for key, value in machine.items() if value}, "worst": [],
    }  # fmt: skip
    told["score"] = next((row for row in told["metrics"] if row["name"] == deciding), None)
    if rows and arrays:
        try:
            told["worst"] = _worst(run, arrays)
        except UserError as error:
            log.warning("the report has no rows with errors: %s", error)
    return told


def _rows(report: dict, arrays: dict) -> str:
    """Return the sizes of the parts."""
    sizes = {"train": report.get("train_rows", (0, 0))[1]}
    sizes |= {part: len(arrays[f"{part}_y"]) for part in ("val", "test") if f"{part}_y" in arrays}
    return ", ".join(f"{n:,} {part}" for part, n in sizes.items() if n)


def _metrics(run: Run, arrays: dict) -> list[dict]:
    """Return a row for each metric: its value on each part, and its 95% interval on test.

    The interval is that of the test rows by the delete-a-group jackknife; the seed's part is not in it.
    """
    report, task = run.report, run.info["task"]
    parts = {part: of_part(report["metrics"], part) for part in ("val", "test")}
    parts = {"train": report.get("train_metrics", {})} | parts | {"baseline": report.get("baseline", {})}
    rows = []
    for name in shown(parts["test"] or parts["val"], report["metric"]["name"]):
        row = {"name": name} | {part: _text(values.get(name)) for part, values in parts.items()}
        rows.append(row | {"interval": _interval(run, arrays, name, task)})
    return rows


def _interval(run: Run, arrays: dict, name: str, task: str) -> str:
    if not arrays or len(arrays["test_y"]) < 2 * N_GROUPS:
        return ""
    try:
        metric = choose("log_loss" if name == "loss" and task != "regression" else name, None, task)
        values = jackknife(metric["fn"], arrays["test_y"], arrays["test_p"])
    except Exception:  # no metric of predictions, or the user's own on fewer rows
        return ""
    n = len(values) - 1
    error = math.sqrt((n - 1) / n * np.sum((values[1:] - values[1:].mean()) ** 2))
    least, most = BOUNDS.get(name, (0, 1) if name in METRICS else (-math.inf, math.inf))
    return f"{max(least, values[0] - 1.96 * error):.4f} to {min(most, values[0] + 1.96 * error):.4f}"


def _worst(run: Run, arrays: dict) -> list[dict]:
    """Return the test rows that are predicted worst: id, true, predicted, and their cells."""
    y, p, classes = arrays["test_y"], arrays["test_p"], run.info["classes"]
    loss = 1 - p[np.arange(len(y)), y] if classes else np.abs(y - p)
    order = np.argsort(-loss, kind="stable")[:N_WORST]
    names = class_names(run.info) if classes else None
    read = [name for role, names in run.info["columns"].items() if role != "ignored" for name in names]
    frame, found = rows_of(run, "test"), []
    for i in order:
        row = {"id": arrays["test_id"][i], "true": names[y[i]] if classes else f"{y[i]:.4g}"}
        row["predicted"] = f"{names[p[i].argmax()]} ({p[i].max():.3f})" if classes else f"{p[i]:.4g}"
        found.append(row | {name: _cell(frame[name].iloc[i]) for name in read if name in frame})
    return found


def _cell(value) -> str:
    text = "" if pd.isna(value) else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _text(value) -> str:
    return "" if value is None else f"{value:.4f}"


def _picture(one: Path, path: Path, kind: str) -> str:
    """Return the address of a picture: its content in HTML, its place relative to ``path`` in Markdown."""
    if kind == "html":
        return f"data:image/png;base64,{base64.b64encode(one.read_bytes()).decode()}"
    return Path(one).relative_to(path.parent).as_posix() if path.parent in one.parents else str(one)

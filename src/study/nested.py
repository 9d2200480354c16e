"""Nested cross-validation: in each outer fold the inner folds choose a setting, the outer one scores it."""

from pathlib import Path

import pandas as pd

from src.run.folder import Run
from src.study import jobs
from src.study.leaderboard import settings
from src.system.files import replacing


def choices(runs: list[Run]) -> pd.DataFrame:
    """Return a row for each outer fold, ``cv.outer``, of each seed: the setting that its inner folds choose.

    inner : the deciding metric on val, the mean over the inner folds
    outer : the same of the outer fold's rows, by the mean of the inner folds' models
    """
    rows, metric = [], runs[0].report["metric"]
    for label, members in settings(runs).items():
        for run in members:
            scores = {"inner": run.objective, "outer": run.report["metrics"][f"test/{metric['name']}"]}
            row = {"seed": run.cfg["seed"], "fold": run.cfg["cv"]["outer"], "setting": label, "run": run.name}
            rows.append(row | scores)
    table = pd.DataFrame(rows).sort_values("inner", ascending=metric["mode"] == "min", kind="stable")
    return table.drop_duplicates(["seed", "fold"]).sort_values(["seed", "fold"], ignore_index=True)


def told(folder: Path) -> str:
    """Write ``nested.csv`` into the folder of a sweep over ``cv.outer``; return it as text, "" of others."""
    runs = [Run.open(row["run"]) for row in jobs.rows(folder) if row["status"] == "done"]
    runs = [run for run in runs if (run.cfg.get("cv") or {}).get("outer") is not None]
    if not runs:
        return ""
    table = choices(runs)
    with replacing(folder / "nested.csv") as temporary:
        table.to_csv(temporary, index=False)
    found = f"{runs[0].report['metric']['name']} {table['outer'].mean():.4f} ± {table['outer'].std():.4f}"
    text = table.to_string(index=False, float_format="{:.4f}".format)
    return f"nested folds\n{text}\n{found} on rows that chose nothing"

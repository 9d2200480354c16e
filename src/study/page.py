"""Write the answer of a sweep as one HTML file, ``outputs/sweeps/s3/sweep.html``."""

import shlex
from contextlib import suppress
from pathlib import Path

import jinja2
import pandas as pd

from src.run.folder import Run
from src.study.jobs import duration, rows
from src.study.leaderboard import leaderboards
from src.study.pictures import drawn, lines, of_study
from src.study.statistics import expected_best
from src.study.sweep import folder_of, listed, results
from src.study.table import cells, remarks, title
from src.study.trials import as_study, parameters
from src.system.errors import UserError, printable, without_password
from src.system.files import read_json, write_text

MAX_DRAWN = 4  # boards with pictures: each costs seconds


def write(name: str) -> Path:
    """Write the page of sweep ``s3`` and return its path."""
    folder, boards = folder_of(name), []
    table, jobs, searched = results(name), sorted(rows(folder), key=lambda job: job["job"]), {}
    try:
        boards = leaderboards(name)
    except UserError:
        boards = []  # no job is done
    for key, value in ((key, x) for one in parameters(jobs) for key, x in one.items()):
        searched.setdefault(key, {})[value] = True
    template = Path(__file__).with_name("sweep.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(template).render(
        name=name, words=shlex.join(map(without_password, read_json(folder / "sweep.json").get("words", []))),
        counts=table["status"].value_counts().to_dict(), spent=duration(sum(job["seconds"] for job in jobs)),
        searched=searched, failed=table[table["error"].notna()].to_dict("records"), jobs=listed(table),
        boards=[
            {"title": title(board), "first": board.iloc[0], "cells": cells(board), "remarks": remarks(board)}
            | {"metric": board.attrs["metric"], "pictures": _pictures(board, jobs) if k < MAX_DRAWN else []}
            for k, board in enumerate(boards)
        ],
    )  # fmt: skip
    write_text(folder / "sweep.html", printable(text, keep="\n"))
    return folder / "sweep.html"


def _pictures(board: pd.DataFrame, jobs: list[dict]) -> list[str]:
    """Return the pictures of one leaderboard as SVG; also jobs that are not done have curves."""
    metric, best = board.attrs["metric"], board["runs"].iloc[0].partition(",")[0]
    jobs = [job for job in jobs if (job["dataset"], job["metric"]) == (board.attrs["dataset"], metric)]
    curves = {}
    for job in jobs:
        with suppress(UserError):  # the run was removed, or is damaged
            history = Run.open(job["run"]).rows
            curves[job["run"]] = {row["epoch"]: row.get(f"val/{metric}") for row in history}
    bought = expected_best(board["val"].dropna(), board.attrs["mode"])
    bought = pd.DataFrame({"best": bought}, index=range(1, len(bought) + 1))
    text = {"title": f"Val of each run; the best, {best}, is orange", "xlabel": "epoch", "ylabel": metric}
    found = drawn(lines, pd.DataFrame(curves).sort_index(), best, **text)
    text = {"title": "What a budget buys", "xlabel": "settings tried", "ylabel": f"expected best {metric}"}
    return [*found, *drawn(lines, bought, "best", **text), *of_study(as_study(jobs))]

"""Write the answer of a sweep as one HTML file, ``outputs/sweeps/s3/sweep.html``; pages need no network."""

import shlex
from contextlib import suppress
from pathlib import Path

import jinja2
import pandas as pd

from src.run.folder import Run, find_sweep
from src.study.best import duration
from src.study.jobs import rows
from src.study.leaderboard import leaderboards
from src.study.pictures import drawn, lines, of_study
from src.study.statistics import expected_best
from src.study.sweep import listed, results
from src.study.table import cells, remarks, title
from src.study.trials import as_study, parameters
from src.system.errors import UserError, printable, without_password
from src.system.files import read_json, write_text

MAX_DRAWN = 4  # boards with pictures: each costs seconds


def write(name: str, path: Path | None = None) -> Path:
    """Write the page of sweep ``s3`` into its folder, or to ``path``, and return the path."""
    folder, boards = find_sweep(name), []  # none where no job is done
    table, jobs, searched = results(name), sorted(rows(folder), key=lambda job: job["job"]), {}
    with suppress(UserError):
        boards = leaderboards(name)
    for key, value in ((key, x) for one in parameters(jobs) for key, x in one.items()):
        searched.setdefault(key, {})[value] = True
    words = map(without_password, read_json(folder / "sweep.json").get("words", []))
    text = render(
        Path(__file__).with_name("sweep.html"), name=folder.name, words=shlex.join(words),
        counts=table["status"].value_counts().to_dict(), spent=duration(sum(job["seconds"] for job in jobs)),
        searched=searched, failed=table[table["error"].notna()].to_dict("records"), jobs=listed(table),
        boards=[shown(one, _pictures(one, jobs) if k < MAX_DRAWN else []) for k, one in enumerate(boards)],
    )  # fmt: skip
    path = path or folder / "sweep.html"
    write_text(path, text)
    return path


def render(template: Path, **values) -> str:
    """Return the text of a template; an HTML one extends ``base.html``, which has the style."""
    options = {"trim_blocks": True, "undefined": jinja2.StrictUndefined}
    options |= {"autoescape": template.suffix == ".html", "loader": jinja2.FileSystemLoader(template.parent)}
    text = jinja2.Environment(**options).get_template(template.name).render(**values)
    return printable(text, keep="\n")


def shown(board: pd.DataFrame, pictures: list[str]) -> dict:
    """Return what `boards.html` shows of a leaderboard."""
    told = {"title": title(board), "first": board.iloc[0], "cells": cells(board), "remarks": remarks(board)}
    return told | {"metric": board.attrs["metric"], "pictures": pictures}


def curves_of(board: pd.DataFrame, names: list[str]) -> list[str]:
    """Return a picture of the deciding metric on val over the epochs of runs, the best in orange."""
    metric, best, curves = board.attrs["metric"], board["runs"].iloc[0].partition(",")[0], {}
    for name in names:
        with suppress(UserError):  # the run was removed, or is damaged
            curves[name] = {row["epoch"]: row.get(f"val/{metric}") for row in Run.open(name).rows}
    if max(map(len, curves.values()), default=0) < 2:
        return []
    text = {"title": f"Val of each run; the best, {best}, is orange", "xlabel": "epoch", "ylabel": metric}
    return drawn(lines, pd.DataFrame(curves).sort_index(), best, **text)


def _pictures(board: pd.DataFrame, jobs: list[dict]) -> list[str]:
    """Return the pictures of one leaderboard as SVG; also jobs that are not done have curves."""
    metric = board.attrs["metric"]
    jobs = [job for job in jobs if (job["dataset"], job["metric"]) == (board.attrs["dataset"], metric)]
    bought = expected_best(board["val"].dropna(), board.attrs["mode"])
    bought = pd.DataFrame({"best": bought}, index=range(1, len(bought) + 1))
    found = curves_of(board, [job["run"] for job in jobs])
    text = {"title": "What a budget buys", "xlabel": "settings tried", "ylabel": f"expected best {metric}"}
    return [*found, *drawn(lines, bought, "best", **text), *of_study(as_study(jobs))]

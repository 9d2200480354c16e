"""The best jobs of a sweep, by lines of its ``jobs.jsonl``: one, or with two objectives a front."""

import re

from src.config.space import SECONDS

GOAL = ("name", "mode", "value")


def goals(row: dict) -> list[dict]:
    """Return what a job was for, [{"name", "mode", "value"}]: the objectives of a search, or its metric."""
    return row.get("objectives") or [{key: row[key if key != "name" else "metric"] for key in GOAL}]


def scored(row: dict) -> str:
    """Return a job and its values for people: ``t3 val/accuracy 0.9524``."""
    names = {one["name"]: "" if one["name"] == SECONDS else "val/" for one in goals(row)}
    scores = [f"{names[one['name']]}{one['name']} {one['value']:.4f}" for one in goals(row)]
    return f"{row['run']} {', '.join(scores)}"


def rounded(text: str) -> str:
    """Return text whose numbers have four digits: a search draws model.lr=0.004043878009515107."""
    return re.sub(r"\d+\.\d{5,}(e-?\d+)?", lambda number: f"{float(number[0]):.4g}", text)


def front(ends: list[dict]) -> list[dict]:
    """Return the best job; with two objectives those that no other is better than in both, by the first.

    Jobs that were not for the same are not comparable: then there is none.
    """
    known = [row for row in ends if all(goal["value"] is not None for goal in goals(row))]
    if len({(row["dataset"], *(goal["name"] for goal in goals(row))) for row in known}) != 1:
        return []

    def score(row: dict) -> tuple[float, ...]:
        return tuple(-goal["value"] if goal["mode"] == "max" else goal["value"] for goal in goals(row))

    best = []
    for row in sorted(known, key=score):
        if not best or score(row)[1:] < score(best[-1])[1:]:
            best.append(row)
    return best


def duration(seconds: float) -> str:
    """Return seconds for people.

    >>> duration(50), duration(200), duration(8000)
    ('50 s', '3 min', '2.2 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

"""Show leaderboards as text, Markdown, LaTeX or CSV."""

import math
import shutil
import textwrap

import pandas as pd

from src.config.shell import wrapped
from src.study.best import rounded
from src.study.statistics import expected_best
from src.system.errors import UserError, nearest


def shown(boards: list[pd.DataFrame], form: str) -> str:
    """Return boards as text, markdown, latex or csv."""
    if form not in FORMATS:
        known = (*FORMATS, "html")
        raise UserError(f"format={form} is unknown{nearest(form, known)}; known: {', '.join(known)}")
    return "\n\n".join(FORMATS[form](table) for table in boards)


def cells(table: pd.DataFrame) -> list[list[str]]:
    """Return the head and the rows of a board as text."""
    rows = [["", "setting", "seeds", f"val {table.attrs['metric']}", "test", "val-test", "seconds", "p", ""]]
    for rank, (label, row) in enumerate(table.iterrows(), start=1):
        parts = [f"{row[part]:.4f}{_plus_minus(row[part + '_sd'])}" for part in ("val", "test")]
        p = "" if math.isnan(row["p"]) else f"{row['p']:.3f}"
        more = [f"{row['gap']:+.4f}", f"{row['seconds']:.1f}", p, row["verdict"]]
        rows.append([str(rank), rounded(label), str(row["seeds"]), *parts, *more])
    return rows


def _plus_minus(deviation: float) -> str:
    return "" if math.isnan(deviation) else f" ± {deviation:.4f}"


def remarks(table: pd.DataFrame) -> list[str]:
    """Return sentences below a board: what p means, how lucky the choice was, and what the budget bought."""
    values, gap = table["val"].dropna(), table["gap"]
    if len(values) < 2:
        return [NOTE]
    n = len(values) // 2
    best = expected_best(values, table.attrs["mode"])
    luck = f"{gap.iloc[0]:+.4f}, for the others {gap.iloc[1:].mean():+.4f} on average"
    bought = f"the best val {table.attrs['metric']} of {n} of these settings is expected at {best[n - 1]:.4f}"
    return [
        NOTE,
        f"val-test of the first, chosen by its val, is {luck}: what it has beyond them is the luck of being "
        "chosen (selection bias)",
        f"What the budget bought: {bought}, of all {len(values)} it is {best[-1]:.4f}",
    ]


def _text(table: pd.DataFrame) -> str:
    rows, width = cells(table), shutil.get_terminal_size().columns
    if max(map(len, aligned(rows).splitlines())) > width:
        rows = [[*row[:5], *row[7:]] for row in rows]  # val-test and seconds are in the other formats
    lines = aligned(rows).splitlines()
    if max(map(len, lines)) > width:  # each setting below its numbers
        lines, fold = aligned([[row[0], *row[2:]] for row in rows]).splitlines(), textwrap.TextWrapper(width)
        fold.break_long_words = fold.break_on_hyphens = False
        fold.initial_indent, fold.subsequent_indent = " " * 4, " " * 6
        lines[1:] = [f"{a}\n{fold.fill(row[1])}" for a, row in zip(lines[1:], rows[1:], strict=True)]
    return "\n".join([f"{title(table)}:", *lines, *map(wrapped, remarks(table))])


def aligned(rows: list[list[str]]) -> str:
    """Return rows of cells as lines in which the columns stand below each other."""
    widths, lines = [max(map(len, column)) for column in zip(*rows, strict=True)], []
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _markdown(table: pd.DataFrame) -> str:
    head, *rows = ([cell.replace("|", r"\|") for cell in row] for row in cells(table))
    lines = [f"**{title(table)}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), "", ".\n".join(remarks(table))])


def _latex(table: pd.DataFrame) -> str:
    head, *rows = cells(table)
    frame = pd.DataFrame(rows, columns=head)
    return frame.to_latex(index=False, escape=True, caption=". ".join([title(table), *remarks(table)]))


def title(table: pd.DataFrame) -> str:
    return f"{table.attrs['dataset']}, {table.attrs['n_test']:,} test rows"


NOTE = (
    "Sorted by val; means ± standard deviations over seeds. p: of the difference to the first on the same "
    "test rows, with the chance of rows and seeds, corrected by Holm"
)
FORMATS = {"text": _text, "markdown": _markdown, "latex": _latex, "csv": pd.DataFrame.to_csv}

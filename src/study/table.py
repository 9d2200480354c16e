"""Show leaderboards as text, Markdown, LaTeX or CSV."""

import math

import pandas as pd

from src.system.errors import UserError, nearest


def shown(boards: list[pd.DataFrame], form: str) -> str:
    """Return boards as text, markdown, latex or csv."""
    if form not in FORMATS:
        raise UserError(f"format={form} is unknown{nearest(form, FORMATS)}; known: {', '.join(FORMATS)}")
    return "\n\n".join(FORMATS[form](table) for table in boards)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Return the head and the rows of a board as text."""
    rows = [["", "setting", "seeds", f"val {table.attrs['metric']}", "test", "val-test", "seconds", "p", ""]]
    for rank, (label, row) in enumerate(table.iterrows(), start=1):
        parts = [f"{row[part]:.4f}{_plus_minus(row[part + '_sd'])}" for part in ("val", "test")]
        p = "" if math.isnan(row["p"]) else f"{row['p']:.3f}"
        more = [f"{row['gap']:+.4f}", f"{row['seconds']:.1f}", p, row["verdict"]]
        rows.append([str(rank), label, str(row["seeds"]), *parts, *more])
    return rows


def _plus_minus(deviation: float) -> str:
    return "" if math.isnan(deviation) else f" ± {deviation:.4f}"


def _text(table: pd.DataFrame) -> str:
    return "\n".join([f"{_title(table)}:", aligned(_cells(table)), NOTE])


def aligned(rows: list[list[str]]) -> str:
    """Return rows of cells as lines in which the columns stand below each other."""
    widths, lines = [max(map(len, column)) for column in zip(*rows, strict=True)], []
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _markdown(table: pd.DataFrame) -> str:
    head, *rows = ([cell.replace("|", r"\|") for cell in row] for row in _cells(table))
    lines = [f"**{_title(table)}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), "", NOTE])


def _latex(table: pd.DataFrame) -> str:
    head, *rows = _cells(table)
    frame = pd.DataFrame(rows, columns=head)
    return frame.to_latex(index=False, escape=True, caption=f"{_title(table)}. {NOTE}")


def _title(table: pd.DataFrame) -> str:
    return f"{table.attrs['dataset']}, {table.attrs['n_test']:,} test rows"


NOTE = (
    "Sorted by val; means ± standard deviations over seeds. p: of the difference to the first on the same "
    "test rows, with the chance of rows and seeds, corrected by Holm"
)
FORMATS = {"text": _text, "markdown": _markdown, "latex": _latex, "csv": pd.DataFrame.to_csv}

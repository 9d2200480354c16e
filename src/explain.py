"""Show which columns, letters or words the predictions of a run rest on: ``run=t7``."""

from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.system.errors import UserError
from src.system.files import replacing


def explain(
    run: str, input: str | None = None, n: int | None = None, by: str | None = None,
    output: str | None = None, trust: bool = False,
):  # fmt: skip
    """Show which columns, letters or words the predictions of a run rest on, and draw them into its plots.

    python -m src.explain run=t7
    python -m src.explain run=t7 by=shap
    python -m src.explain run=t7 input=rows.csv n=3 output=effects.csv

    run : the run, t7
    input : a file like the one that the run was trained on, for columns with targets; left out: rows of the
        run's val part, for letters and words the first of its test part
    n : how many rows: 2000 for columns, 100 for shap, 10 for letters and words
    by : permutation, the cells of a column are shuffled, or shap; of a text or a sequence: mutation, each
        letter becomes each other one, or occlusion, each letter or word is hidden
    output : a .csv file for all importances or effects, which is replaced if it exists
    trust : use its model and data though they were not made here, or were changed since
    """
    from src.share import importance  # matplotlib
    from src.share.explain import BY, draw, effects

    if n is not None and n < 1:
        raise UserError(f"n={n}: should be at least 1")
    opened = Run.open(run, trust)
    by_row = by in BY or (by is None and opened._predictor.transforms["roles"]["text"])
    if by_row:
        table = effects(opened, input, n or 10, by)
        pictures = [draw(table, opened.folder)]
    else:
        table, pictures = importance.explain(opened, input, n, by)
    if output is not None:
        with replacing(Path(output).expanduser()) as temporary:
            table.to_csv(temporary, index=False)
    if by_row:
        _show_rows(table)
    else:
        shell.show(table.head(importance.N_BARS).to_string(index=False, float_format="{:.4f}".format))
    shell.show("\n".join(f"picture   {picture}" for picture in pictures))
    return table


def _show_rows(table) -> None:
    """Show the six tokens of each row that speak most for its prediction, in their order."""
    for _, row in table.groupby("row"):
        best = row[row["effect"] > 0].nlargest(6, "effect").sort_values("place")
        tokens = [f"{one.token}@{one.place} {one.effect:+.2f}" for one in best.itertuples()]
        shell.show(f"{row['id'].iloc[0]}   {row['prediction'].iloc[0]}   {'  '.join(tokens)}")


if __name__ == "__main__":
    shell.call(explain)

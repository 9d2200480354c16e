"""Show which letters or words the predictions of a run rest on: ``run=t7 input=rows.csv``."""

from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.system.files import replacing


def explain(
    run: str, input: str | None = None, n: int = 10, by: str | None = None, output: str | None = None,
    trust: bool = False,
):  # fmt: skip
    """Show which letters or words the predictions of a run rest on, and draw them into its plots.

    python -m src.explain run=t7
    python -m src.explain run=t7 input=rows.csv n=3 output=effects.csv

    run : the run, t7, of a model that reads a text or a sequence
    input : a file like the one that the run was trained on; left out: the first rows of its test part
    n : how many rows
    by : mutation, each letter becomes each other one, or occlusion, each letter or word is hidden
    output : a .csv file for all effects, which is replaced if it exists
    trust : use its model and data though they were not made here, or were changed since
    """
    from src.share.explain import draw, effects  # matplotlib

    opened = Run.open(run, trust)
    table = effects(opened, input, n, by)
    (opened.folder / "plots").mkdir(exist_ok=True)
    picture = draw(table, opened.folder / "plots" / "explain.png")
    if output is not None:
        with replacing(Path(output).expanduser()) as temporary:
            table.to_csv(temporary, index=False)
    for _, row in table.groupby("row"):
        best = row[row["effect"] > 0].nlargest(6, "effect").sort_values("place")
        tokens = [f"{one.token}@{one.place} {one.effect:+.2f}" for one in best.itertuples()]
        shell.show(f"{row['id'].iloc[0]}   {row['prediction'].iloc[0]}   {'  '.join(tokens)}")
    shell.show(f"picture   {picture}")
    return table


if __name__ == "__main__":
    shell.call(explain)

"""Compute the metrics of a run on a labelled file, and draw them: ``run=t7 input=labelled.csv``."""

from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.run.table import of_part, side_by_side
from src.system.files import write_json
from src.system.tables import as_file, name_of


def evaluate(
    run: str, input: str, output: str | None = None, labels: str | None = None, etl: bool = True,
    trust: bool = False,
):  # fmt: skip
    """Show the metrics of a run on a labelled file beside those of its test part, and draw a picture.

    python -m src.evaluate run=t7 input=labelled.csv
    python -m src.evaluate run=t7 input=labelled.parquet output=metrics.json

    run : the run, t7
    input : a file like the one that the run was trained on, of any size; - reads standard input
    output : a .json file for the metrics, which is replaced if it exists
    labels : a table with the targets of a FASTA file
    etl : false for rows as the ETL of the run's dataset returns them
    trust : use its model and ETL though they were not made here, or were changed since
    """
    from src.share import evaluation  # matplotlib

    opened = Run.open(run, trust)
    with as_file(input) as path:
        values, y, p = evaluation.evaluate(opened, path, etl, labels)
    name = name_of(path, ["test", "learning_curves", "explain", "importance", "dependence", "shap"])
    columns = {"here": values} | {part: of_part(opened.report["metrics"], part) for part in ("test", "val")}
    shell.show("\n".join(side_by_side(columns, opened.report["metric"]["name"])))
    shell.show(f"here: {len(y):,} rows of {name}\n\npicture   {evaluation.draw(opened, name, y, p)}")
    if output:
        write_json(Path(output).expanduser(), values | {"rows": len(y)})
    return values


if __name__ == "__main__":
    shell.call(evaluate)

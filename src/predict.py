"""Predict the rows of a file: ``run=t7 input=new.csv output=p.csv``."""

import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.system.errors import UserError
from src.system.tables import as_file


def predict(
    run: str, input: str, output: str = "-", format: str | None = None, etl: bool = True, trust: bool = False
):  # fmt: skip
    """Predict the rows of a file with a run, and write id, prediction and a probability of each class.

    python -m src.predict run=t7 input=new.csv
    python -m src.predict run=t7 input=new.csv output=p.parquet
    zcat new.csv.gz | python -m src.predict run=t7 input=- > p.csv

    run : the run, t7
    input : a file like the one that the run was trained on, of any size, or - for standard input
    output : a .csv, .tsv or .parquet file, which is replaced if it exists; left out, or -: shown as CSV
    format : predict with this export of the run, for example onnx, see src.export
    etl : false for rows as the ETL of the run's dataset returns them
    trust : use its model and ETL though they were not made here, or were changed since
    """
    from src.run.output import WRITERS, predicted, writing  # Arrow

    if output == "-":
        shell.console(sys.stderr)  # other messages
    elif Path(output).suffix not in WRITERS:
        raise UserError(f"output={output}: should end with {', '.join(WRITERS)}, or be - to show the rows")
    elif Path(output).expanduser().resolve() == Path(input).expanduser().resolve():
        raise UserError(f"output={output} is the input: name another file")
    opened = Run.open(run, trust)
    predictor = import_module("src.format.load").exported(opened, format) if format else opened._predictor
    with as_file(input) as path, nullcontext(_show) if output == "-" else writing(output) as write:
        n, counts = predicted(predictor, path, etl, write)
    if output != "-":
        lines = [f"{count:,} {name}" for name, count in counts.most_common(6)]
        shell.show(", ".join([f"{output}   {n:,} rows", *lines]))
    return n


def _show(rows, first: bool) -> bool:
    return shell.put(rows.to_csv(index=False, header=first)[:-1])


if __name__ == "__main__":
    shell.call(predict)

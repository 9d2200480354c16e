"""Predict the rows of a file: ``run=t7 input=new.csv output=p.csv``."""

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from src.config import shell
from src.format.load import exported
from src.run.folder import Run
from src.run.output import WRITERS, writing
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
    if output == "-":
        shell.console(sys.stderr)  # other messages
    elif Path(output).suffix not in WRITERS:
        raise UserError(f"output={output}: should end with {', '.join(WRITERS)}, or be - to show the rows")
    elif Path(output).expanduser().resolve() == Path(input).expanduser().resolve():
        raise UserError(f"output={output} is the input: name another file")
    n, counts, opened = 0, Counter(), Run.open(run, trust)
    predictor = exported(opened, format) if format else opened._predictor
    shown = tqdm(unit=" rows", unit_scale=True, leave=False, disable=None)  # on a terminal only
    with as_file(input) as path, nullcontext() if output == "-" else writing(output) as write, shown as bar:
        for raw, share in predictor.chunks(path):
            rows = predictor.predict(raw, etl)
            if write:
                write(rows)
            elif not shell.put(rows.to_csv(index=False, header=not n)[:-1]):
                break  # nobody reads any more
            n += len(rows)
            bar.total = int(n / share) if share else None
            bar.update(len(rows))
            counts.update(rows["prediction"].value_counts().to_dict() if predictor.info["classes"] else {})
    if output != "-":
        lines = [f"{count:,} {name}" for name, count in counts.most_common(6)]
        shell.show(", ".join([f"{output}   {n:,} rows", *lines]))
    return n


if __name__ == "__main__":
    shell.call(predict)

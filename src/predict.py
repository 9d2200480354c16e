"""Predict new rows with a run: ``run=t7 input=new.csv output=p.csv``."""

import sys
from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.system.errors import UserError
from src.system.files import replacing

WRITERS = {  # suffix -> method of a DataFrame, and its options
    ".csv": ("to_csv", {"index": False}),
    ".tsv": ("to_csv", {"index": False, "sep": "\t"}),
    ".parquet": ("to_parquet", {"index": False}),
}


def predict(run: str, input: str, output: str = "-", etl: bool = True, trust: bool = False):
    """Predict the rows of a file with a run, and write id, prediction and a probability of each class.

    python -m src.predict run=t7 input=new.csv
    python -m src.predict run=t7 input=new.csv output=p.parquet

    run : the run, t7
    input : a file like the one that the run was trained on; the target may be missing
    output : a .csv, .tsv or .parquet file, which is replaced if it exists; left out, or -: shown as CSV
    etl : false for rows as the ETL of the run's dataset returns them
    trust : use its model and ETL though they were not made here, or were changed since
    """
    target = Path(output).expanduser()
    if output == "-":
        shell.console(sys.stderr)  # other messages
    elif target.suffix not in WRITERS:
        raise UserError(f"output={output}: should end with {', '.join(WRITERS)}, or be - to show the rows")
    elif target.resolve() == Path(input).expanduser().resolve():
        raise UserError(f"output={output} is the input: name another file")
    rows = Run.open(run, trust).predict(input, etl)
    if output == "-":
        shell.put(rows.to_csv(index=False)[:-1])
        return rows
    method, options = WRITERS[target.suffix]
    with replacing(target) as temporary:
        getattr(rows, method)(temporary, **options)
    lines = [f"{output}   {len(rows):,} rows"]
    if len(rows.columns) > 2:  # classes
        lines += [f"{n:,} {name}" for name, n in rows["prediction"].value_counts().head(6).items()]
    shell.show(", ".join(lines))
    return rows


if __name__ == "__main__":
    shell.call(predict)

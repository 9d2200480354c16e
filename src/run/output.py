"""Predict a file in pieces, and write them into a file, which appears when it is whole."""

from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet
from tqdm import tqdm

from src.system.errors import UserError
from src.system.files import replacing

TAB = csv.WriteOptions(delimiter="\t", quoting_style="needed")
WRITERS = {  # suffix -> what writes tables of a schema
    ".csv": csv.CSVWriter, ".tsv": lambda *args: csv.CSVWriter(*args, write_options=TAB),
    ".parquet": parquet.ParquetWriter,
}  # fmt: skip


@contextmanager
def writing(path: str):
    """Yield a function that adds a frame to a file of one of `WRITERS`; the first one makes its schema."""
    known = []  # the schema and the writer

    def write(frame, first: bool) -> None:
        try:
            table = pa.Table.from_pandas(frame, schema=None if first else known[0], preserve_index=False)
        except pa.ArrowException as error:
            raise UserError(f"{path}: a column has numbers first and text in later rows ({error})") from None
        if first:
            writer = WRITERS[Path(path).suffix](temporary, table.schema)
            known[:] = table.schema, stack.enter_context(writer)
        known[1].write_table(table)

    with replacing(Path(path).expanduser()) as temporary, ExitStack() as stack:
        yield write


def predicted(predictor, path: str, etl: bool, write) -> tuple[int, Counter]:
    """Hand predictions of a file to ``write``, until it returns False; count rows, and predicted classes."""
    n, counts = 0, Counter()
    with tqdm(unit=" rows", unit_scale=True, leave=False, disable=None) as bar:  # on a terminal only
        for raw, share in predictor.chunks(path):
            rows = predictor.predict(raw, etl)
            if write(rows, first=not n) is False:
                break  # nobody reads any more
            n += len(rows)
            bar.total = int(n / share) if share else None
            bar.update(len(rows))
            counts.update(rows["prediction"].value_counts().to_dict() if predictor.info["classes"] else {})
    return n, counts

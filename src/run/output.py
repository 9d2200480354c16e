"""Write frames one after the other into a file, which appears when it is whole."""

from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

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

    def write(frame) -> None:
        try:
            table = pa.Table.from_pandas(frame, schema=known[0] if known else None, preserve_index=False)
        except pa.ArrowException as error:
            raise UserError(f"{path}: a column has numbers first and text in later rows ({error})") from None
        if not known:
            writer = WRITERS[Path(path).suffix](temporary, table.schema)
            known[:] = table.schema, stack.enter_context(writer)
        known[1].write_table(table)

    with replacing(Path(path).expanduser()) as temporary, ExitStack() as stack:
        yield write

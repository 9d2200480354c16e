"""Write frames one after the other into a file, which appears when it is whole."""

from contextlib import contextmanager
from pathlib import Path

from src.system.errors import UserError
from src.system.files import replacing

SUFFIXES = {".csv": ",", ".tsv": "\t", ".parquet": None}  # and their separators


@contextmanager
def writing(path: str):
    """Yield a function that adds a frame to a .csv, .tsv or .parquet file."""
    separator, n, parquet = SUFFIXES[Path(path).suffix], 0, None

    def write(frame) -> None:
        nonlocal n, parquet
        if separator:
            frame.to_csv(temporary, mode="a", index=False, sep=separator, header=not n)
        else:
            parquet = _add(frame, parquet, temporary, path)
        n += len(frame)

    with replacing(Path(path).expanduser()) as temporary:
        try:
            yield write
        finally:
            if parquet:
                parquet.close()


def _add(frame, writer, temporary: Path, shown: str):
    """Add a frame to a Parquet file; return its writer, of which the first frame made the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.Table.from_pandas(frame, schema=writer and writer.schema, preserve_index=False)
    except pa.ArrowException as error:
        reason = f"{shown} cannot hold cells of two types in one column ({error})"
        raise UserError(f"{reason}: name an output that ends with .csv") from None
    writer = writer or pq.ParquetWriter(temporary, table.schema)
    writer.write_table(table)
    return writer

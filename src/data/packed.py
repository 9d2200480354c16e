"""Files that are packed: gzip, bzip2, xz, zstd, a zip of one table; and those that are no table."""

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

from src.system.errors import UserError

FOREIGN = {".xlsx": "an Excel file", ".xls": "an Excel file", ".ods": "a spreadsheet", ".7z": "a 7z archive"}
FOREIGN |= dict.fromkeys((".tar", ".tgz", ".tbz2", ".txz"), "a tar archive")
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zX": lzma.open}


def refuse_foreign(path: Path) -> None:
    for suffix in map(str.lower, path.suffixes):
        if suffix in FOREIGN:
            raise UserError(f"{path} is {FOREIGN[suffix]}: save its table as a CSV file and name that")


def unpacked(path: Path):
    """Return the open file, unpacked where its first bytes say so; of a zip the only table in it."""
    with path.open("rb") as file:
        start = file.read(4)
    for mark, opener in OPENERS.items():
        if start.startswith(mark):
            return opener(path)
    if start == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa  # Python has no zstd before 3.14

        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    if start != b"PK\x03\x04":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    if len(names) != 1:
        raise ValueError(f"the zip holds {len(names)} files ({', '.join(names[:5])}) instead of one")
    return archive.open(names[0])

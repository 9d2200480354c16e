"""Tables in files: which text names one, where it is, and how its dataset is called."""

import difflib
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from contextlib import contextmanager
from pathlib import Path

from src.system.errors import UserError
from src.system.paths import data_dir

PARQUET = (".parquet", ".pq")
FASTA = (".fasta", ".fa", ".fna", ".ffn", ".faa", ".fastq", ".fq")
SUFFIXES = (*PARQUET, *FASTA, ".csv", ".tsv", ".tab", ".txt", ".gz", ".zst", ".bz2", ".xz", ".zip")


def is_table(text: str) -> bool:
    """Return whether ``dataset=text`` means a file, or a folder of Parquet files."""
    return "/" in text or text.lower().endswith(SUFFIXES) or bool(places(text))


def is_parquet(path: str | Path) -> bool:
    return Path(path).suffix.lower() in PARQUET or os.path.isdir(os.path.expanduser(path))


def is_fasta(path: str | Path) -> bool:
    """Return whether a file is FASTA or FASTQ by its name, packed or not."""
    return any(suffix.lower() in FASTA for suffix in Path(path).suffixes[-2:])


def find_table(path: str | Path) -> Path:
    """Return where a file or a folder is: as typed, or in ``data_dir()``; else name files that are there."""
    if found := places(path):
        return found[0]
    path = Path(os.path.expanduser(path))
    folder = path.parent.resolve()
    there = [one.name for one in sorted(folder.glob("*")) if one.suffix.lower() in SUFFIXES]
    near = difflib.get_close_matches(path.name, there, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    if there and not near:
        hint = f"; there are {', '.join(there[:5])}"
    raise UserError(f"no file {path.name or path} in {folder}, nor {path} in DATA_DIR, {data_dir()}{hint}")


def name_of(path: str | Path, taken) -> str:
    """Return how the dataset of a file is called: its name without endings, with _ for signs.

    >>> name_of("data/größe (1).csv.gz", taken=["wine"]), name_of("wine.csv", taken=["wine"])
    ('größe_1', 'wine_file')
    """
    name = unicodedata.normalize("NFC", Path(path).name)
    while Path(name).suffix.lower() in SUFFIXES:
        name = Path(name).stem
    name = re.sub(r"[^\w-]+", "_", name).strip("_-")[:60] or "table"  # a folder of ETL versions has it
    return f"{name}_file" if name in taken else name


def places(path, folders=None) -> list[Path]:
    """Return where the file or folder ``path`` is: as typed, or in ``data_dir()``; the likeliest first.

    folders : where it may be now; there, and in ``data_dir()``, also by the last parts of its path
    """
    if not isinstance(path, str | Path) or not Path(path).name:
        return []
    path = Path(os.path.expanduser(path))  # leaves ~x.csv, unlike Path's
    tried = [path, data_dir() / path]
    if folders is not None:
        ends = [Path(*path.parts[i:]) for i in range(path.is_absolute(), len(path.parts))]
        tried += [Path(folder, end) for folder in (data_dir(), *folders) for end in ends]
    return [Path(one) for one in dict.fromkeys(map(os.path.abspath, tried)) if os.path.exists(one)]


def located(dataset: dict, folders=None) -> dict:
    """Return the dataset section of a config with the absolute paths of its files, if they are there.

    Replay and resume then find it from any folder.
    """
    for key in ("path", "labels", "bed"):
        if found := places(dataset.get(key), folders):
            dataset = dataset | {key: str(found[0])}
    return dataset


@contextmanager
def as_file(path: str):
    """Yield the path of a file; of ``-`` that of a copy of standard input, named by its first bytes."""
    if path != "-":
        yield path
        return
    start = sys.stdin.buffer.peek(4)[:4]
    suffix = ".parquet" if start == b"PAR1" else ".fasta" if start[:1] in (b">", b"@") else ".csv"
    with tempfile.NamedTemporaryFile(prefix="stdin_", suffix=suffix) as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield copy.name

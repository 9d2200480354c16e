"""Intervals of a genome, a FASTA file, listed in a BED file whose fourth column is the label."""

import pandas as pd

from src.data.strands import PAIRS
from src.data.words import KINDS
from src.system.code import needed
from src.system.errors import UserError, one_line
from src.system.tables import find_table

COLUMNS = ["chrom", "start", "end", "name", "score", "strand"]
OTHER = str.maketrans(KINDS["dna"] + KINDS["dna"].lower(), PAIRS["dna"] + PAIRS["dna"].lower())


def read(cfg: dict) -> pd.DataFrame:
    """Return the columns of the BED file, and sequence: of the named strand, with flanks on both sides."""
    pyfaidx = needed("pyfaidx", extra="genome", what="dataset=genome")
    path, bed, rows = find_table(cfg["path"]), find_table(cfg["bed"]), []
    try:
        opened = pyfaidx.Fasta(str(path), as_raw=True)
    except Exception as error:  # the library raises its own kinds, of the file, its packing and its index
        raise UserError(f"dataset.path={path} is no FASTA file, or it is packed: {one_line(error)}") from None
    with opened as genome, bed.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith(("#", "track", "browser")):
                row = dict(zip(COLUMNS, line.rstrip("\r\n").split("\t"), strict=False))
                row |= {name: None for name in COLUMNS[4:] if name not in row}
                try:
                    rows.append(row | {"sequence": _letters(genome, row, cfg["flank"])})
                except (KeyError, ValueError) as error:
                    raise UserError(f"{bed}, line {number}: {error}") from None
    return pd.DataFrame(rows)


def _letters(genome, row: dict, flank: int) -> str:
    """Return the letters from start - flank to end + flank; N beyond the ends of the chromosome."""
    if not (row.get("start", "").isdecimal() and row.get("end", "").isdecimal()):
        raise ValueError("should be chrom, start, end, name, score, strand, with tabs between them")
    start, end = int(row["start"]) - flank, int(row["end"]) + flank
    if row["chrom"] not in genome:
        raise ValueError(f"the genome has no {row['chrom']}")
    size = len(genome[row["chrom"]])
    if not 0 <= start + flank < end - flank <= size:
        raise ValueError(f"{row['start']} to {row['end']} does not lie within {row['chrom']}, 0 to {size}")
    text = "N" * -min(0, start) + genome[row["chrom"]][max(0, start) : min(end, size)] + "N" * (end - size)
    return text.translate(OTHER)[::-1] if row.get("strand") == "-" else text

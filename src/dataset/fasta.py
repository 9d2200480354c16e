"""Your own FASTA or FASTQ file: ``dataset=reads.fa.gz``, packed or not; see docs/sequences.md."""

import pandas as pd

from src.data.fasta import read_fasta


def read(cfg: dict) -> pd.DataFrame:
    return read_fasta(cfg["path"], cfg["header"], cfg["labels"])

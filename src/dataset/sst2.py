"""SST-2: sentiment of film-review phrases, 0/1 (Socher et al. 2013). GLUE's dev rows are the test part."""

import csv
import zipfile
from itertools import accumulate

import numpy as np
import pandas as pd

from src.data.source import download, find_files, read_csv
from src.system.errors import UserError
from src.system.paths import data_dir

BASE = 0x9E3779B97F4A7C15  # of the hash in `roots`
THREE_WAYS = (
    "  1. download {url} elsewhere and put it at {path}",
    "  2. point DATA_DIR at a folder that holds sst2/train.tsv.gz and sst2/dev.tsv",
    "  3. try text without it: dataset=text_sample",
)


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sentence, label and split; `etl` adds root, the sentence that a phrase was cut from."""
    train, dev = _tables(cfg)
    return pd.concat([train.assign(split="train"), dev.assign(split="test")], ignore_index=True)


def etl(df: pd.DataFrame) -> pd.DataFrame:
    df["sentence"] = df["sentence"].str.strip()
    df["root"] = roots(df["sentence"])
    return df


def roots(phrases: pd.Series) -> list[int]:
    """Return for each phrase the number of a longer one that contains it, or its own number.

    Val is cut by whole sentences then. Spans are compared by a polynomial hash mod 2**64 (Karp & Rabin 1987).
    """
    words = [phrase.split() for phrase in phrases]
    number_of = {  # as it was when versions of this ETL were recorded: another form would be new code
        word: _hash_of(i) for i, word in enumerate(sorted({word for row in words for word in row}), start=1)
    }
    powers = np.array([pow(BASE, k, 2**64) for k in range(max(map(len, words)) + 1)], np.uint64)
    root_of_span, root_of_row = {}, [0] * len(words)
    for i in sorted(range(len(words)), key=lambda i: (-len(words[i]), words[i])):
        prefix = list(accumulate((number_of[word] for word in words[i]), _extend, initial=0))
        if prefix[-1] not in root_of_span:
            starts, stops = np.triu_indices(len(prefix), 1)
            prefix = np.array(prefix, np.uint64)
            spans = prefix[stops] - prefix[starts] * powers[stops - starts]
            root_of_span.update(dict.fromkeys(spans.tolist(), i))
        root_of_row[i] = root_of_span.get(int(prefix[-1]), i)
    return root_of_row


def _hash_of(number: int) -> int:
    return number * 0xBF58476D1CE4E5B9 % 2**64 | 1


def _extend(prefix: int, word: int) -> int:
    return (prefix * BASE + word) % 2**64


def _tables(cfg):
    table = {"sep": "\t", "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    files = find_files("sst2", "train.tsv.gz", "dev.tsv") or find_files("sst2", "train.tsv", "dev.tsv")
    if files:
        return [read_csv(path, **table) for path in files]
    try:
        archive = zipfile.ZipFile(download(cfg["url"], cfg["checksum"], "sst2"))
    except UserError as error:
        path = data_dir() / "sst2" / cfg["url"].rpartition("/")[2]
        ways = tuple(way.format(url=cfg["url"], path=path) for way in THREE_WAYS)
        raise UserError(f"SST-2 could not be downloaded ({error}). You have three choices:", ways) from None
    with archive:
        return [pd.read_csv(archive.open(f"SST-2/{name}.tsv"), **table) for name in ("train", "dev")]

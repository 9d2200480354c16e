"""SST-2: sentiment of film-review phrases, 0/1 (Socher et al. 2013; GLUE). The official dev rows are the test part."""

import csv
import zipfile
from itertools import accumulate

import pandas as pd

from src.data import source
from src.storage import UserError, data_dir

HELP = """SST-2 is not here, and it could not be downloaded ({reason}). Three ways on:
  1. download {url} elsewhere and put it at {path}
  2. point DATA_DIR at a folder that holds sst2/train.tsv.gz and sst2/dev.tsv
  3. try text without it: dataset=text_sample"""


def read(cfg: dict) -> pd.DataFrame:
    """Columns sentence, label, split, root (the sentence that a training phrase was cut from)."""
    train, dev = _tables(cfg)
    return etl(pd.concat([train.assign(split="train"), dev.assign(split="test")], ignore_index=True))


def etl(df: pd.DataFrame) -> pd.DataFrame:
    df["sentence"] = df["sentence"].str.strip()
    df["root"] = roots(df["sentence"])
    return df


def roots(phrases) -> list[int]:
    """For each phrase the number of a longest one that contains it, so that val can be cut by whole sentences.

    Spans are compared by a polynomial hash of their words modulo 2**61 - 1.
    """
    modulus, base = (1 << 61) - 1, 1_000_003
    words = [phrase.split() for phrase in phrases]
    number_of = {word: i for i, word in enumerate(sorted({word for row in words for word in row}), start=1)}
    power = list(accumulate(range(max(map(len, words))), lambda p, _: p * base % modulus, initial=1))
    root_of_span, root_of_row = {}, [0] * len(words)
    for i in sorted(range(len(words)), key=lambda i: (-len(words[i]), phrases.iloc[i])):
        prefix = [0, *accumulate((number_of[word] for word in words[i]), lambda h, x: (h * base + x) % modulus)]
        whole = (prefix[-1], len(words[i]))
        if whole not in root_of_span:
            for start, before in enumerate(prefix):
                for stop in range(start + 1, len(prefix)):
                    span = (prefix[stop] - before * power[stop - start]) % modulus
                    root_of_span.setdefault((span, stop - start), i)
        root_of_row[i] = root_of_span.get(whole, i)
    return root_of_row


def _tables(cfg):
    table = {"sep": "\t", "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    files = source.find("sst2", "train.tsv.gz", "dev.tsv") or source.find("sst2", "train.tsv", "dev.tsv")
    if files:
        return [source.read_csv(path, **table) for path in files]
    try:
        archive = zipfile.ZipFile(source.download(cfg["url"], cfg["checksum"], "sst2"))
    except UserError as error:
        path = data_dir() / "sst2" / cfg["url"].rpartition("/")[2]
        raise UserError(HELP.format(reason=error, url=cfg["url"], path=path)) from None
    with archive:
        return [pd.read_csv(archive.open(f"SST-2/{name}.tsv"), **table) for name in ("train", "dev")]

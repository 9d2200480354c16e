"""Core promoters: are 70 letters of human DNA one, 0/1 (GUE, Zhou et al. 2023)? Dev is the test part."""

import pandas as pd

from src.data.source import download, find_files, read_csv


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sequence, label and split; also of the part with a TATA box, dataset=prom_core_tata."""
    files = find_files(cfg["name"], "train.csv.gz", "dev.csv.gz")
    if not files:
        sums = (cfg["checksum"], cfg["checksum_test"])
        urls = (f"{cfg['url']}/{name}.csv" for name in ("train", "dev"))
        files = [download(url, one, cfg["name"]) for url, one in zip(urls, sums, strict=True)]
    train, dev = map(read_csv, files)
    return pd.concat([train.assign(split="train"), dev.assign(split="test")], ignore_index=True)

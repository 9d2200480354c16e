"""Adult (Census Income): does a person earn more than $50K? UCI's test part (Becker & Kohavi 1996)."""

import pandas as pd

from src.data.source import download, find_files, read_csv

COLUMNS = (
    "age workclass fnlwgt education education_num marital_status occupation relationship race sex "
    "capital_gain capital_loss hours_per_week native_country income"
).split()


def read(cfg: dict) -> pd.DataFrame:
    """Return 14 features (8 categorical), income, and split."""
    files = find_files("adult", "train.csv.gz", "test.csv.gz")
    if files:
        train, test = (read_csv(path) for path in files)
    else:
        raw = {"header": None, "names": COLUMNS, "skipinitialspace": True, "na_values": "?", "comment": "|"}
        train = pd.read_csv(download(f"{cfg['url']}/adult.data", cfg["checksum"], "adult"), **raw)
        test = pd.read_csv(download(f"{cfg['url']}/adult.test", cfg["checksum_test"], "adult"), **raw)
    return pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)


def etl(df: pd.DataFrame) -> pd.DataFrame:
    df["income"] = df["income"].str.rstrip(".")  # UCI's test file has a full stop after each label
    return df

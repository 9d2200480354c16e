"""Adult, or Census Income: does a person earn more than $50K (UCI; Becker & Kohavi 1996). Official test part."""

import pandas as pd

from src.data.source import download, find, read_csv

COLUMNS = [
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship",
    "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
]  # fmt: skip


def read(cfg: dict) -> pd.DataFrame:
    """14 features (8 categorical), income, and split."""
    files = find("adult", "train.csv.gz", "test.csv.gz")
    if files:
        train, test = (read_csv(path) for path in files)
    else:
        urls = [(f"{cfg['url']}/adult.data", cfg["checksum"]), (f"{cfg['url']}/adult.test", cfg["checksum_test"])]
        raw = {"header": None, "names": COLUMNS, "skipinitialspace": True, "na_values": "?", "comment": "|"}
        train, test = (pd.read_csv(download(*url, "adult"), **raw) for url in urls)
    return pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)


def etl(df: pd.DataFrame) -> pd.DataFrame:
    df["income"] = df["income"].str.rstrip(".")  # the test file of UCI ends its labels so
    return df

"""Your own CSV file: ``dataset=csv dataset.path=my.csv dataset.target=price``."""

import pandas as pd

from src.data.source import read_csv


def read(cfg: dict) -> pd.DataFrame:
    return read_csv(cfg["path"], sep=cfg["separator"].replace(r"\t", "\t"))

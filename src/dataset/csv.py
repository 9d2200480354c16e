"""Your own file: ``dataset=my.csv dataset.target=price``, packed or not, of any separator and encoding."""

import pandas as pd

from src.data.source import check_frame, read_csv
from src.data.table import read_table


def read(cfg: dict) -> pd.DataFrame:
    if cfg.get("read") is None:  # a run recorded before files were read as they are
        return read_csv(cfg["path"], sep=cfg["separator"].replace(r"\t", "\t"))
    return check_frame(read_table(cfg["path"], cfg["read"]))

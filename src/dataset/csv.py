"""Your own file: ``dataset=my.csv dataset.target=price``, packed or not, of any separator and encoding."""

import pandas as pd

from src.data.source import check_frame
from src.data.table import read_table


def read(cfg: dict) -> pd.DataFrame:
    return check_frame(read_table(cfg["path"], cfg.get("read")))

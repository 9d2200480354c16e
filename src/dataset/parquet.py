"""Your own Parquet file, or a folder of them: ``dataset=my.parquet dataset.target=price``."""

import pandas as pd

from src.data.source import check_frame
from src.data.table import read_table


def read(cfg: dict) -> pd.DataFrame:
    return check_frame(read_table(cfg["path"]))

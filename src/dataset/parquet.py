"""Your own Parquet file: ``dataset=parquet dataset.path=my.parquet dataset.target=price``."""

import pandas as pd

from src.data.source import check_frame, read_parquet


def read(cfg: dict) -> pd.DataFrame:
    return check_frame(read_parquet(cfg["path"]))

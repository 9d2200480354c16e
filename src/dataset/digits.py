"""Digits: 8 x 8 images of handwritten digits as 64 columns of grey values. Comes with scikit-learn."""

import pandas as pd

from src.data.source import find_in_sklearn

COLUMNS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


def read(cfg: dict) -> pd.DataFrame:
    frame = pd.read_csv(find_in_sklearn("digits.csv.gz"), names=[*COLUMNS, "target"])
    return frame.astype(dict.fromkeys(COLUMNS, float) | {"target": int})

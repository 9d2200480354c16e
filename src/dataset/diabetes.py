"""Diabetes: progression after a year, from 10 measurements (Efron et al. 2004). Comes with scikit-learn."""

import pandas as pd

from src.data.source import find_in_sklearn

COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def read(cfg: dict) -> pd.DataFrame:
    """Return the measurements in their own units."""
    frame = pd.read_csv(find_in_sklearn("diabetes_data_raw.csv.gz"), sep=" ", names=COLUMNS)
    target = pd.read_csv(find_in_sklearn("diabetes_target.csv.gz"), names=["target"])
    return frame.assign(target=target["target"])

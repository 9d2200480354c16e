"""Diabetes: disease progression after a year from 10 measurements (Efron et al. 2004). Comes with scikit-learn."""

import pandas as pd

from src.data.source import of_sklearn

COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def read(cfg: dict) -> pd.DataFrame:
    """The measurements in their own units."""
    frame = pd.read_csv(of_sklearn("diabetes_data_raw.csv.gz"), sep=" ", names=COLUMNS)
    return frame.assign(target=pd.read_csv(of_sklearn("diabetes_target.csv.gz"), names=["target"])["target"])


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

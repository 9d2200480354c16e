"""Diabetes: disease progression after a year from 10 measurements (Efron et al. 2004). Comes with scikit-learn."""

import pandas as pd


def read(cfg: dict) -> pd.DataFrame:
    from sklearn.datasets import load_diabetes

    return load_diabetes(as_frame=True).frame


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

"""Iris: one of three species from 4 measurements (Fisher 1936). Comes with scikit-learn."""

import pandas as pd


def read(cfg: dict) -> pd.DataFrame:
    from sklearn.datasets import load_iris

    bunch = load_iris(as_frame=True)
    return bunch.frame.assign(target=bunch.target_names[bunch.target])


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

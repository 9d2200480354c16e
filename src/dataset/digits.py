"""Digits: 8 x 8 images of handwritten digits as 64 columns of grey values. Comes with scikit-learn."""

import pandas as pd


def read(cfg: dict) -> pd.DataFrame:
    from sklearn.datasets import load_digits

    return load_digits(as_frame=True).frame


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

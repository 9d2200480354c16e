"""Breast cancer (Wisconsin): malignant or benign from 30 measurements of cell nuclei. Comes with scikit-learn."""

import pandas as pd


def read(cfg: dict) -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    return bunch.frame.assign(target=bunch.target_names[bunch.target])


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

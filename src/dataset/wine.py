"""Wine: one of three cultivars from 13 chemical measurements. Comes with scikit-learn."""

import pandas as pd


def read(cfg: dict) -> pd.DataFrame:
    from sklearn.datasets import load_wine

    bunch = load_wine(as_frame=True)
    return bunch.frame.assign(target=bunch.target_names[bunch.target])


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

"""Breast cancer (Wisconsin): malignant or benign from 30 measurements of cell nuclei. Comes with scikit-learn."""

import pandas as pd

from src.data.source import of_sklearn

MEASURES = [
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
]  # fmt: skip
COLUMNS = [name for m in ("mean {}", "{} error", "worst {}") for name in map(m.format, MEASURES)]


def read(cfg: dict) -> pd.DataFrame:
    frame = pd.read_csv(of_sklearn("breast_cancer.csv"), skiprows=1, names=[*COLUMNS, "target"])
    return frame.assign(target=frame["target"].map({0: "malignant", 1: "benign"}))


def etl(df: pd.DataFrame) -> pd.DataFrame:
    return df

"""Breast cancer (Wisconsin): malignant or benign, from 30 measurements of cell nuclei. From scikit-learn."""

import pandas as pd

from src.data.source import find_in_sklearn

MEASURES = [
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points",
    "symmetry", "fractal dimension",
]
COLUMNS = [name for m in ("mean {}", "{} error", "worst {}") for name in map(m.format, MEASURES)]


def read(cfg: dict) -> pd.DataFrame:
    frame = pd.read_csv(find_in_sklearn("breast_cancer.csv"), skiprows=1, names=[*COLUMNS, "target"])
    return frame.assign(target=frame["target"].map({0: "malignant", 1: "benign"}))

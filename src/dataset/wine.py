"""Wine: one of three cultivars from 13 chemical measurements. Comes with scikit-learn."""

import pandas as pd

from src.data.source import find_in_sklearn

COLUMNS = (
    "alcohol malic_acid ash alcalinity_of_ash magnesium total_phenols flavanoids nonflavanoid_phenols "
    "proanthocyanins color_intensity hue od280/od315_of_diluted_wines proline"
).split()


def read(cfg: dict) -> pd.DataFrame:
    frame = pd.read_csv(find_in_sklearn("wine_data.csv"), skiprows=1, names=[*COLUMNS, "target"])
    return frame.assign(target="class_" + frame["target"].astype(str))

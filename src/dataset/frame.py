"""A DataFrame from a notebook: ``fit("model=mlp", "dataset.target=price", data=df)``."""

import pandas as pd

from src.system.errors import UserError


def read(cfg: dict) -> pd.DataFrame:
    raise UserError('dataset=frame is for notebooks: fit("dataset.target=y", data=df); try dataset=csv')

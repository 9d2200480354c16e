"""A run as a model of MLflow: MLflow runs this file, which holds no pickle, where it loads the model."""

from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from src.run.folder import Run
from src.system.files import read_json


class Predicts(PythonModel):
    """Predict as the run does: raw rows in, prediction and probabilities out."""

    def load_context(self, context) -> None:
        folder = Path(context.artifacts["run"])
        cfg, report = (read_json(folder / f"{name}.json") for name in ("config", "report"))
        self.run = Run(folder, cfg, report, trusted=True)  # who loads a model of MLflow trusts its code

    def predict(self, context, model_input: pd.DataFrame, params=None):
        return self.run.predict(model_input).drop(columns="id")


set_model(Predicts())

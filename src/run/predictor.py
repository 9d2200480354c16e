"""A saved model with its transforms, for new rows: what ``load("t7").predict(df)`` calls."""

from pathlib import Path

import numpy as np

from src.data.prepare import apply_transforms
from src.data.source import check_frame
from src.system.errors import UserError
from src.system.files import read_json
from src.trainer import family


class Predictor:
    """The model of the run in ``folder``; ``model`` is the section of its config."""

    def __init__(self, folder: Path, model: dict):
        self.name, self.info = folder.name, read_json(folder / "info.json")
        self.transforms = read_json(folder / "transforms.json")
        self.model = family.load(folder / "model", folder.name, model, self.info)

    def predict(self, frame) -> np.ndarray:
        """Class names, or values in the target's own units: (n,)."""
        p = self._outputs(frame)
        if self.info["task"] == "regression":
            return p
        convert = {"int": int, "float": float, "bool": lambda name: name == "True"}.get(self.info["class_type"], str)
        return np.array([convert(name) for name in self.info["classes"]])[p.argmax(1)]

    def predict_proba(self, frame) -> np.ndarray:
        """Probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        if self.info["task"] == "regression":
            raise UserError(f"{self.name} is a regression: use predict")
        return self._outputs(frame)

    def _outputs(self, frame) -> np.ndarray:
        return family.predict(self.model, apply_transforms(self.transforms, check_frame(frame)), self.info)

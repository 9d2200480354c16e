"""Predict new rows with a run's model and transforms: what ``load("t7").predict(df)`` calls."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from src.data.prepare import apply_transforms
from src.data.source import check_frame
from src.system.errors import UserError
from src.system.files import read_json
from src.trainer.family import family

CONVERT = {"int": int, "float": float, "bool": lambda name: name == "True"}  # class names to what y held


def labels(info: dict) -> np.ndarray | None:
    """Return the classes as the target held them, (n_classes,); None for a regression."""
    if info["task"] == "regression":
        return None
    convert = CONVERT.get(info["class_type"], str)
    return np.array([convert(name) for name in info["classes"]])


class Predictor:
    """The model, saved in ``path``, and the transforms of a `Run`, read once."""

    def __init__(self, run, path: Path):
        self.name, self.info, self.transforms = run.name, run.info, read_json(run.folder / "transforms.json")
        self.family, self.received = family(run.cfg["model"]), run.report.get("received_as")
        with self._fitting():
            self.model = self.family.load(path, run.cfg["model"], self.info)

    def predict(self, frame) -> np.ndarray:
        """Return class names, or values in the target's own units: (n,)."""
        p = self._outputs(frame)
        if self.info["task"] == "regression":
            return p
        with self._fitting():
            return labels(self.info)[p.argmax(1)]

    def predict_proba(self, frame) -> np.ndarray:
        """Return probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        if self.info["task"] == "regression":
            raise UserError(f"{self.name} is a regression and has no probabilities: use predict")
        return self._outputs(frame)

    def _outputs(self, frame) -> np.ndarray:
        frame = check_frame(frame)
        with self._fitting():
            return self.family.predict(self.model, apply_transforms(self.transforms, frame), self.info)

    @contextmanager
    def _fitting(self):
        """Make one sentence of whatever files raise that were received and do not fit together."""
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) or not self.received:
                raise
            reason = f"its files do not fit together ({type(error).__name__}: {error})"
            raise UserError(f"{self.name} was received, and {reason}") from error

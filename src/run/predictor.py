"""Predict new rows with a run's ETL, transforms and model: what ``load("t7").predict(df)`` calls."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from src.data.chunks import chunks
from src.data.load import known_recipe
from src.data.prepare import COLUMN_KEYS, columns_of
from src.data.rows import Etl
from src.data.source import check_frame
from src.data.target import class_names
from src.data.tokenizer import joined, strangers
from src.metric.decision import decided
from src.run.members import loaded, node_of
from src.run.own import named_code
from src.run.trust import is_sealed
from src.system import notebook
from src.system.errors import UserError, log, printable
from src.system.files import read_json


def predicted(p: np.ndarray, info: dict) -> dict[str, np.ndarray]:
    """Return the columns prediction and, of classes, ``p_<class>`` each; ``p`` is as `family` returns it."""
    if info["task"] == "regression":
        return {"prediction": p}
    probabilities = {f"p_{name}": p[:, i] for i, name in enumerate(info["classes"])}
    classes = pd.Series(class_names(info)).array  # a million rows of its text: 0.02 s, of NumPy's 0.3 s
    return {"prediction": classes.take(decided(p, info.get("threshold")).argmax(1))} | probabilities


class Predictor:
    """The model, or all members' models, the transforms and the ETL of a `Run`, read once.

    predictions : a function of prepared rows that takes the place of the models, see `src.format.load`
    """

    def __init__(self, run, predictions=None):
        self.run, self.name, self.info = run, run.name, run.info
        self.transforms = read_json(run.folder / "transforms.json")
        self.received = run.report.get("received_as")
        self.etl, self.also = None, []  # columns that the ETL should make beside those that the model reads
        notebook.unpack(run.folder / "code.zip", named_code(run.cfg))
        with self._fitting():
            self.predictions = predictions or loaded(node_of(run))

    def predict(self, rows, etl: bool = True) -> pd.DataFrame:
        """Return id, prediction, and for classes p_<class>, a row for each of ``rows``.

        id : the cell of ``dataset.id``, or the row's index
        prediction : the class in the target's type, or the value in the target's own units
        """
        frame, prepared = self.prepared(rows, etl)
        p = self.output(prepared)
        with self._fitting():
            return pd.DataFrame({"id": self.ids(frame)} | predicted(p, self.info), index=frame.index)

    def chunks(self, path: str | Path, labels: str | None = None):
        """Yield (rows as they came, share of the file that was read), some at a time, for `predict`.

        labels : a table with the targets of a FASTA file
        """
        dataset = self.run.cfg["dataset"]
        known = {str(dataset[key]) for key in COLUMN_KEYS if dataset.get(key) is not None}
        known |= {*sum(self.info["columns"].values(), [*(dataset["ignore"] or ())])}
        known |= (self.transforms.get("etl") or {}).get("input_columns", {}).keys()
        texts, said = self.info["columns"]["text"], []
        with self._fitting():
            for raw, share in chunks(path, dataset | {"labels": labels}):
                extra, known = [name for name in raw if name not in known], known | {*raw}
                if extra:
                    log.info("note     %s does not read %s", self.name, ", ".join(map(printable, extra)))
                if texts and not said and {*texts} <= {*raw}:
                    said = strangers(self.transforms["tokenizer"], joined(raw, texts), texts)
                    log.info("note     %s", said[0]) if said else None
                yield raw, share

    def ids(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the cells of ``dataset.id``, or the index: (n,)."""
        name = self.run.cfg["dataset"].get("id")
        return (frame[str(name)] if name is not None and str(name) in frame else frame.index).array

    def predict_proba(self, rows, etl: bool = True) -> np.ndarray:
        """Return probabilities (n, n_classes), columns in the order of ``info["classes"]``."""
        if self.info["task"] == "regression":
            raise UserError(f"{self.name} is a regression and has no probabilities: use predict")
        return self.output(self.prepared(rows, etl)[1])

    def prepared(self, rows, etl: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows as they came, and after the ETL."""
        with self._fitting():
            raw = self._read(rows)
            if etl and self.etl is None:
                self.etl = self._etl()
            return raw, self.etl.prepare(raw) if etl and self.etl else raw

    def output(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the model's output for rows as the ETL returns them."""
        with self._fitting():
            return self.predictions(frame)

    def _read(self, rows) -> pd.DataFrame:
        """Return a DataFrame, or the rows of a file, read as the run's dataset reads its own."""
        if not isinstance(rows, str | Path):
            return check_frame(rows)
        return pd.concat([frame for frame, _ in chunks(rows, self.run.cfg["dataset"] | {"labels": None})])

    def _etl(self) -> Etl | bool:
        """Return the run's ETL; False if it has none, or an older one that is not known here."""
        recipe = self.transforms["etl"] if "etl" in self.transforms else known_recipe(self.info)
        if recipe is None:
            return False
        if "etl" in self.transforms and not (self.run.trusted or is_sealed(self.run, "transforms.json")):
            reason = f"{self.name} was not made here, or its transforms.json was changed since"
            danger = "its ETL could run anything: add trust=true if you trust it, or etl=false"
            raise UserError(f"{reason}; {danger} for rows as the ETL returns them")
        return Etl(recipe, [*columns_of(self.transforms), *self.also], f"the ETL of {self.name}")

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

"""The predictions of a fitted model, and their metrics."""

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from src.data.prepare import Data
from src.data.target import baseline
from src.metric.choose import loss, scores
from src.metric.decision import calibrated, learn
from src.system.files import replacing
from src.trainer.family import family
from src.trainer.history import TRAIN_ROWS


def evaluate(recorder, data: Data, fitted, metric: dict, kept: int | None, last: tuple) -> dict:
    """Return id, y and p of val and test; record their metrics, and the loss of the kept epoch on train.

    A calibration and a threshold are learned on val first, and stand in info.json, by which the run predicts.

    last : data and model that predict other rows than val, which after a refit learned from val
    """
    last, final = last
    cfg, values, predict = recorder.cfg, {}, family(recorder.cfg["model"]).predict
    predictions = {"val": predict(fitted, data.parts["val"], data.info)}
    predictions["test"] = predict(final, last.parts["test"], last.info)
    asked = cfg.get("calibrate"), cfg.get("threshold")  # older configs have neither
    if learned := learn(data.parts["val"]["y"], predictions["val"], metric, *asked):
        last.info = last.info | learned  # shared data stays as it is
        recorder.write("info.json", last.info)
        predictions = {part: calibrated(p, learned) for part, p in predictions.items()}
    for row in recorder.rows:
        if row["epoch"] == kept:
            values["train/loss"] = row["train/loss"]
    arrays = {}
    for part, p in predictions.items():
        y = data.parts[part]["y"]
        arrays |= {f"{part}_id": data.parts[part]["id"], f"{part}_y": y, f"{part}_p": p}
        found = scores(y, p, metric, (data if part == "val" else last).info | learned)
        values |= {f"{part}/{name}": value for name, value in found.items()}
    recorder.report |= {"best_epoch": kept, "metrics": values}
    recorder.report |= _beside(last, metric, cfg["seed"], lambda part: predict(final, part, last.info))
    return arrays


def _beside(data: Data, metric: dict, seed: int, predict) -> dict:
    """Return metrics to compare with: the model's on training rows, and a baseline's on test.

    ``report["metrics"]`` is for the rows that the model has not seen.
    """
    train, info = data.parts["train"], data.info
    n = len(train["y"])
    if n > TRAIN_ROWS:
        some = np.random.default_rng([seed, 2]).permutation(n)[:TRAIN_ROWS]
        train = {name: array[some] for name, array in train.items()}
    pairs = {"train_metrics": (train["y"], predict(train))}
    pairs["baseline"] = (data.parts["test"]["y"], baseline(data, "test"))
    found = {"train_rows": [min(n, TRAIN_ROWS), n]}
    for name, (y, p) in pairs.items():
        found[name] = {"loss": loss(y, p, info)}
        with suppress(RuntimeError):  # a metric of the user's own may refuse a constant p
            found[name] |= scores(y, p, metric, info)
    return found


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write predictions.npz; `numpy.savez_compressed` would take 42 ms on Adult, not 6."""
    options = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", **options) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)

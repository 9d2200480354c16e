"""Prove an exported file in a process of its own: ``python -m src.format.proof FILE INFO FORMAT PATHS``.

``rows.npz`` beside the file holds arrays of rows and the run's own predictions for them.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from src.format.load import load, predict, trimmed
from src.system.files import read_json

BATCHES = (1, 3, 257)
N_TIMES = 10  # batches of each size


def prove(path: Path, info: dict, form: str) -> dict:
    """Return the largest difference, milliseconds a row for each size of batch, and the lengths tried.

    The difference is one of probabilities, or of values in deviations of the target in training. ``p.npy``
    gets the predictions for all rows.
    """
    model = load(path, form)
    with np.load(path.parent / "rows.npz", allow_pickle=False) as file:
        part = dict(file)
    expected = part.pop("p")
    n = len(expected)
    found = {"difference": 0.0, "ms_per_row": {}, "lengths": []}

    def seconds(rows: np.ndarray) -> float:
        some = trimmed(part, rows)
        began = time.perf_counter()
        p = predict(model, some, info)
        took = time.perf_counter() - began
        gap = float(np.abs(p - expected[rows]).max()) / info["y_std"]
        found["difference"] = gap if np.isnan(gap) else max(found["difference"], gap)
        np.save(path.parent / "p.npy", p)
        return took

    for size in BATCHES:
        times = [seconds(np.arange(i * size, (i + 1) * size) % n) for i in range(N_TIMES + 1)]
        found["ms_per_row"][size] = 1000 * float(np.median(times[1:])) / size
    if "lengths" in part:
        lengths = part["lengths"]
        for length in np.unique(np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="nearest")):
            seconds(np.flatnonzero(lengths == length)[:64])
            found["lengths"].append(int(length))
    seconds(np.arange(n))
    return found


if __name__ == "__main__":
    path, info, form = sys.argv[1:4]
    sys.path += sys.argv[4:]
    print("found", json.dumps(prove(Path(path), read_json(Path(info)), form)))

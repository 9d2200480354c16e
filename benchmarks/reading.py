"""Time a CSV file to arrays, kinds of cells and hints included, against plain pandas and roles by dtype.

DATA_DIR=... python benchmarks/reading.py [rows]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sides import HEAD, row, table

from src.config.compose import compose
from src.data.prepare import cut, shape
from src.data.source import check_frame
from src.dataset import adult, csv

PAIRS = 5


def prepared(frame: pd.DataFrame, dataset: dict) -> None:
    shape(frame, cut(frame, dataset, 0), dataset, scaler="quantile")


def compare(path: Path, *overrides: str) -> tuple[float, float, list[float]]:
    """Return the median seconds of both sides and the ratio of each pair; the first pair is not counted."""
    dataset = compose(["dataset=csv", f"dataset.path={path}", *overrides])["dataset"]
    by_dtype = {key: value for key, value in dataset.items() if key != "dates"}  # as recorded before it was
    pairs = []
    for _ in range(PAIRS + 1):
        began = time.perf_counter()
        prepared(check_frame(csv.read(dataset)), dataset)
        ours = time.perf_counter() - began
        began = time.perf_counter()
        prepared(pd.read_csv(path), by_dtype)
        pairs.append((ours, time.perf_counter() - began))
    a, b = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
    return a, b, [x / y for x, y in pairs[1:]]


def rows(n: int):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adult.csv"
        adult.etl(adult.read(compose(["dataset=adult"])["dataset"])).to_csv(path, index=False)
        sides = compare(path, "dataset.target=income", "dataset.split=split")
        yield row("a CSV of Adult, 48,842 x 16, to arrays", *sides, 1.3)
        rng, path = np.random.default_rng(0), Path(folder) / "large.csv"
        frame = pd.DataFrame({f"x{i}": rng.normal(size=n).round(6) for i in range(15)})
        frame["k"], frame["flag"] = rng.integers(0, 1000, n), rng.random(n) < 0.5
        frame["c"] = rng.choice(list("abcdefgh"), n)
        frame["city"] = "city " + pd.Series(rng.integers(0, 500, n)).astype(str)
        frame["y"] = (frame["x0"] > rng.normal(size=n)).astype(int)
        frame.to_csv(path, index=False)
        yield row(f"a CSV of {n:,} x 20, to arrays", *compare(path, "dataset.target=y"), 1.3)


if __name__ == "__main__":
    table("reading", HEAD, rows(int(sys.argv[1]) if sys.argv[1:] else 1_000_000))

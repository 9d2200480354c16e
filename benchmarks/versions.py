"""Time what versions cost a run: code snapshot, ETL's code, digests of input and output, registration.

DATA_DIR=... python benchmarks/versions.py
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sides import table

from src.config.compose import compose
from src.data import versions
from src.dataset import adult
from src.system.code import snapshot_code


def seconds(dataset: str, raw: pd.DataFrame, folder: str) -> float:
    """Return the median of five times all that a run does for its versions; the ETL costs almost nothing."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        snapshot_code(Path(folder) / "code.zip")
        versions.run_versioned(dataset, adult.etl if dataset == "adult" else same, raw, "memory")
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def same(df: pd.DataFrame) -> pd.DataFrame:
    return df


def rows():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        raw = adult.read(compose(["dataset=adult"])["dataset"])
        took = seconds("adult", raw, folder)
        yield f"| Adult, {len(raw):,} rows x {len(raw.columns)} | {took:.2f} | ≤ 0.3 |"
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({f"x{i}": rng.normal(size=2_500_000) for i in range(50)})
        megabytes = frame.memory_usage(index=False).sum() / 1e6
        took = seconds("large", frame, folder)
        yield f"| {megabytes:,.0f} MB of float64, as from Parquet | {took:.2f} | ≤ 2 |"


if __name__ == "__main__":
    table("versions", "| versions of a run | s | aim |\n|---|---|---|", rows())

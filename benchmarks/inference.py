"""Time ``load("t7").predict`` on a million rows against the bare net on ready tensors.

python benchmarks/inference.py [rows]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sides import HEAD, row, table

import src  # noqa: F401  sets OpenMP's wait policy, for both sides, before torch loads
from src import fit, load
from src.run.members import node_of
from src.system.environment import n_threads, set_threads
from src.trainer.family import family


def compare(n: int) -> tuple[float, float, list[float]]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 20)), columns=[f"x{i}" for i in range(20)])
    train = frame.head(20_000).assign(y=lambda x: (x["x0"] > x["x1"]).astype(int))
    overrides = ["model=mlp", "model.scaler=standard", "trainer.max_epochs=1", "logger=csv"]
    run = load(fit(*overrides, "dataset.target=y", data=train).name)
    run.predict(frame.head(10))  # loads the weights
    leaf = node_of(run)
    net = family(leaf["model"]).load(Path(leaf["file"]), leaf["model"], run.info)
    set_threads(n_threads(None))
    x = torch.from_numpy(((frame - frame.mean()) / frame.std()).to_numpy(np.float32))
    pairs = []
    for _ in range(6):
        began = time.perf_counter()
        run.predict(frame)
        ours = time.perf_counter() - began
        began = time.perf_counter()
        with torch.inference_mode():
            torch.cat([net(x_num=batch) for batch in x.split(8192)]).argmax(1)
        pairs.append((ours, time.perf_counter() - began))
    a, b = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
    return a, b, [ours / bare for ours, bare in pairs[1:]]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        n = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
        title = f'`load("t7").predict`, {n:,} rows x 20, against the bare net'
        table("inference", HEAD, [row(title, *compare(n), 1.2)])

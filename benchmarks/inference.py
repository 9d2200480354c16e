"""``load("t7").predict`` on a million rows against the bare net on ready tensors.

python benchmarks/inference.py [rows]
"""

import os
import statistics
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import torch

from src import env, fit, load


def main(n: int) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 20)), columns=[f"x{i}" for i in range(20)])
    train = frame.head(20_000).assign(y=lambda x: (x["x0"] > x["x1"]).astype(int))
    words = ("model=mlp", "model.scaler=standard", "dataset.target=y", "trainer.max_epochs=1", "logger=csv")
    run = load(fit(*words, data=train).name)
    run.predict(frame.head(10))  # loads the weights
    net = run._loaded[0]
    env.set_threads(env.n_threads(None))
    x = torch.from_numpy(((frame - frame.mean()) / frame.std()).to_numpy(np.float32))
    rows = []
    for _ in range(6):
        began = time.perf_counter()
        run.predict(frame)
        ours = time.perf_counter() - began
        began = time.perf_counter()
        with torch.inference_mode():
            torch.cat([net(x_num=batch) for batch in x.split(8192)]).argmax(1)
        rows.append((ours, time.perf_counter() - began))
    ours, bare = (statistics.median(side) for side in zip(*rows[1:], strict=True))
    ratios = [a / b for a, b in rows[1:]]
    print("| inference | Reprise, s | bare net, s | ratio, median | range | aim |\n|---|---|---|---|---|---|")
    spread = f"{statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f}"
    print(f"| {n:,} rows x 20 | {ours:.2f} | {bare:.2f} | {spread} | ≤ 1.2 |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)

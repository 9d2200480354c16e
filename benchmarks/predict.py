"""Predict a CSV file larger than memory: rows a second and peak memory beside a bare pandas loop.

python benchmarks/predict.py [megabytes]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sides import CHECKOUT, table

from src import fit
from src.run.members import node_of
from src.trainer.family import family

HEAD = "| rows a second | `src.predict` | bare loop | ratio, seconds | MB | its |\n|---|---|---|---|---|---|"
BARE = """
import sys
import joblib, numpy as np, pandas as pd
new, output, path, kind = sys.argv[1:]
columns = [f"x{i}" for i in range(20)]
if kind == "torch":
    import torch
    net = torch.jit.load(path)
else:
    model = joblib.load(path)
for k, part in enumerate(pd.read_csv(new, chunksize=100_000)):
    x = part[columns].to_numpy(np.float32)
    p = net(torch.from_numpy(x)).detach().softmax(1).numpy() if kind == "torch" else model.predict_proba(x)
    rows = pd.DataFrame({"id": part.index, "prediction": p.argmax(1), "p_0": p[:, 0], "p_1": p[:, 1]})
    rows.to_csv(output, mode="a", header=not k, index=False)
"""


def measured(command: list[str]) -> tuple[float, float]:
    """Return wall seconds and the peak of resident memory in MB of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def large(path: Path, megabytes: int) -> int:
    """Write a CSV file of 20 numbers a row; return its number of rows."""
    x = np.random.default_rng(0).normal(size=(50_000, 20))
    block = pd.DataFrame(x, columns=[f"x{i}" for i in range(20)])
    text = block.to_csv(index=False, header=False, float_format="%.6f")
    n = megabytes * 1_000_000 // len(text)
    with path.open("w") as file:
        file.write(",".join(block) + "\n")
        for _ in range(n):
            file.write(text)
    return n * 50_000


def rows(folder: Path, megabytes: int):
    new, n = folder / "new.csv", large(folder / "new.csv", megabytes)
    frame = pd.read_csv(new, nrows=20_000).assign(y=lambda x: (x["x0"] > x["x1"]).astype(int))
    for model in ("mlp", "linear"):
        overrides = (f"model={model}", "model.scaler=none", "trainer.max_epochs=1", "logger=csv")
        run = fit(*overrides, "dataset.target=y", data=frame)
        path, kind = folder / f"{model}.pt", "torch" if model == "mlp" else "sklearn"
        leaf = node_of(run)
        fitted = family(leaf["model"]).load(Path(leaf["file"]), leaf["model"], run.info)
        if model == "mlp":
            torch.jit.trace(fitted, torch.zeros(2, 20)).save(path)
        else:
            joblib.dump(fitted.model, path)
        words = (f"run={run.name}", f"input={new}", f"output={folder}/p.csv")
        verb = [sys.executable, "-m", "src.predict", *words]
        bare = [sys.executable, "-c", BARE, str(new), str(folder / "bare.csv"), str(path), kind]
        (ours, memory), (theirs, other) = measured(verb), measured(bare)
        a, b = (pd.read_csv(folder / name, usecols=["p_1"])["p_1"] for name in ("p.csv", "bare.csv"))
        assert len(a) == len(b) == n and np.abs(a - b).max() < 1e-5
        (folder / "bare.csv").unlink()
        speeds = f"{n / ours:,.0f} | {n / theirs:,.0f} | {ours / theirs:.2f}"
        title = f"`{model}`, {new.stat().st_size / 1e9:.1f} GB, {n:,} rows"
        yield f"| {title} | {speeds} | {memory:.0f} | {other:.0f} |"


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if sys.argv[1:] else 2000
    folder = Path(tempfile.mkdtemp())
    os.environ["OUTPUTS_DIR"] = str(folder / "outputs")
    try:
        table("predict", HEAD, rows(folder, megabytes))
    finally:
        shutil.rmtree(folder)

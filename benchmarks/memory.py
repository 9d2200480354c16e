"""Measure a run's peak memory above its imports, per byte of the float64 frame, on growing Parquet tables.

python benchmarks/memory.py [rows ...]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sides import table

N_COLUMNS = 50
CHILD = """
import sys
import lightning, torch, pyarrow, pandas, scipy.special, torchmetrics
from src.config.compose import compose
from src.run.job import run_job

def peak():  # KiB; getrusage would start at the peak of the parent process
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

base = peak()
overrides = ["model=mlp", "dataset=parquet", f"dataset.path={sys.argv[1]}", "dataset.target=y", "logger=csv",
             "trainer.max_epochs=1", "model.batch_size=4096"]
run_job(compose(overrides))
print(peak() - base)
"""


def rows():
    sizes = [int(size) for size in sys.argv[1:]] or [250_000, 500_000, 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            path = Path(folder) / "table.parquet"
            rng = np.random.default_rng(0)
            frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(N_COLUMNS - 1)})
            frame["y"] = (frame["x0"] > 0).astype(np.float64)
            frame.to_parquet(path)
            megabytes = n * N_COLUMNS * 8 / 1e6
            del frame
            environment = os.environ | {"OUTPUTS_DIR": folder}
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, env=environment
            )
            if done.returncode:
                sys.exit(done.stderr)
            peak = int(done.stdout.split()[-1]) * 1024 / 1e6
            aim = "≤ 3" if n == 1_000_000 else ""
            yield f"| {n:,} | {megabytes:.0f} | {peak:.0f} | {peak / megabytes:.2f} | {aim} |"


if __name__ == "__main__":
    table(
        "memory",
        "| rows x 50 float64 | frame, MB | peak above imports, MB | ratio | aim |\n|---|---|---|---|---|",
        rows(),
    )

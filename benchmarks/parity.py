"""Every model in every format on a table, a text and DNA: how far from the run, and how fast beside it.

DATA_DIR=... python benchmarks/parity.py [dataset ...]
"""

import os
import sys
import tempfile
import time

import numpy as np
from sides import table

from src import fit
from src.config.tree import choices
from src.data.prepare import apply_transforms
from src.format.export import FORMATS, N_ROWS, export
from src.run.rows import test_rows
from src.system.errors import UserError

DATA = {  # dataset -> overrides that make it small
    "adult": ("dataset.max_rows=4000",),
    "sst2": ("dataset.max_rows=4000",),
    "prom_core_tata": ("dataset.max_rows=2000",),
}
NEEDS_MORE = ("pretrained",)  # a folder or the hub
SIZES = (1, 257)
HEAD = "| data | model | format | difference | ms a row, one by one | run | 257 at once | run |"
HEAD += "\n|---|---|---|---|---|---|---|---|"


def ms_of_run(run) -> list[float]:
    """Return the milliseconds a row that the run's own model needs, from arrays to predictions."""
    frame, found = test_rows(run, N_ROWS), []
    for size in SIZES:
        rows, times = frame.iloc[np.arange(size) % len(frame)], []
        for _ in range(6):
            began = time.perf_counter()
            run._predictor.output(rows)
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
            apply_transforms(run._predictor.transforms, rows)
            times[-1] -= time.perf_counter() - began
        found.append(1000 * float(np.median(times[1:])) / size)
    return found


def rows(names: list[str]):
    for data in names:
        for model in choices("model"):
            if model in NEEDS_MORE:
                continue
            words = (f"model={model}", f"dataset={data}", *DATA[data], "trainer.max_epochs=2", "logger=csv")
            try:
                run = fit(*words, "pictures=false")
            except UserError as error:
                yield f"| {data} | `{model}` | | {error} | | | | |"
                continue
            own = ms_of_run(run)
            for form in FORMATS["net" in run.cfg["model"]]:
                try:
                    report = export(run, form)
                except UserError as error:
                    yield f"| {data} | `{model}` | {form} | {str(error).partition(': ')[2]} | | | | |"
                    continue
                ms = report["ms_per_row"]
                cells = [f"{x:.4f}" for pair in zip((ms["1"], ms["257"]), own, strict=True) for x in pair]
                yield f"| {data} | `{model}` | {form} | {report['difference']:.1e} | {' | '.join(cells)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        table("parity", HEAD, rows(sys.argv[1:] or list(DATA)))

"""Every model in every format on a table, a text and DNA: how far from the run, and how fast beside it.

DATA_DIR=... python benchmarks/parity.py [datasets [models]]
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sides import table

from src import fit
from src.config.tree import choices
from src.data.prepare import apply_transforms
from src.format.export import FORMATS, N_ROWS, export
from src.run.members import node_of
from src.run.rows import test_rows
from src.system.errors import UserError
from src.trainer.family import family

DATA = {  # dataset -> overrides that make it small
    "adult": ("dataset.max_rows=4000",),
    "sst2": ("dataset.max_rows=4000",),
    "prom_core_tata": ("dataset.max_rows=2000",),
}
MODELS = [name for name in choices("model") if name != "pretrained"]  # which needs a folder or the hub
DEFAULTS = (",".join(DATA), ",".join(MODELS))
SIZES = (1, 257)
HEAD = "| data | model | format | difference | ms a row, one by one | run | 257 at once | run |"
HEAD += "\n|---|---|---|---|---|---|---|---|"


def ms_of_run(run) -> list[float]:
    """Return the milliseconds a row that the run's own model needs, from arrays to predictions."""
    leaf, frame, found = node_of(run), test_rows(run, N_ROWS), []
    own = family(leaf["model"])
    model = own.load(Path(leaf["file"]), leaf["model"], run.info)
    for size in SIZES:
        part = apply_transforms(leaf["transforms"], frame.iloc[np.arange(size) % len(frame)])
        times = []
        for _ in range(11):
            began = time.perf_counter()
            own.predict(model, part, run.info)
            times.append(time.perf_counter() - began)
        found.append(1000 * float(np.median(times[1:])) / size)
    return found


def rows(names: list[str], models: list[str]):
    for data in names:
        for model in models:
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
        datasets, models = ([*word.split(",")] for word in (*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]))
        table("parity", HEAD, rows(datasets, models))

"""Measure what tracking costs the training thread: milliseconds per epoch for MLflow, W&B and CSV together.

python benchmarks/tracking.py
"""

import statistics
import tempfile
import time
from unittest.mock import patch

from sides import table

from src.config import shell
from src.config.compose import compose
from src.run.job import run_job
from src.run.record import Recorder

N_EPOCHS = 200


def rows():
    shell.console()
    costs = []
    log_row = Recorder.log_row

    def timed(recorder, row):
        began = time.perf_counter()
        log_row(recorder, row)
        costs.append(1000 * (time.perf_counter() - began))

    overrides = ["dataset=wine", f"trainer.max_epochs={N_EPOCHS}", "model.patience=null"]
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", OUTPUTS_DIR=folder):
        began = time.perf_counter()
        run_job(compose([*overrides, "trainer.max_epochs=1"]))
        first = time.perf_counter() - began
        seconds = {}
        for logger in ("csv", "all") * 5:
            with patch.object(Recorder, "log_row", timed):
                run = run_job(compose([*overrides, f"logger={logger}"]))
            seconds.setdefault(logger, []).append(run.report["timings"]["fit"])
        n_rows = len(run.rows)
    epoch = 1000 * (statistics.median(seconds["all"]) - statistics.median(seconds["csv"])) / n_rows
    call = statistics.median(costs)
    yield f"| in the training thread's own call, median of {len(costs):,} | {call:.2f} | ≤ 20 |"
    yield f"| fit with all trackers less fit with CSV alone, {n_rows} epochs | {epoch:.2f} | ≤ 20 |"
    yield f"| not counted: the first run of all, which makes the MLflow store | {1000 * first:,.0f} | |"


if __name__ == "__main__":
    table("tracking", "| tracking | ms an epoch | aim |\n|---|---|---|", rows())

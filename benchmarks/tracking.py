"""What tracking costs the training thread: milliseconds an epoch for MLflow, W&B and CSV together.

python benchmarks/tracking.py
"""

import statistics
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from src import config, shell
from src.job import run_job

N_EPOCHS = 200


def main() -> None:
    shell.log_to_console()
    from src.run import Run

    costs = []
    log_row = Run.log_row

    def timed(run, row):
        began = time.perf_counter()
        log_row(run, row)
        costs.append(1000 * (time.perf_counter() - began))

    words = ["dataset=wine", f"trainer.max_epochs={N_EPOCHS}", "model.patience=null"]
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", OUTPUTS_DIR=folder):
        began = time.perf_counter()
        run_job(config.compose([*words, "trainer.max_epochs=1"]))
        print(f"\nfirst run, making the MLflow store: {time.perf_counter() - began:.1f} s whole")
        seconds = {}
        for logger in ("csv", "all", "csv", "all", "csv", "all"):
            with patch.object(Run, "log_row", timed):
                run = run_job(config.compose([*words, f"logger={logger}"]))
            seconds.setdefault(logger, []).append(run.report["timings"]["fit"])
        rows = len((Path(folder) / "runs" / run.name / "metrics.csv").read_text().splitlines()) - 1
    epoch = 1000 * (statistics.median(seconds["all"]) - statistics.median(seconds["csv"])) / N_EPOCHS
    print(f"\n| tracking, {rows} epochs | ms an epoch | aim |\n|---|---|---|")
    print(f"| in the training thread's own call, median | {statistics.median(costs):.2f} | ≤ 20 |")
    print(f"| fit with all trackers less fit with CSV alone | {epoch:.2f} | ≤ 20 |")


if __name__ == "__main__":
    main()

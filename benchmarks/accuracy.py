"""Every model on the three real sets with the project's defaults: mean and spread over seeds, as a Markdown table.

    DATA_DIR=... python benchmarks/accuracy.py [model=mlp,linear] [dataset=sst2] [seeds=0,1,2]

California varies ``split_seed``, as its test part is cut at random; the other two vary ``seed``.
"""

import logging
import sys
import time

import numpy as np

from src import fit
from src.config import shell
from src.config.tree import choices

METRIC = {"sst2": "accuracy", "adult": "accuracy", "california_housing": "rmse"}
SEED = {"sst2": "seed", "adult": "seed", "california_housing": "dataset.split_seed"}


def main() -> None:
    shell.log_to_console()
    logging.getLogger("reprise").handlers[0].setLevel(logging.WARNING)  # the table alone
    words = dict(word.split("=") for word in sys.argv[1:])
    models = words.get("model", ",".join(choices("model"))).split(",")
    sets = words.get("dataset", ",".join(METRIC)).split(",")
    print(f"| model | {' | '.join(f'{name} {METRIC[name]}' for name in sets)} |\n|---|{'---|' * len(sets)}", flush=True)
    for model in models:
        cells = []
        for name in sets:
            began, values = time.perf_counter(), []
            default = "0,1,2,3,4" if name == "california_housing" else "0,1,2"
            seeds = words.get("seeds", default).split(",")
            for seed in seeds:
                run = fit(f"model={model}", f"dataset={name}", f"{SEED[name]}={seed}", "logger=csv")
                values.append(run.report["metrics"][f"test/{METRIC[name]}"])
            seconds = (time.perf_counter() - began) / len(seeds)
            cells.append(f"{np.mean(values):.4f} ± {np.std(values):.4f} ({seconds:.0f} s)")
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

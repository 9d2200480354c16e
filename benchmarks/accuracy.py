"""Print test metrics of models with their defaults on real sets: mean and spread over seeds.

    DATA_DIR=... python benchmarks/accuracy.py [model=mlp,linear] [dataset=sst2] [seeds=0,1,2]
    DATA_DIR=... python benchmarks/accuracy.py model=mlp dataset=gb1 dataset.task_split=three_vs_rest
    DATA_DIR=... python benchmarks/accuracy.py model=linear dataset=gb1 refit=true seeds=0

California varies ``split_seed``, because its test part is cut at random; the others vary ``seed``.
"""

import logging
import sys
import time

import numpy as np

from src import fit
from src.config import shell
from src.config.tree import choices

METRIC = {"sst2": "accuracy", "adult": "accuracy", "california_housing": "rmse"}
METRIC |= {"prom_core_all": "mcc", "prom_core_tata": "mcc", "gb1": "spearman"}  # gb1: its two_vs_rest split
SEED = dict.fromkeys(METRIC, "seed") | {"california_housing": "dataset.split_seed"}
DEFAULT = "sst2,adult,california_housing"


def main() -> None:
    shell.console()
    logging.getLogger("reprise").handlers[0].setLevel(logging.WARNING)  # print only the table
    options = dict(option.split("=") for option in sys.argv[1:])
    more = [f"{name}={value}" for name, value in options.items() if name not in ("model", "dataset", "seeds")]
    models = options.get("model", ",".join(choices("model"))).split(",")
    sets = options.get("dataset", DEFAULT).split(",")
    head = " | ".join(f"{name} {METRIC[name]}" for name in sets)
    print(f"| model | {head} |\n|---|{'---|' * len(sets)}", flush=True)
    for model in models:
        cells = []
        for name in sets:
            began, values = time.perf_counter(), []
            default = "0,1,2,3,4" if name == "california_housing" else "0,1,2"
            seeds = options.get("seeds", default).split(",")
            for seed in seeds:
                of_set = (f"dataset={name}", f"{SEED[name]}={seed}", f"metric={METRIC[name]}")
                run = fit(f"model={model}", *of_set, *more, "logger=csv")
                values.append(run.report["metrics"][f"test/{METRIC[name]}"])
            seconds = (time.perf_counter() - began) / len(seeds)
            cells.append(f"{np.mean(values):.4f} ± {np.std(values):.4f} ({seconds:.0f} s)")
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Print val MCC of DNA nets on sets where places decide and on sets where words decide: one default for both.

    DATA_DIR=... python benchmarks/dna.py [seeds=0,1] [sets=place,word,tata] [settings=0,1,6]

``place`` and ``word`` are the two kinds of dna_sample, ``tata`` is prom_core_tata, ``all`` prom_core_all.
"""

import logging
import sys

import numpy as np

from src import fit
from src.config import shell

SETS = {
    "place": ("dataset=dna_sample", "dataset.motif=place", "trainer.max_epochs=5"),
    "word": ("dataset=dna_sample", "dataset.motif=word", "trainer.max_epochs=5"),
    "tata": ("dataset=prom_core_tata",),
    "all": ("dataset=prom_core_all",),
}
DNA_CNN = "model=dna_cnn"
SETTINGS = {
    "`dna_cnn`": (DNA_CNN,),
    "without the map of places": (DNA_CNN, "model.net.n_places=1"),
    "without the hidden layer": (DNA_CNN, "model.net.d_hidden=null"),
    "`stride=1`": (DNA_CNN, "model.net.stride=1"),
    "`widths=[15,7,5]`": (DNA_CNN, "model.net.widths=[15,7,5]"),
    "both strands": (DNA_CNN, "dataset.reverse_complement=true"),
    "`cnn`": ("model=cnn", "model.batch_size=64"),
}


def main() -> None:
    shell.console()
    logging.getLogger("reprise").handlers[0].setLevel(logging.WARNING)  # print only the table
    options = dict(option.split("=") for option in sys.argv[1:])
    sets, seeds = (options.get("sets", "place,word,tata").split(","), options.get("seeds", "0,1").split(","))
    print(f"| val MCC | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}", flush=True)
    chosen = map(int, options.get("settings", "0,1,2,3,4,5,6").split(","))
    for setting, overrides in (list(SETTINGS.items())[i] for i in chosen):
        cells = []
        for name in sets:
            common = (*SETS[name], "metric=mcc", "logger=csv", "pictures=false")
            runs = [fit(*common, *overrides, f"seed={seed}") for seed in seeds]
            values = [run.report["metrics"]["val/mcc"] for run in runs]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
        print(f"| {setting} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Time sweeps of 32 jobs on Adult, two at a time, against the same 32 fits in a bare joblib loop.

DATA_DIR=... python benchmarks/sweep.py
DATA_DIR=... python benchmarks/sweep.py linear csv

With all trackers, their own seconds are taken off: what the bare loop needs more when it logs the same to
them, in line. `hist_gb` is fitted without curves, and in a second row with those of 100 stages on both sides.
Beside it the usual template, one process a job: four jobs, two at a time, times eight.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from time import perf_counter

from bare import N_EPOCHS, SETTINGS
from sides import CHECKOUT, HEAD, row, seconds, table

PAIRS = {"linear": 3, "hist_gb": 1, "hist_gb_curves": 1, "mlp": 1}
KEYS = {
    "linear": ("+model.classifier.tol", "model.classifier.C"),
    "hist_gb": ("model.arguments.learning_rate", "model.arguments.max_leaf_nodes"),
    "hist_gb_curves": ("model.arguments.learning_rate", "model.arguments.max_leaf_nodes"),
    "mlp": ("model.lr", "model.net.d_hidden"),
}

SAME = {  # what a job does that the bare loop does not, or the other way round
    "mlp": ("model.net.numeric=linear", "model.net.dropout=0.1", "model.batch_size=256"),
    "hist_gb": ("model.progress=once",),
}


def command(model: str, logger: str) -> list[str]:
    """Return the command of a sweep over the settings of `bare`."""
    words = [f"model={model.removesuffix('_curves')}", "dataset=adult", f"logger={logger}"]
    words += [f"trainer.max_epochs={N_EPOCHS}", *SAME.get(model, ())]
    for key, values in zip(KEYS[model], SETTINGS[model], strict=True):
        words.append(f"{key}={','.join(map(str, values))}")
    words += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    return [sys.executable, "-m", "src.train", "--multirun", *words]


def template(folder: str) -> float:
    """Return the seconds of 32 processes of the template, two at a time, by those of four."""
    began = perf_counter()
    for _ in range(2):
        command = [sys.executable, "benchmarks/template.py", folder]
        options = {"cwd": CHECKOUT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for process in [subprocess.Popen(command, **options) for _ in range(2)]:
            assert process.wait() == 0
    return 8 * (perf_counter() - began)


def rows():
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if "all" in wanted or not wanted:
            seconds([sys.executable, "-m", "src.train", "model=linear"], folder)  # makes the MLflow store
        for model in KEYS:
            for logger in ("csv", "all"):
                if (model, logger) == ("hist_gb_curves", "all"):
                    continue
                if wanted and not {model, logger} <= {*wanted}:
                    continue
                measured = []
                for _ in range(PAIRS[model]):
                    bare = [sys.executable, "benchmarks/bare.py", model]
                    theirs, ours = seconds(bare, folder), seconds(command(model, logger), folder)
                    own = seconds([*bare, "trackers"], folder) - theirs if logger == "all" else 0
                    measured.append((ours - own, theirs, own))
                ours, theirs, own = (statistics.median(side) for side in zip(*measured, strict=True))
                pairs = [(a, b) for a, b, _ in measured]
                trackers = f"all trackers less their own {own:.1f} s" if logger == "all" else "csv"
                name = f"32 jobs of `{model.removesuffix('_curves')}`, {trackers}, against a bare loop"
                name += " with the same curves" * model.endswith("_curves")
                yield row(name, ours, theirs, [a / b for a, b in pairs], 1.3)
        if not wanted:
            scaled = template(folder)
            name = "32 jobs of `mlp`, all trackers, against the template"
            yield row(name, ours + own, scaled, [(ours + own) / scaled], 1)


if __name__ == "__main__":
    os.environ.setdefault("DATA_DIR", str(CHECKOUT / "outputs" / "data"))
    table("sweep", HEAD, rows())

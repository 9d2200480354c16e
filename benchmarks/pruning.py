"""Print what pruning saves: the same seeded searches with and without it, their epochs and best metrics.

    DATA_DIR=... python benchmarks/pruning.py [n_trials=30] [pruner=median] [seed=0] [model=mlp,hist_gb]

An epoch of a booster is a stage. Each row is two sweeps, whose runs are removed with their folder.
"""

import os
import sys
import tempfile

from src import load, run_sweep

SEARCHES = {
    "`mlp` on digits": (
        "model=mlp", "dataset=digits", "trainer.max_epochs=60", "model.lr=tag(log,interval(1e-5,1e-1))",
        "model.net.d_hidden=32,64,128", "model.net.dropout=interval(0,0.6)",
    ),
    "`sgd` on California": (
        "model=sgd", "dataset=california_housing", "trainer.max_epochs=40",
        "model.arguments.alpha=tag(log,interval(1e-7,1e-1))",
        "model.regressor.eta0=tag(log,interval(1e-4,1e-1))",
    ),
    "`hist_gb` on Adult": (
        "model=hist_gb", "dataset=adult", "model.arguments.learning_rate=tag(log,interval(0.05,0.5))",
        "model.arguments.max_leaf_nodes=8,16,31,64", "model.arguments.min_samples_leaf=5,20,80",
    ),
}  # fmt: skip


def searched(*overrides: str) -> tuple[int, float, int, float]:
    """Return the epochs of a search, its best metric on val, how many trials were pruned, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        table = run_sweep(*overrides, "threads=1", "logger=csv", "pictures=false")
        runs = [load(name) for name in table["run"]]
        known = [run for run in runs if run.status == "done"]
        best = (max if known[0].report["metric"]["mode"] == "max" else min)(run.objective for run in known)
        seconds = sum(run.report["timings"]["fit"] for run in runs)
        return sum(run.rows[-1]["epoch"] for run in runs), best, len(runs) - len(known), seconds


def main() -> None:
    options = {"n_trials": "30", "pruner": "median", "seed": "0", "model": "mlp,sgd,hist_gb"}
    options |= dict(option.split("=") for option in sys.argv[1:])
    common = ("sweep=optuna", f"sweep.n_trials={options['n_trials']}", f"seed={options['seed']}")
    lines = ["| search | pruned | epochs | without | saved | fit, s | without | best on val | without |"]
    lines += ["|---" * 9 + "|"]
    for name, words in SEARCHES.items():
        if words[0].partition("=")[2] not in options["model"].split(","):
            continue
        pruned = searched(*common, *words, f"sweep.pruner={options['pruner']}")
        whole = searched(*common, *words)
        cells = [f"{pruned[2]} of {options['n_trials']}", f"{pruned[0]:,}", f"{whole[0]:,}"]
        cells += [f"{1 - pruned[0] / whole[0]:.0%}", f"{pruned[3]:.0f}", f"{whole[3]:.0f}"]
        lines.append(f"| {' | '.join([name, *cells, f'{pruned[1]:.4f}', f'{whole[1]:.4f}'])} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

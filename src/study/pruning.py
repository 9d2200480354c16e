"""Prune the trials of a search that are worse than others were after as many epochs."""

import math
from pathlib import Path

from src.study.search import open_study
from src.trainer.history import Pruned


def watch(folder: Path, section: dict, max_epochs: int | None):
    """Return a function that reports each row of a run to its trial and may raise `Pruned`, or None."""
    if not section.get("pruner"):
        return None
    from optuna import Trial

    study = open_study(folder, section)
    study.pruner, (name,) = _pruner(section, max_epochs), study.metric_names
    known = study.get_trials(deepcopy=False)[section["trial"]]
    trial, last = Trial(study, known._trial_id), max(known.intermediate_values, default=0)

    def look(row: dict) -> None:
        if row["epoch"] < last:  # a try that was killed reported it
            return
        if row["epoch"] > last and not math.isnan(row[name]):
            trial.report(row[name], row["epoch"])
        if trial.should_prune():
            raise Pruned

    return look


def _pruner(section: dict, max_epochs: int | None):
    from optuna import pruners

    if section["pruner"] == "median":
        first = section["n_warmup_epochs"] + 1
        return pruners.MedianPruner(section["n_startup_trials"], n_warmup_steps=first)
    least, most = section["min_epochs"], section["max_epochs"] or max_epochs or "auto"
    return pruners.HyperbandPruner(min_resource=least, max_resource=most)

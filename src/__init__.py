"""Reprise from a notebook, with the overrides of the shell.

>>> from src import fit, load, runs                   # doctest: +SKIP
>>> fit("model=mlp", "dataset=wine", "seed=1")        # doctest: +SKIP
t7: mlp on wine, done, val/accuracy 1.0000, test/accuracy 0.9722
>>> load("t7").predict(df)                            # doctest: +SKIP
"""

import importlib
from pathlib import Path

from src.system.environment import set_wait_policy

set_wait_policy()  # before anything loads numpy or torch

__all__ = ["ask", "fit", "leaderboards", "load", "reload_etl", "replay_train", "resume_train", "run_etl"]
__all__ += ["ensemble_runs", "run_sweep", "runs", "sweep"]


def __getattr__(name: str):
    """Return a function of the notebook that another file defines; the file is imported only now."""
    places = {
        "ask": "ask.ask", "run_etl": "etl.run_etl", "reload_etl": "data.load.reload_etl",
        "replay_train": "replay.replay", "resume_train": "resume.resume",
        "run_sweep": "study.sweep.run_sweep", "sweep": "study.sweep.results",
        "ensemble_runs": "ensemble.ensemble", "leaderboards": "study.leaderboard.leaderboards",
    }  # fmt: skip
    if name not in places:
        raise AttributeError(f"module 'src' has no attribute {name!r}")
    module, _, function = places[name].rpartition(".")
    return getattr(importlib.import_module(f"src.{module}"), function)


def fit(*overrides: str, data=None, **keywords):
    """Train one model: ``fit("model=mlp", "dataset=wine", "model.lr=3e-4")``; returns the `Run`.

    data : a DataFrame, or the path of a table, instead of a dataset: ``fit("dataset.target=y", data=df)``
    keywords : overrides, too: ``fit(model=Gated, data=df, target="price", metric=hits, metric_mode="max")``;
        model may be an nn.Module's class, an estimator or its class; code of a notebook is recorded
    """
    from src.config import shell
    from src.config.compose import compose
    from src.config.keywords import overrides_of
    from src.run.needed import done_before
    from src.study.run import run_config
    from src.system.errors import UserError, without_password

    shell.console()
    if len(overrides) == 1 and isinstance(overrides[0], list | tuple):
        overrides = tuple(overrides[0])
    named = [text for text in overrides if str(text).startswith("dataset=") and text != "dataset=frame"]
    named += [f"dataset={keywords['dataset']}"] if "dataset" in keywords else []
    if data is not None and named:
        raise UserError(f"{named[0]} and data= are two datasets: leave one out")
    if isinstance(data, str | Path):
        keywords, data = keywords | {"dataset": data}, None
    if data is not None:
        overrides = ("dataset=frame", *overrides)
    overrides = (*overrides, *overrides_of(keywords, overrides))
    cfg = compose(overrides)
    report = {"overrides": list(map(without_password, overrides))}
    run = done_before(cfg, frame=data) or run_config(cfg, frame=data, report=report)
    if cfg["register"]:
        from src.share.registry import registered

        registered(cfg["register"], run)
    return run


def load(name: str | int, trust: bool = False):
    """Open the run ``t7``: ``load("t7").predict(df)``, ``.history``, ``.predictions``, ``.plots``.

    name : "t7" or 7; "latest" or -1 is the newest, -2 the one before
    trust : use the model even if its file was brought here from elsewhere; a pickle can run any code
    """
    from src.run.folder import Run

    return Run.open(name, trust)


def runs():
    """Return all runs as a DataFrame, the newest last."""
    from src.run import overview

    return overview.runs()

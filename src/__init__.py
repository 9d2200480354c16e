"""Reprise from a notebook, in the shell's words.

>>> from src import fit, load, runs                   # doctest: +SKIP
>>> fit("model=mlp", "dataset=wine", "seed=1")        # doctest: +SKIP
t7: mlp on wine, done, val/accuracy 1.0000, test/accuracy 0.9722
>>> load("t7").predict(df)                            # doctest: +SKIP
"""

import importlib

from src.system.environment import set_wait_policy

set_wait_policy()  # before anything loads numpy or torch

__all__ = ["fit", "load", "reload_etl", "replay_train", "run_etl", "runs"]


def __getattr__(name: str):
    """The rest of the notebook's functions, each from the verb that the shell uses, loaded when it is asked for."""
    modules = {"run_etl": "etl", "reload_etl": "etl", "replay_train": "replay"}
    if name not in modules:
        raise AttributeError(f"module 'src' has no attribute {name!r}")
    return getattr(importlib.import_module(f"src.{modules[name]}"), name)


def fit(*words: str, data=None):
    """Train one model: ``fit("model=mlp", "dataset=wine", "model.lr=3e-4")``; returns the `Run`.

    data : DataFrame, optional
        your own table, instead of a named dataset: ``fit("model=mlp", "dataset.target=price", data=df)``.
    """
    from src.config import shell
    from src.config.compose import compose
    from src.run.job import run_job
    from src.system.errors import UserError

    shell.log_to_console()
    words = tuple(words[0]) if len(words) == 1 and isinstance(words[0], list | tuple) else words
    if data is not None:
        if named := [word for word in words if str(word).startswith("dataset=") and word != "dataset=frame"]:
            raise UserError(f"{named[0]} and data= are two datasets: leave one out")
        words = ("dataset=frame", *words)
    return run_job(compose(words), frame=data, report={"overrides": list(words)})


def load(name: str, trust: bool = False):
    """The run ``t7``: ``load("t7").predict(df)``, ``.report``, ``.history``, ``.predictions``.

    trust : bool
        use the model also where its file was brought here from elsewhere: a pickle can run any code.
    """
    from src.run.folder import Run

    return Run.open(name, trust)


def runs():
    """All runs as a DataFrame, the newest last."""
    from src.run import overview

    return overview.runs()

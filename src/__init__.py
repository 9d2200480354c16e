"""Reprise from a notebook, in the shell's words.

>>> from src import fit, load, runs                   # doctest: +SKIP
>>> fit("model=mlp", "dataset=wine", "seed=1")        # doctest: +SKIP
t7: mlp on wine, done, val/accuracy 1.0000, test/accuracy 0.9722
>>> load("t7").predict(df)                            # doctest: +SKIP
"""

from src import env

env.set_wait_policy()  # before anything loads numpy or torch

__all__ = ["fit", "load", "runs"]


def fit(*words: str, data=None):
    """Train one model: ``fit("model=mlp", "dataset=wine", "model.lr=3e-4")``; returns the `Run`.

    data : DataFrame, optional
        your own table, instead of a named dataset: ``fit("model=mlp", "dataset.target=price", data=df)``.
    """
    from src import config, shell
    from src.job import run_job

    shell.log_to_console()
    if data is not None and not any(word.startswith("dataset=") for word in words):
        words = ("dataset=frame", *words)
    return run_job(config.compose(words), frame=data, overrides=list(words))


def load(name: str):
    """The run ``t7``: ``load("t7").predict(df)``, ``.report``, ``.history``, ``.predictions``."""
    from src.run import Run

    return Run.open(name)


def runs():
    """All runs as a DataFrame, the newest last."""
    from src import run

    return run.runs()

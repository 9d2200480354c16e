"""Watch an estimator's fit: each word of model.progress is a function that fits and logs rows of history.

Watching never changes what is fitted. Each returns the epoch that the estimator keeps.
"""

import math
from copy import deepcopy

from src.system.errors import UserError

MAX_ROWS = {"staged": 100, "grow": 20}  # of history: a growing forest predicts with all its trees for each


def _once(estimator, x, y, options, stages, **_limits) -> int:
    estimator.model.fit(x, y, **options)
    stages.now(1)
    return 1


def _staged(estimator, x, y, options, stages, **_limits) -> int:
    """Fit once, then log the boosting stages that the fit went through."""
    model = estimator.model.fit(x, y, **options)
    staged = model.staged_predict if estimator.info["task"] == "regression" else model.staged_predict_proba
    n_stages = int(getattr(model, "n_iter_", 0) or len(model.estimators_))
    shown = set(_stages(n_stages, MAX_ROWS["staged"]))
    pairs = zip(staged(stages.train[0]), staged(stages.val[0]), strict=True)
    for stage, (train, val) in enumerate(pairs, start=1):
        if stage in shown:
            stages(stage, estimator.predictions(train), estimator.predictions(val))
    return n_stages


def _grow(estimator, x, y, options, stages, **_limits) -> int:
    """Add trees by warm start; trees grown like this equal those of one fit bit for bit."""
    n_trees = estimator.model.n_estimators
    estimator.model.set_params(warm_start=True)
    for n in _stages(n_trees, MAX_ROWS["grow"]):
        estimator.model.set_params(n_estimators=n).fit(x, y, **options)
        stages.now(n)
    estimator.model.set_params(warm_start=False)
    return n_trees


def _partial_fit(estimator, x, y, options, stages, *, seed, max_epochs, patience) -> int | None:
    """Pass over shuffled rows, keep the best pass on val: another algorithm than a plain fit."""
    import numpy as np  # here: a typo of model.progress is refused without it

    if max_epochs is None:
        raise UserError("model.progress=partial_fit needs a number of passes: trainer.max_epochs=100")
    info, history, best = estimator.info, stages.history, None
    classes = {} if info["task"] == "regression" else {"classes": np.arange(info["n_outputs"])}
    for epoch in range(1, max_epochs + 1):
        order = np.random.default_rng([seed, epoch]).permutation(len(y))
        weight = {key: value[order] for key, value in options.items()}
        estimator.model.partial_fit(x[order], y[order], **classes, **weight)
        stages.now(epoch)
        if history.best is history[-1]:
            best = deepcopy(estimator.model)
        if patience is not None and history.since >= patience:
            break
    if best is not None:
        estimator.model = best
    return history.kept


def check_progress(progress: str, model) -> None:
    """Refuse a way to observe the fit that an estimator does not have."""
    method = NEEDED.get(progress)
    if method and not hasattr(model, method):
        name = type(model).__name__
        raise UserError(f"{name} has no {method}: use model.progress=once instead of {progress}")


def _stages(n: int, most: int) -> list[int]:
    """Return at most ``most`` whole numbers from 1 to ``n``, evenly spread; ``n`` is the last.

    >>> _stages(10, 4)
    [3, 5, 8, 10]
    """
    if n <= most:
        return list(range(1, n + 1)) or [n]
    return [math.ceil(n * (i + 1) / most) for i in range(most)]


# what an estimator needs to be observed so
NEEDED = {"staged": "staged_predict", "grow": "warm_start", "partial_fit": "partial_fit"}
# name of model.progress -> how the fit is watched
PROGRESS = {"once": _once, "staged": _staged, "grow": _grow, "partial_fit": _partial_fit}

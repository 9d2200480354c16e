"""Watch an estimator's fit: each word of model.progress is a function that fits and logs rows of history.

Watching never changes what is fitted. Each returns the epoch that the estimator keeps.
"""

import math
from copy import deepcopy

from src.system.errors import UserError
from src.trainer.native import native

MAX_ROWS = {"staged": 100, "grow": 20}  # of history: a growing forest predicts with all its trees for each
# stages at which a search looks at a run, the same in all of them. Each costs hist_gb on Adult 0.09 s for
# binning the rows again, as much as 20 of its stages: twice as many points would cost what pruning saves
LOOKS = tuple(k * 10**power for power in range(1, 7) for k in (1, 3))


def _once(estimator, x, y, options, stages, **_limits) -> int:
    stages.in_one_go()
    estimator.model.fit(x, y, **options)
    stages.now(1)
    return 1


def _staged(estimator, x, y, options, stages, **_limits) -> int:
    """Fit once, then log the boosting stages that the fit went through; grow if a search may end the fit."""
    from src.model.estimator import staged_outputs  # here: a typo of model.progress is refused without it

    size = stages.watch and _grows_by(estimator.model)
    if size:
        return _grown(estimator, x, y, options, stages, size, _looks(getattr(estimator.model, size)))
    stages.in_one_go()
    model = estimator.model.fit(x, y, **options)
    n_stages = _n_stages(model)
    shown = _stages(n_stages, MAX_ROWS["staged"])
    outputs = (staged_outputs(model, x, shown) for x, _ in (stages.train, stages.val))
    for stage, train, val in zip(shown, *outputs, strict=True):
        stages(stage, estimator.predictions(train), estimator.predictions(val))
    return n_stages


def _grow(estimator, x, y, options, stages, **_limits) -> int:
    n = estimator.model.n_estimators
    at = _looks(n) if stages.watch else _stages(n, MAX_ROWS["grow"])
    return _grown(estimator, x, y, options, stages, "n_estimators", at)


def _grown(estimator, x, y, options, stages, size: str, at: list[int]) -> int:
    """Add trees by warm start, log a row at each number of ``at``, and return how many stages there are.

    Trees grown like this equal those of one fit bit for bit, also where that stops early.
    """
    model = estimator.model.set_params(warm_start=True)
    for n in at:
        model.set_params(**{size: n}).fit(x, y, **options)
        stages.now(_n_stages(model))
        if _n_stages(model) < n or _stopped(model):
            break
    model.set_params(warm_start=False, **{size: at[-1]})
    return _n_stages(model)


def _grows_by(model) -> str | None:
    """Return the argument by which an estimator grows as in one fit; None if it does not."""
    arguments = model.get_params()
    size = "max_iter" if "max_iter" in arguments else "n_estimators"
    # GradientBoosting forgets at each warm start for how long its loss has not fallen
    forgets = size == "n_estimators" and arguments.get("n_iter_no_change") is not None
    return size if "warm_start" in arguments and not forgets else None


def _stopped(model) -> bool:
    """Return whether HistGradientBoosting stopped early with the very stage that was asked for."""
    if not getattr(model, "do_early_stopping_", False):
        return False
    return model._should_stop(model.validation_score_ if len(model.validation_score_) else model.train_score_)


def _n_stages(model) -> int:
    return int(getattr(model, "n_iter_", 0) or len(model.estimators_))


def _looks(n: int) -> list[int]:
    """Return the numbers of stages up to ``n`` at which a search looks; ``n`` is the last.

    >>> _looks(200)
    [10, 30, 100, 200]
    """
    return [*(k for k in LOOKS if k < n), n]


def _partial_fit(estimator, x, y, options, stages, *, seed, max_epochs, patience) -> int | None:
    """Pass over shuffled rows, keep the best pass on val: another algorithm than a plain fit."""
    if max_epochs is None:
        raise UserError("model.progress=partial_fit needs a number of passes: trainer.max_epochs=100")
    history, best = stages.history, None
    for epoch in range(1, max_epochs + 1):
        one_pass(estimator, x, y, options, seed, epoch)
        stages.now(epoch)
        if history.best is history[-1]:
            best = deepcopy(estimator.model)
        if patience is not None and history.since >= patience:
            break
    if best is not None:
        estimator.model = best
    return history.kept


def one_pass(estimator, x, y, options, seed: int, epoch: int) -> None:
    """Fit on each row once more, in an order by seed and epoch."""
    import numpy as np  # here, as above

    info = estimator.info
    classes = {} if info["task"] == "regression" else {"classes": np.arange(info["n_outputs"])}
    order = np.random.default_rng([seed, epoch]).permutation(len(y))
    weight = {key: value[order] for key, value in options.items()}
    estimator.model.partial_fit(x[order], y[order], **classes, **weight)


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
PROGRESS = {"once": _once, "staged": _staged, "grow": _grow, "partial_fit": _partial_fit, "native": native}

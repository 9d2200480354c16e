"""Watch lightgbm, xgboost and catboost train by their own callbacks, and keep the best iteration on val."""

import numpy as np

from src.system.errors import UserError


def native(estimator, x, y, options, stages, *, patience, **_limits) -> int:
    """Fit once, stop ``patience`` iterations after the best one on val, and return that one; it predicts."""
    if estimator.library not in LIBRARIES:
        name = type(estimator.model).__name__
        raise UserError(f"model.progress=native is for {', '.join(LIBRARIES)}: take once for {name}")
    pairs = [(rows, estimator.target({"y": true})) for rows, true in (stages.train, stages.val)]
    try:
        LIBRARIES[estimator.library](estimator, x, y, options, stages, patience, pairs)
    except Exception as error:
        if type(error).__name__ not in ("LightGBMError", "CatBoostError"):
            raise
        raise ValueError(str(error)) from None  # which is how the others refuse arguments and data
    return stages.history.kept


def is_shown(i: int) -> bool:
    """Return whether iteration ``i`` gets a row: each up to 64, then every 2nd, from 128 every 4th, ..."""
    return i % 2 ** max(0, (i - 1).bit_length() - 6) == 0


def _step(stages, seen: list, n: int, patience):
    """Return ``step(i)``, which logs what was ``seen`` in iteration i and returns whether it is the last."""

    def predictions(output):
        binary = output.ndim == 1 and stages.estimator.info["task"] != "regression"
        return stages.estimator.predictions(np.stack([1 - output, output], 1) if binary else output)

    def step(i: int) -> bool:
        if is_shown(i) or i == n:
            stages(i, *map(predictions, seen))
        seen.clear()
        best = (stages.history.best or {"epoch": i})["epoch"]
        return i == n or (patience is not None and i - best >= patience)

    return step


def _lightgbm(estimator, x, y, options, stages, patience, pairs) -> None:
    from lightgbm.callback import EarlyStopException

    seen, model = [], estimator.model
    step = _step(stages, seen, model.n_estimators, patience)

    def evaluate(_y, output):
        seen.append(output.copy())
        return "seen", 0.0, False

    def callback(env) -> None:
        if step(env.iteration + 1):
            raise EarlyStopException(stages.history.kept - 1, [])  # the iteration with which it predicts

    xs, ys = zip(*pairs, strict=True)
    options |= {"eval_X": xs, "eval_y": ys, "categorical_feature": estimator.native or "auto"}
    model.fit(x, y, eval_metric=evaluate, callbacks=[callback], **options)


def _xgboost(estimator, x, y, options, stages, patience, pairs) -> None:
    from xgboost.callback import TrainingCallback

    seen, model = [], estimator.model
    step = _step(stages, seen, model.n_estimators, patience)

    def evaluate(_y, output) -> float:
        seen.append(output.copy())
        return 0.0

    class Watch(TrainingCallback):
        def after_iteration(self, model, epoch, evals_log) -> bool:
            return step(epoch + 1)

    model.set_params(eval_metric=evaluate, callbacks=[Watch()])
    model.fit(x, y, eval_set=pairs, verbose=False, **options)
    model.set_params(eval_metric=None, callbacks=None)
    model.get_booster().set_attr(best_iteration=str(stages.history.kept - 1))  # with which it predicts


def _catboost(estimator, x, y, options, stages, patience, pairs) -> None:
    """Fit, then look at its stages: its callbacks see no predictions."""
    stages.in_one_go()
    model = estimator.model
    model.fit(x, y, eval_set=pairs[1], early_stopping_rounds=patience, **options)
    staged = model.staged_predict if estimator.info["task"] == "regression" else model.staged_predict_proba
    every = -(-model.tree_count_ // 100)
    outputs = [staged(rows, eval_period=every) for rows, _ in pairs]
    for k, pair in enumerate(zip(*outputs, strict=True), start=1):
        stages(min(k * every, model.tree_count_), *map(estimator.predictions, pair))
    model.shrink(stages.history.kept)


LIBRARIES = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}

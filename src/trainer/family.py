"""The one place where the two families of models part: Lightning or scikit-learn."""

from src.system.code import stand_in


def family(model: dict):
    """Return `src.trainer.net` for a config's model section with a ``net``, else `src.trainer.estimator`.

    Both have the same functions:

    fit(model, data, metric, *, seed, trainer, folder, resume, log_row, progress, n_threads, watch)
        -> fitted, epoch; ``metric`` {"name", "mode", "fn"} decides between epochs, ``log_row`` gets a row of
        history for each, ``folder`` takes checkpoints, ``resume`` continues from them, ``watch`` gets each
        row, too, and may end the fit by `Pruned`
    refit(model, data, metric, n, *, seed, trainer, progress, n_threads) -> fitted, with as many epochs
    predict(fitted, part, info) -> probabilities (n, n_classes), or values (n,) in the target's own units
    save(fitted, path), load(path, model, info) -> fitted; the path has the `suffix`
    difference(path, other) -> largest difference of two saved models' weights, None if not comparable
    n_epochs(model, trainer) -> about how many rows of history a fit logs, 0 if nobody knows
    """
    if "net" in model:
        with stand_in("scipy.signal", hamming=None):  # 0.65 s: torchmetrics loads it to mend this name in it
            from src.trainer import net as module
    else:
        from src.trainer import estimator as module
    return module


def suffix(model: dict) -> str:
    """Return that of the file of a saved model, without an import of the family."""
    return "pt" if "net" in model else "joblib"

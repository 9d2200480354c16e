"""The one place where the two families of models part: Lightning or scikit-learn."""


def family(model: dict):
    """Return the module for the config's model section: `src.trainer.net` if it has a ``net``, else `src.trainer.estimator`.

    Both have ``fit``, ``predict``, ``save``, ``load``, ``difference``, ``n_epochs`` and ``SUFFIX``, with one signature.
    """
    if "net" in model:
        from src.trainer import net as module
    else:
        from src.trainer import estimator as module
    return module

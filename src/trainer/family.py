"""The one place where the two families part: Lightning or scikit-learn."""

from pathlib import Path

import numpy as np

from src.metric.choose import choose


def is_torch(model: dict) -> bool:
    """Whether a model section of the config describes a torch net."""
    return "net" in model


def fit(cfg: dict, data, run, progress):
    """Train ``cfg["model"]`` on ``data``, a row of history to ``run`` an epoch; returns what `predict` takes."""
    chosen = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
    model, trainer, seed = cfg["model"], cfg["trainer"], cfg["seed"]
    if is_torch(model):
        from src.trainer import net
        from src.trainer.logger import RunLogger

        return net.fit(
            model, data, chosen, seed=seed, trainer=trainer, logger=RunLogger(run), progress=progress,
            checkpoints=run.folder / "checkpoints", resume=run.resumed,
        )  # fmt: skip
    from src.trainer import estimator

    epochs = trainer["max_epochs"]
    return estimator.fit(model, data, chosen, seed=seed, max_epochs=epochs, log_row=run.log_row, progress=progress)


def predict(model, part: dict, info: dict) -> np.ndarray:
    """Probabilities (n, n_classes), or values (n,) in the target's own units."""
    if hasattr(model, "matrix"):
        return model.predict(model.matrix(part))
    from src.trainer import net

    return net.predict(model, part, info)


def save(model, folder: Path, name: str) -> Path:
    """``model_t7.pt`` (weights only) or ``model_t7.joblib``."""
    from src.system.files import replacing

    folder.mkdir(exist_ok=True)
    if hasattr(model, "matrix"):
        from src.trainer import estimator as family

        path = folder / f"model_{name}.joblib"
    else:
        from src.trainer import net as family

        path = folder / f"model_{name}.pt"
    with replacing(path) as part:
        family.save(model, part)
    return path


def load(folder: Path, name: str, model: dict, info: dict):
    if is_torch(model):
        from src.trainer import net

        return net.load(folder / f"model_{name}.pt", model, info)
    from src.trainer import estimator

    return estimator.load(folder / f"model_{name}.joblib")

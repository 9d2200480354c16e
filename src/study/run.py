"""Train what a config describes: one run, the folds of one, or an ensemble."""

from src.run.folder import Run
from src.run.job import run_job
from src.study.ensemble import train_ensemble
from src.study.folds import run_folds


def run_config(cfg: dict, **options) -> Run | None:
    """Train what ``cfg`` describes; ``options`` are those of `run_job`."""
    if "members" in cfg["model"]:
        return run_job(cfg, train=train_ensemble, **options)
    if cfg.get("cv") and cfg["cv"]["fold"] is None:
        return run_folds(cfg, **options)
    return run_job(cfg, **options)

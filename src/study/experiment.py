"""Write the best setting of a sweep as ``conf/experiment/<name>.yaml``, which trains it again."""

import re
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from src.config.compose import compose
from src.config.own import BASES
from src.config.resolve import resolve
from src.config.tree import CONF, choices, flat, get, hydra_compose
from src.run.folder import Run
from src.study.leaderboard import ASIDE
from src.system.errors import UserError
from src.system.files import write_text

# keys that are not of a setting; an experiment keeps its data
LEFT_OUT = (*(key for key in ASIDE if not key.startswith("dataset.")), "dataset.name", "model.name")


def write_experiment(name: str, boards: list[pd.DataFrame]) -> Path:
    """Write how the first setting of the only board differs from the yamls; return the path."""
    path = CONF / "experiment" / f"{name}.yaml"
    if path.exists() or not re.fullmatch(r"[A-Za-z0-9]\w*", name, re.ASCII):
        raise UserError(f"experiment={name} exists, or is no name of letters, digits and _: choose another")
    if len(boards) > 1:
        datasets = ", ".join(table.attrs["dataset"] for table in boards)
        raise UserError(f"experiment={name}: there are several boards, of {datasets}: add dataset=...")
    run = Run.open(boards[0]["runs"].iloc[0].partition(",")[0])
    model, dataset = run.cfg["model"], run.cfg["dataset"]
    groups = {
        "model": model["name"] if model["name"] in choices("model") else BASES["net" not in model],
        "dataset": dataset["name"] if dataset["name"] in choices("dataset") else dataset.get("reader"),
    }  # fmt: skip
    groups |= {"cv": run.cfg["cv"]["name"]} if run.cfg.get("cv") else {}
    if groups["dataset"] == "frame":
        raise UserError(f"experiment={name}: {run.name} was trained on a DataFrame, which no yaml can name")
    with hydra_compose() as compose_train:
        base = resolve(compose_train("train", [f"{key}={value}" for key, value in groups.items()]))
    content = OmegaConf.create({"defaults": [{f"override /{key}": value} for key, value in groups.items()]})
    for key, value in _differing(run.cfg, base).items():
        OmegaConf.update(content, key, value, force_add=True)
    best = f"{boards[0].attrs['metric']} {boards[0]['val'].iloc[0]:.4f} on val"
    head = f"# @package _global_\n# The best of {run.report['sweep'] or 'all runs'}: {best}, {run.name}\n"
    write_text(path, f"{head}#   python -m src.train experiment={name}\n{OmegaConf.to_yaml(content)}")
    try:
        if lost := _differing(run.cfg, compose([f"experiment={name}"])):
            raise UserError(f"experiment={name}: no yaml says all that {run.name} was: {', '.join(lost)}")
    except UserError:
        path.unlink()
        raise
    return path


def _differing(cfg: dict, base: dict) -> dict:
    """Return the keys of a setting whose values differ from those in ``base``."""
    values = {key: value for key, value in flat(cfg).items() if not key.startswith(LEFT_OUT)}
    return {key: value for key, value in values.items() if get(base, key) != (value, True)}

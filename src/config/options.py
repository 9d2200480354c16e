"""Refuse Hydra's own options that do nothing here, or move the folder of a run."""

import re

from src.system.errors import UserError

FOLDERS = ("hydra.run", "hydra.sweep", "hydra.output_subdir", "hydra.job.chdir")
OF_HYDRA = (
    "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper.max_batch_size", "hydra.job.env_set",
    "hydra.job.env_copy",
)  # fmt: skip


def hydra_options(overrides: list[str], multirun: bool) -> list[str]:
    """Return Hydra's own options; refuse those that do nothing here, or move the folder of a run."""
    options = [text for text in overrides if re.match(r"\+*hydra[./=]", str(text))]
    names = [text.lstrip("+").partition("=")[0] for text in options]
    for text, name in zip(options, names, strict=True):
        if f"{name}.".startswith(tuple(f"{folder}." for folder in FOLDERS)):
            raise UserError(f"{text}: a run's folder is outputs/runs/t7; OUTPUTS_DIR=... moves outputs/")
        if name.startswith("hydra.launcher") and "hydra/launcher" not in names:
            raise UserError(f"{text} is an option of a launcher: add hydra/launcher=joblib")
        if name in ("hydra/launcher", "hydra/sweeper") and not multirun:
            raise UserError(f"{text} is for several runs: add --multirun")
        if name == "hydra.searchpath":
            raise UserError(f"{text}: write --config-dir DIR, with DIR/experiment/mine.yaml")
        if not f"{name}.".startswith(tuple(f"{known}." for known in OF_HYDRA)):
            raise UserError(f"{text}: {name} would do nothing here; these work: {', '.join(OF_HYDRA)}")
    return options

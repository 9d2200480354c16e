"""Refuse Hydra's own options that do nothing here, or move the folder of a run."""

import re
import shutil
from importlib.util import find_spec

from src.system.errors import UserError

FOLDERS = ("hydra.run", "hydra.sweep", "hydra.output_subdir", "hydra.job.chdir")
OF_HYDRA = (
    "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper.max_batch_size", "hydra.job.env_set",
    "hydra.job.env_copy",
)  # fmt: skip
PACKAGES = {  # launcher -> extra of pyproject.toml, and its package
    "ray": ("ray", "ray"), "submitit_slurm": ("slurm", "submitit"), "submitit_local": ("slurm", "submitit"),
}  # fmt: skip
COUNTS = r"hydra\.launcher\.(n_jobs|cpus_per_task|array_parallelism|timeout_min|nodes)=(0|-\d+)"


def hydra_options(overrides: list[str], multirun: bool) -> list[str]:
    """Return Hydra's own options; refuse those that do nothing here, or move the folder of a run."""
    options = [text for text in overrides if re.match(r"\+*hydra[./=]", str(text))]
    names = [text.lstrip("+").partition("=")[0] for text in options]
    for text, name in zip(options, names, strict=True):
        if f"{name}.".startswith(tuple(f"{folder}." for folder in FOLDERS)):
            raise UserError(f"{text}: a run's folder is outputs/runs/t7; OUTPUTS_DIR=... moves outputs/")
        if name.startswith("hydra.launcher") and "hydra/launcher" not in names:
            others = ", ".join(PACKAGES)
            raise UserError(f"{text} is an option of a launcher: add hydra/launcher=joblib (or {others})")
        if name in ("hydra/launcher", "hydra/sweeper") and not multirun:
            raise UserError(f"{text} is for several runs: add --multirun")
        if re.fullmatch(COUNTS, text) and not text.endswith("n_jobs=-1"):  # -1: all cores
            raise UserError(f"{text}: should be at least 1")
        extra, package = PACKAGES.get(text.partition("=")[2], (None, "hydra"))
        if name == "hydra/launcher" and find_spec(package) is None:
            raise UserError(f"{text} needs a package: pip install 'reprise[{extra}]'")
        if text.endswith("=submitit_slurm") and not shutil.which("srun"):
            raise UserError(f"{text}: this machine has no srun; hydra/launcher=submitit_local works here")
        if name == "hydra.searchpath":
            raise UserError(f"{text}: write --config-dir DIR, with DIR/experiment/mine.yaml")
        if not f"{name}.".startswith(tuple(f"{known}." for known in OF_HYDRA)):
            raise UserError(f"{text}: {name} would do nothing here; these work: {', '.join(OF_HYDRA)}")
    return options

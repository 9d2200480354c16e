"""What a result depends on besides code, config and data: seeds, threads, packages, git."""

import os
import platform
import random
import subprocess
from importlib import metadata

from src.storage import CHECKOUT

PACKAGES = (
    "hydra-core", "omegaconf", "torch", "lightning", "torchmetrics", "scikit-learn",
    "mlflow", "wandb", "numpy", "pandas", "scipy", "pyarrow",
)  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")


def set_thread_policy() -> None:
    """Let idle OpenMP threads sleep: spinning ones slow small jobs a hundredfold on a busy machine.

    Works only before numpy, torch or scikit-learn load; a value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def set_seed(seed: int) -> None:
    """Seed Python's and NumPy's global generators; torch's are seeded where torch is used."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)


def describe(seed: int) -> dict:
    """The record of ``env.json``."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "seed": seed,
        "packages": versions,
        "git": describe_git(),
    }


def describe_git() -> dict:
    """Commit and uncommitted difference of the checkout; nulls outside git."""
    sha = _git("rev-parse", "HEAD")
    diff = _git("diff", "HEAD", "--", "src", "conf") if sha else None
    return {"sha": sha, "dirty": bool(diff) if sha else None, "diff": diff or None}


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(("git", *words), cwd=CHECKOUT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git here: the code itself is in code.zip
    return done.stdout.strip() if done.returncode == 0 else None

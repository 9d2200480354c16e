"""What a result depends on besides config and data: code, seeds, threads, packages, git."""

import importlib.util
import os
import platform
import random
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

from src.storage import CHECKOUT, replacing

PACKAGES = (
    "hydra-core", "omegaconf", "torch", "lightning", "torchmetrics", "scikit-learn",
    "mlflow", "wandb", "numpy", "pandas", "scipy", "pyarrow",
)  # fmt: skip
USER_THREADS = os.environ.get("OMP_NUM_THREADS", "")  # before `set_threads` writes it
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def set_wait_policy() -> None:
    """Let idle OpenMP threads sleep: spinning ones slow small jobs a hundredfold on a busy machine.

    Works only before numpy, torch or scikit-learn load; a value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # a few microseconds awake spare small steps the wake-up


def n_threads(wanted: int | None) -> int:
    """``wanted``, or OMP_NUM_THREADS, or this process's cores divided among the jobs that run side by side."""
    if wanted:
        return wanted
    if USER_THREADS.isdigit():
        return int(USER_THREADS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("REPRISE_PARALLEL_JOBS", "1")))


def set_threads(n: int) -> None:
    """Give every numeric library ``n`` threads: by variables if it is yet to load, by its own call if it has."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(n)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    if "threadpoolctl" in sys.modules:
        sys.modules["threadpoolctl"].threadpool_limits(n)


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


def snapshot_code(path: Path, names=()) -> None:
    """The code and the configs as they are now, as a zip that is the same for the same files.

    names : iterable of str
        dotted names that the config uses; the user's own modules among them, which no package brings, are kept, too.
    """
    files = {}
    for folder, suffix in (("src", "*.py"), ("conf", "*.yaml")):
        for file in (CHECKOUT / folder).rglob(suffix):
            files[file.relative_to(CHECKOUT).as_posix()] = file
    for top in {name.partition(".")[0] for name in names} - {"src"}:
        files |= own_module(top)
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # with no date of its own
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED)


def own_module(top: str) -> dict[str, Path]:
    """{path in an archive: file} of a module that is neither Python's own nor installed; {} for the others."""
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    file = Path(spec.origin).resolve()
    of_python = file.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())
    if of_python or {"site-packages", "dist-packages"} & set(file.parts):
        return {}
    if file.name != "__init__.py":
        return {file.name: file}
    return {f"{top}/{inner.relative_to(file.parent).as_posix()}": inner for inner in file.parent.rglob("*.py")}

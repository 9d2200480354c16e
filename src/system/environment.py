"""Seeds, threads, packages and git: a result depends on them besides config and data."""

import functools
import os
import platform
import random
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from src.system.errors import UserError
from src.system.paths import CHECKOUT

PACKAGES = (
    "hydra-core", "omegaconf", "torch", "lightning", "torchmetrics", "scikit-learn",
    "mlflow", "wandb", "numpy", "pandas", "scipy", "pyarrow",
)  # fmt: skip
USER_THREADS = os.environ.get("OMP_NUM_THREADS", "")  # read before `set_threads` writes it
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
THREAD_VARIABLES = (*THREAD_COUNTS, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
# kind in GROUPS ("" in version 2) -> where its groups are, and their files of limit and use
GROUPS = Path("/proc/self/cgroup")
CGROUPS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}
_started = False  # whether `seconds_of_start` was asked before


def set_wait_policy() -> None:
    """Let idle OpenMP threads sleep: spinning ones slow small jobs a hundredfold on a busy machine.

    Works only before numpy, torch or scikit-learn load; a value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # spin some microseconds first: no wake-up in short steps


def n_threads(wanted: int | None, n_side_by_side: int = 1) -> int:
    """Return ``wanted``, or OMP_NUM_THREADS, or this process's cores divided among the jobs side by side."""
    if wanted:
        return wanted
    if USER_THREADS.isdigit():
        return int(USER_THREADS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (n_side_by_side if n_side_by_side > 0 else cores))


def set_threads(n: int) -> None:
    """Give every numeric library ``n`` threads: by variables before it loads, by its own call afterwards."""
    for name in THREAD_COUNTS:
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


def seconds_of_start() -> float:
    """Return the seconds since Python started; 0.0 for a command's later runs, in notebooks and scripts."""
    global _started
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of "python -m src.train"
    if _started or spec is None or not spec.name.startswith("src."):
        return 0.0
    import psutil

    _started, created = True, psutil.Process().create_time()
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return round(time.time() - created, 3)
    # Linux keeps the time of its boot in whole seconds (0.8 s off, measured); clocks since then are exact
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - (created - psutil.boot_time()), 3)


def free_memory() -> int:
    """Return the bytes that this process may still take, by the machine and by its container."""
    import psutil

    free = psutil.virtual_memory().available
    for line in GROUPS.read_text().splitlines() if GROUPS.is_file() else ():
        _, kind, inside = line.split(":", 2)
        if kind not in CGROUPS:
            continue
        root, *names = CGROUPS[kind]
        group = Path(f"{root}{inside}")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # no such group, or "max": no limit
                limit, used = (int((folder / name).read_text()) for name in names)
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cached = counts.get("total_inactive_file", counts.get("inactive_file", 0))  # is given back
                free = min(free, max(0, limit - used + int(cached)))
    return free


def check_memory(what: str, n_bytes: int) -> None:
    """Refuse what does not fit the free memory: the system would kill this process without a word."""
    free = free_memory()
    if n_bytes > free:
        needed = f"{what} needs about {n_bytes / 1e9:,.1f} GB of memory"
        raise UserError(f"{needed}, but {free / 1e9:,.1f} GB are free: make it smaller")


version = functools.cache(metadata.version)  # of all packages it takes 8 ms


def describe_environment(seed: int) -> dict:
    """Return the record of ``env.json``."""
    versions = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = version(name)
    return {
        "python": platform.python_version(), "platform": platform.platform(), "machine": platform.machine(),
        "cpu_count": os.cpu_count(), "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "seed": seed, "packages": versions, "git": describe_git(),
    }  # fmt: skip


def describe_git() -> dict:
    """Return the checkout's commit, and what src/ and conf/ differ from it; nulls outside git.

    untracked : names of files that git does not know; their text is in code.zip
    """
    options = ("--porcelain=v2", "-z", "--branch", "-uall", "--no-renames")
    shown = _git("--no-optional-locks", "status", *options, "--", "src", "conf")
    lines = (shown or "").split("\0")
    sha = next((line[13:] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if sha == "(initial)":
        return {"sha": None, "dirty": None, "diff": None, "untracked": None}
    changed = any(line[:2] in ("1 ", "u ") for line in lines)
    diff = _git("diff", "HEAD", "--", "src", "conf") if changed else None
    untracked = [line[2:] for line in lines if line.startswith("? ")]
    return {"sha": sha, "dirty": bool(diff or untracked), "diff": diff or None, "untracked": untracked}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(("git", *arguments), cwd=CHECKOUT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None  # without git the code is still in code.zip
    return done.stdout.strip() if done.returncode == 0 else None

"""A full disk: each verb ends in one sentence, nothing finished is lost, and clean frees space there."""

import shutil
import subprocess
from pathlib import Path

import harness as h
from harness import NET, TREES, Found, Verb, runs_folder

from src.etl import run_etl

MEGABYTES = 24
FREE = (0, 40_000, 400_000, 6_000, 150_000, 1_500_000)  # bytes that are left when the verb begins
VERBS = {
    "train, net": lambda folder: Verb("train", *NET),
    "train, trees": lambda folder: Verb("train", *TREES),
    "train, MLflow": lambda folder: Verb("train", *TREES, "logger=mlflow"),
    "multirun": lambda folder: Verb("train", "--multirun", "seed=0,1", *TREES),
    "resume": lambda folder: Verb("resume", "run=t4"),
    "sync": lambda folder: Verb("sync", "run=t3"),
    "pack": lambda folder: Verb("pack", "run=t1", f"file={folder}/outputs/t1.zip"),
    "unpack": lambda folder: Verb("unpack", f"file={folder.parent}/t2.zip"),
    "replay": lambda folder: Verb("replay", "run=t2"),
    "run_etl": lambda folder: Verb(lambda: run_etl("people", lambda df: df, h.FRAME)),
    "diff": lambda folder: Verb("diff", "runs=t1,t2"),
    "clean": lambda folder: Verb("clean", "remove=t5"),
}


def mount(folder: Path) -> subprocess.CompletedProcess:
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", folder]
    return subprocess.run(command, capture_output=True, text=True)


def refused(made: Path) -> str:
    """Return why no small file system can be mounted here; "" where it can."""
    (made / "disk").mkdir()
    done = mount(made / "disk")
    if done.returncode == 0:
        subprocess.run(["umount", made / "disk"], check=True)
    return " ".join(done.stderr.split())


def fill(disk: Path, free: int) -> None:
    """Write a file that leaves ``free`` bytes, up to a page."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        while (left := shutil.disk_usage(disk).free - free) >= 4096:
            file.write(bytes(left - left % 4096))


def full(found: Found, made: Path, verb: str, free: int) -> None:
    """Run a verb on a disk with ``free`` bytes, remove a run there, and go on with the verb's run."""
    with h.place(made, "t1", "t2", "t3", "t4", "t5") as folder:
        disk = folder / "outputs"
        source = disk.rename(made / f"{folder.name}-source")
        disk.mkdir()
        mount(disk).check_returncode()
        try:
            shutil.copytree(source, disk, dirs_exist_ok=True)
            before = h.finished()
            fill(disk, free)
            VERBS[verb](folder).check(found)
            h.check_untouched(found, before, ("t3",))
            fill(disk, 0)
            h.check_listings(found, complete=False)
            Verb("clean", "remove=t2").check(found, (0,))
            found.check(not (runs_folder() / "t2").exists(), "other", "clean freed nothing")
            (disk / "ballast").unlink()
            name = {"resume": "t4", "train, net": h.latest()}.get(verb, "t1")
            if (runs_folder() / name / "report.json").is_file() and name not in before:
                Verb("resume", f"run={name}").check(found, (0,))
                h.check_same(found, name, "t1")
            Verb("train", *h.LINEAR).check(found, (0,))
            h.check_listings(found)
            h.check_untouched(found, before, ("t2", "t3"))
            h.check_swept(found)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
            shutil.rmtree(source)


def tries(most: int):
    for free in FREE[:most]:
        for verb in VERBS:
            yield verb, free

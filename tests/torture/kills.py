"""SIGKILL at chosen writes and at random moments of every verb that writes."""

import contextlib
import shutil
import time
import zipfile
from pathlib import Path

import harness as h
from harness import NET, TREES, Found, Verb, runs_folder, versions_in

from src.data import versions
from src.data.load import reload_etl
from src.etl import run_etl
from src.run.folder import Run
from src.run.trust import check_trust
from src.share.package import unpack
from src.system.errors import UserError


def measure(found: Found, made: Path, case: str) -> None:
    """Measure how many changes of files, and how many seconds, the undisturbed verb takes."""
    names, begin, _ = CASES[case]
    with h.place(made, *names) as folder:
        verb = begin(folder, {}).check(found, (0,))
        found["measured"] = {"writes": int(verb.read("writes")), "seconds": verb.seconds}


def kill(found: Found, made: Path, case: str, share: float, timed: bool, measured: dict) -> None:
    """Kill a verb after a ``share`` of its writes, or of its seconds, and check what it left."""
    names, begin, check = CASES[case]
    changed = {"sync": ("t3",), "clean": ("t2",)}.get(case, ())
    with h.place(made, *names) as folder:
        before = h.finished()
        verb = begin(folder, {} if timed else {"kill_at": 1 + int(share * measured["writes"])})
        end = verb.began + share * measured["seconds"] if timed else float("inf")
        verb.wait(moment=lambda: time.monotonic() > end)
        h.check_untouched(found, before, changed)
        text = h.check_listings(found)
        check(found, folder, verb.code == 0, before, text)
        h.check_listings(found)
        h.check_untouched(found, before, changed)
        Verb(lambda: run_etl("people", etl, h.FRAME)).check(found, (0,))
        Verb("train", *h.LINEAR).check(found, (0,))  # these sweep what is left
        h.check_swept(found)


# -- checks of what is left: (found, folder, whether the verb ended well, runs before, listing)


def resumed(name: str | None, straight: str, every_row: bool = False):
    """Return a check: run ``name``, or the new one, goes on to the same end, or never wrote a report."""

    def check(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
        run = name or h.latest()
        if run in before:
            return  # no folder yet
        found.check(f"{run}" in text, "other", f"{run} is not listed")
        if not (runs_folder() / run / "report.json").is_file():
            Verb("resume", f"run={run}").check(found, (1,))
            Verb("clean", f"remove={run}").check(found, (0,))
            return
        status = Run.open(run).status
        found.check(status == "done" or (status == "killed" and not done), "other", f"{run} is {status}")
        Verb("resume", f"run={run}").check(found, (0,))
        h.check_same(found, run, straight)
        if Run.open(run).cfg["logger"]["mlflow"]:
            h.check_store(found, Run.open(run))
        if every_row:
            from test_kill import assert_each_row_once  # here: it loads MLflow

            assert_each_row_once(Run.open(run))

    return check


def synced(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
    Verb("sync", "run=t3").check(found, (0,))
    h.check_store(found, Run.open("t3"))
    now = h.prints(runs_folder() / "t3")
    found.check(before["t3"]["metrics.csv"] == now["metrics.csv"], "lost", "history")


def packed(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
    file = folder / "t1.zip"
    found.check(not file.exists() or zipfile.ZipFile(file).testzip() is None, "lost", "half a pack")
    Verb("pack", "run=t1", f"file={file}").check(found, (0,))
    arrived = h.prints(unpack(file).folder)
    found.check(arrived["predictions.npz"] == before["t1"]["predictions.npz"], "lost", "not what was packed")


def unpacked(trust: bool):
    """Return a check: there is one whole run, or none, and no more trust than was given."""

    def check(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
        new = [f"t{number}" for number in versions_in(runs_folder(), "t") if f"t{number}" not in before]
        found.check(len(new) <= 1, "doubled", f"one pack is {new}")
        for run in map(Run.open, new):
            found.check(run.status == "done" and run.report["received_as"] == "t2", "lost", f"half: {run}")
            with contextlib.suppress(UserError):
                check_trust(run, code=True)
                found.check(trust, "code", f"{run.name} is trusted")
        Verb("unpack", f"file={folder.parent}/t2.zip").check(found, (0,))
        found.check(len(h.finished()) == len(before) + len(new) + 1, "other", "not one run more")

    return check


def removed(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
    there = (runs_folder() / "t2").is_dir()
    found.check(not (there and done), "other", "t2 is still there")
    found.check(not there or h.prints(runs_folder() / "t2") == before["t2"], "lost", "half of t2 is gone")
    Verb("clean", "remove=t2").check(found, (0,) if there else (1,))
    Verb("train", *h.LINEAR).check(found, (0,))
    found.check(not (runs_folder() / "t2").exists(), "doubled", "the number of t2 was given again")


def etl(df, smallest=0):
    return df[df["a"] >= smallest]


def versioned(found: Found, folder: Path, done: bool, before: dict, text: str) -> None:
    numbers = versions_in(versions.folder() / "people", "v")
    found.check(len(versions.complete_versions("people")) == len(numbers), "other", f"half: {numbers}")
    frames = [run_etl("people", etl, h.FRAME, smallest=1) for _ in range(2)]
    frames.append(reload_etl("people", "v1", data=h.FRAME))
    found.check(frames[0].equals(frames[1]) and frames[0].equals(frames[2]), "lost", "another frame")
    found.check(versions.complete_versions("people") == ["v1"], "doubled", f"{numbers}")


# -- how each begins


def shell(verb, *overrides: str):
    return lambda folder, options: Verb(verb, *(one.format(folder) for one in overrides), **options)


def over_another(folder: Path, options: dict) -> Verb:
    shutil.copy(folder.parent / "t2.zip", folder / "t1.zip")
    return shell("pack", "run=t1", "file={}/t1.zip")(folder, options)


def first_etl(folder: Path, options: dict) -> Verb:
    return Verb(lambda: run_etl("people", etl, h.FRAME, smallest=1), **options)


# case -> (runs that are there, how the verb begins, check of what a kill left)
CASES = {
    "train, net": (("t1",), shell("train", *NET), resumed(None, "t1")),
    "train, trees": (("t1", "t2"), shell("train", *TREES), resumed(None, "t2")),
    "resume": (("t1", "t4"), shell("resume", "run=t4"), resumed("t4", "t1")),
    "sync": (("t1", "t3"), shell("sync", "run=t3"), synced),
    "pack": (("t1",), shell("pack", "run=t1", "file={}/t1.zip"), packed),
    "pack, over another": (("t1",), over_another, packed),
    "unpack": (("t1",), shell("unpack", "file={}/../t2.zip"), unpacked(False)),
    "unpack, trusted": (("t1",), shell("unpack", "file={}/../t2.zip", "trust=true"), unpacked(True)),
    "etl": ((), first_etl, versioned),
    "clean": (("t1", "t2"), shell("clean", "remove=t2"), removed),
    "train, all trackers": (("t1",), shell("train", *NET, "logger=all"), resumed(None, "t1", True)),
    "resume, MLflow": (("t1", "t5"), shell("resume", "run=t5"), resumed("t5", "t1")),
}
SHARES = {"train, all trackers": 0.2, "resume, MLflow": 0.2}  # of the tries: their trackers load for seconds


def tries(kills: int):
    """Yield (case, share, timed) of every try: two thirds at a write, one third at a random moment."""
    for case in CASES:
        n = round(kills * SHARES.get(case, 0.5 if "pack" in case else 1))
        for i in range(n):
            yield case, (i + h.seeded(case, i).random()) / n, i % 3 == 2

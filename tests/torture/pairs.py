"""Two of every pair of verbs at once on one run: one wins, or both do; never two trainings in a folder."""

import time
from itertools import combinations_with_replacement
from pathlib import Path

import harness as h
from harness import Found, Verb, runs_folder

from src.run.folder import Run
from src.share.package import unpack

VERBS = {
    "train": ("train", *h.NET), "resume": ("resume", "run={run}"), "sync": ("sync", "run={run}"),
    "pack": ("pack", "run={run}", "file={file}"), "remove": ("clean", "remove={run}"),
    "replay": ("replay", "run={run}"),
}  # fmt: skip


def start(verb: str, run: str, file: Path, host: str = "") -> Verb:
    """Begin a verb on a run, on another ``host`` by the variable that names it."""
    words = [word.format(run=run, file=file) for word in VERBS[verb]]
    return Verb(*words, **({"HOSTNAME": host} if host else {}))


def both(found: Found, made: Path, pair: tuple[str, str], i: int) -> None:
    """Run a pair at once, or the second a moment later, and check both ends and what is left."""
    target = "t3" if "resume" not in pair else ("t4", "t5")[i % 2]
    with h.place(made, "t1", target) as folder:
        files, before = [folder / "1.zip", folder / "2.zip"], h.finished()
        first = start(pair[0], target, files[0])
        if pair[0] == "train" != pair[1]:
            known = target
            while first.poll() is None and (target == known or not _begun(target)):
                time.sleep(0.002)
                target = h.latest()
        time.sleep(h.seeded(str(pair), i).uniform(0, (0, 1, 0.3)[i % 3]))
        second = start(pair[1], target, files[1], "elsewhere" if i % 2 else "")
        codes = [verb.check(found).code for verb in (first, second)]
        errors = [verb.read("stderr")[-300:] for verb in (first, second)]
        found.check(0 in codes, "other", f"neither: {errors}")
        h.check_untouched(found, before, ("t3",))
        h.check_listings(found)
        well, there = {verb for verb, code in zip(pair, codes, strict=True) if code == 0}, _begun(target)
        removed = "remove" in well
        found.check(removed != there, "lost", f"{target}: removed {removed}, there {there}")
        if there and well & {"train", "resume"}:
            h.check_same(found, target, "t1")
            n = Run.open(target).report.get("resumed", 0)
            found.check(n <= 1, "doubled", f"{target} was resumed {n} times")
        if there and target in ("t3", "t5"):
            Verb("sync", f"run={target}").check(found, (0,))
            h.check_store(found, Run.open(target))
        for file in filter(Path.exists, files):
            found.check("predictions.npz" in h.prints(unpack(file).folder), "lost", "half a pack")
        if pair == ("train", "train"):
            h.check_same(found, f"t{int(h.latest()[1:]) - 1}", "t1")


def _begun(name: str) -> bool:
    return (runs_folder() / name / "report.json").is_file()


def tries(rounds: int):
    for i in range(rounds):
        for pair in combinations_with_replacement(VERBS, 2):
            yield pair, i

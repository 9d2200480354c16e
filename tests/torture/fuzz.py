"""Random overrides of every verb: exit code 0, 1 or 2, one sentence, no traceback, and no run for a 2."""

import os
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

import harness as h
from harness import Found, Verb, runs_folder, versions_in

from src.config.compose import compose
from src.config.tree import GROUPS, choices, flat

MODELS = ("mlp", "cnn", "transformer", "linear", "hist_gb", "knn", "sgd")
BASE = ("dataset=iris", "logger=csv", "pictures=false", "threads=1", "trainer.max_epochs=1")
NUMBERS = ["9" * 25, "-" + "9" * 25, "1" * 400, *"1e308 -1e308 1e400 nan -inf 1e-320 2147483648".split()]
POOLS = [
    NUMBERS, "abc true null 1.5 [] [1,a] {a:1} '' -1 0 1,2 yes 1e2 0x10 {} [null] [[]] 'true'".split(),
    ["\x1b[31m", "a\x01b", "a\nb", "\r", "\t", "\x7f", "\u202eabc", "\udc80", "\u0430dult", "é" * 300],
    "${oc.env:NOT_SET} ${oc.env:HOME} ${oc.env:SEED,7} ${model.lr} ${nosuch.key} ${${seed}} ${ $ ${model} "
    "${seed}x ${oc.decode:'[1,2'} ${oc.create:{a:1}} ${hydra:job.name} ${oc.env:EVIL}".split(),
    ["a b", "'a' b", *"' \" 'a \"a \\' [ ] { } ( a=b=c %s %(x)s ../../x ~ 👾".split()],
]  # fmt: skip
TYPED = {  # values that a key of this type may well take
    int: "0 1 2 3 7 100 65536 2147483647 2147483648 -1 -2".split(), bool: ["true", "false"],
    float: "0 0.0 1.0 0.5 1e-9 0.999999 1e-300 1e30 1e300 -0.1 100".split(),
    str: ["'sepal length (cm)'", "'é \u4e2d'", *"target '${seed}' none x '' accuracy rmse words".split()],
    list: ["[]", "[target]", "['sepal length (cm)']", "[a,'b c']", "['petal width (cm)',x]", "[1]", "[0,3]"],
    dict: "{} {setosa:2} {a:{b:1}} {class:sklearn.svm.SVC} {class:os.system} {class:torch.Size}".split(),
}  # fmt: skip
NOT_TRIED = ("trainer.devices", "trainer.num_nodes", "threads")  # this would start as many processes
OTHERS = {
    "resume": ("run", "max_epochs", "force"), "replay": ("run", "code", "trust", "seed"), "diff": ("runs",),
    "etl": ("dataset", "diff", "replay"), "pack": ("run", "file"), "unpack": ("file", "trust"),
    "sync": ("run",), "clean": ("remove",),
}  # fmt: skip


@cache
def keys(model: str) -> dict:
    """Return {key: default} of everything in a config."""
    config = compose([f"model={model}", *BASE])
    sections = {f"model.{name}": value for name, value in config["model"].items() if isinstance(value, dict)}
    return {key: value for key, value in (flat(config) | sections).items() if key not in NOT_TRIED}


def an_override(rng, model: str) -> str:
    """Return one override: mostly a real key with a value that it may not take."""
    value, key, kind = rng.choice(rng.choice(POOLS)), rng.choice(list(keys(model))), rng.randrange(20)
    if kind > 9:
        default = keys(model)[key]
        value = rng.choice(TYPED[rng.choice(list(TYPED)) if default is None else type(default)])
    elif kind == 0:
        key = key.replace(rng.choice(key), rng.choice(["", "x", ".", "é", "\x1b"]), 1)
    elif kind == 1:
        return rng.choice([key, f"~{key}", f"={value}", f"{key}@{value}", f"{value}={key}", value])
    elif kind == 2:
        quoted = f"'{value}'", f'"{value}"', f"[{value}]", f"{{{value}: {value}}}", f"{value},{value}"
        value = rng.choice(quoted)
    elif kind == 3:
        key, value = rng.choice(GROUPS), rng.choice([*choices(rng.choice(GROUPS)), value])
    return rng.choice(["", "", "", "+", "++"]) + f"{key}={value}"


def words(i: int) -> list[str]:
    """Return the verb and the overrides of try ``i``; every fifth is not of train."""
    rng = h.seeded("fuzz", i)
    if i % 5 == 4:
        verb = rng.choice(list(OTHERS))
        names = rng.sample(OTHERS[verb], rng.randint(1, len(OTHERS[verb])))
        return [verb, *(f"{name}={rng.choice(['t1', *rng.choice(POOLS)])}" for name in names)]
    model = rng.choice(MODELS)
    overrides = [an_override(rng, model) for _ in range(rng.choice([1, 1, 2]))]
    return ["train", f"model={model}", *BASE, *overrides]


def fuzz(found: Found, made: Path, i: int) -> None:
    with h.place(made, "t1") as folder:
        before = h.finished()
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30,) * 2)  # the machine is to survive it, too
        os.environ |= {"EVIL": "\x1b[2J${oc.env:HOME}", "SEED": "x"}
        verb = Verb(*words(i)).wait(20)
        claimed = [number for number in versions_in(runs_folder(), "t") if number > 1]
        if verb.code != -9:  # else it trains for long: these overrides are fine
            verb.check(found, (0, 1, 2))
            found.check(verb.code != 2 or not claimed, "other", f"{verb.text}: exit code 2, and t{claimed}")
        if i % 30 == 0:  # the same in a new process, by the shell
            command = [sys.executable, "-m", f"src.{words(i)[0]}", *words(i)[1:]]
            done = subprocess.run(command, cwd=h.CHECKOUT, capture_output=True, text=True, timeout=200)
            found.check(done.returncode == verb.code, "other", f"{verb.text}: by the shell {done}")
        h.check_untouched(found, before, ("t1",) if "clean" in verb.text else ())
        named = [str(path) for path in (folder / "outputs").rglob("*") if not path.name.isprintable()]
        found.check(not named, "other", f"{verb.text}: names of files {named}")

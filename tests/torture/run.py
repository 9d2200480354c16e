"""Try to break runs: kills, two verbs at once, a full disk, odd overrides, hostile packs, broken trackers.

python tests/torture/run.py                          # about 20 minutes on two cores; writes its table
python tests/torture/run.py kills=5 only=kills,pairs seed=7

COUNTS says how often each is tried; jobs=2 at the same time. Exit code 1 if anything was wrong.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "benchmarks")]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
warnings.filterwarnings("ignore", "Duplicate name")  # in a hostile pack
os.environ.pop("MLFLOW_TRACKING_URI", None)

import disk  # noqa: E402
import fuzz  # noqa: E402
import harness  # noqa: E402
import kills  # noqa: E402
import packs  # noqa: E402
import pairs  # noqa: E402
import sides  # noqa: E402
import troubles  # noqa: E402

import src.run.job  # noqa: E402  with all that follows: no forked process imports anything heavy
import src.train  # noqa: E402
import src.trainer.estimator  # noqa: E402
import src.trainer.net  # noqa: E402, F401

COUNTS = {"kills": 20, "pairs": 2, "disk": 3, "overrides": 300, "packs": 100, "trackers": 24}
LIMIT = 300  # seconds of one try
KINDS = {"lost": "lost", "doubled": "doubled", "traceback": "tracebacks", "code": "code run"}
KINDS["other"] = "else wrong"
HEAD = f"| trouble | tries | {' | '.join(KINDS.values())} | s held, most |\n|" + "---|" * (len(KINDS) + 3)


def plan(counts: dict, made: Path):
    """Yield (row of the table, function, arguments) of every try; undisturbed verbs are measured first."""
    measured = {}
    for case, share, timed in kills.tries(counts["kills"]):
        if case not in measured:
            measured[case] = Call(made, "", kills.measure, case).outcome()["measured"]
        yield f"kills of {case.partition(',')[0]}", kills.kill, case, share, timed, measured[case]
    for pair, i in pairs.tries(counts["pairs"]):
        yield "two verbs at once on one run", pairs.both, pair, i
    reason = disk.refused(made) if counts["disk"] else ""
    if reason:
        print(f"no full disk: {reason}", flush=True)
    for verb, free in disk.tries(0 if reason else counts["disk"]):
        yield "a full disk", disk.full, verb, free
    for i in range(counts["overrides"]):
        yield "odd overrides", fuzz.fuzz, i
    for i in range(counts["packs"]):
        yield "hostile packs", packs.attack, i
    alone = Call(made, "", troubles.alone).outcome()["measured"] if counts["trackers"] else 0
    for name in list(troubles.TROUBLES)[: counts["trackers"]]:
        yield "troubled trackers", troubles.trouble, name, alone


class Call:
    """A call of a function in a fork of this process; a row of the table gets what it found."""

    def __init__(self, made: Path, row: str, function, *arguments):
        self.row, self.label = row, " ".join(map(str, arguments[:2]))
        self.file, self.began = made / f"{time.monotonic_ns()}.json", time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            found = harness.Found(KINDS)
            try:
                function(found, made, *arguments)
            except BaseException:
                found["other"].append(traceback.format_exc()[-3000:])
            self.file.write_text(json.dumps(found))
            os._exit(0)

    def outcome(self) -> dict:
        """Wait for the call and return what it found."""
        while not os.waitpid(self.pid, os.WNOHANG)[0]:
            if time.monotonic() > self.began + LIMIT:
                os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        if self.file.exists():
            return json.loads(self.file.read_text())
        return harness.Found(KINDS) | {"other": [f"no end in {LIMIT} s"]}


class Table(dict):
    """Counts of what was found: a row for each kind of trouble."""

    def add(self, call: Call) -> None:
        found, seconds = call.outcome(), int(time.monotonic() - BEGAN)
        counts = self.setdefault(call.row, dict.fromkeys(("tries", *KINDS, "held"), 0))
        counts["tries"] += 1
        counts["held"] = max(counts["held"], found["held"])
        for kind in KINDS:
            counts[kind] += len(found[kind])
            for sentence in found[kind]:
                print(f"  {KINDS[kind]}: {call.label}: {sentence[:1500]}", flush=True)
        if any(map(found.get, KINDS)) or counts["tries"] % 10 == 0:
            wrong = f"{counts['tries']:4} tries, {sum(counts[kind] for kind in KINDS)} wrong"
            print(f"{seconds // 60:3} min  {call.row:30} {wrong}", flush=True)

    def lines(self):
        for row, counts in self.items():
            cells = [counts[name] for name in ("tries", *KINDS)]
            yield f"| {row} | {' | '.join(map(str, cells))} | {round(counts['held']) or ''} |"


BEGAN = time.monotonic()


def main() -> int:
    sys.stdout.reconfigure(errors="backslashreplace")
    options = dict(word.split("=") for word in sys.argv[1:])
    only, jobs = options.pop("only", ",".join(COUNTS)).split(","), int(options.pop("jobs", 2))
    harness.SEED = options.pop("seed", "")
    counts = COUNTS | {name: int(n) for name, n in options.items()}
    counts = {name: n if name in only else 0 for name, n in counts.items()}
    made, table, calls = Path(tempfile.mkdtemp(prefix="torture-")), Table(), []
    try:
        if problems := Call(made, "", harness.template).outcome()["other"]:
            sys.exit(problems[0])
        for row, *call in plan(counts, made):
            while len(calls) >= jobs:
                table.add(calls.pop(0))
            calls.append(Call(made, row, *call))
        while calls:
            table.add(calls.pop(0))
    finally:
        shutil.rmtree(made, ignore_errors=True)
    sides.table("torture", HEAD, table.lines())
    return int(any(counts[kind] for counts in table.values() for kind in KINDS))


if __name__ == "__main__":
    sys.exit(main())

"""Verbs in processes that can be killed at each of their writes, and checks of what they leave behind."""

import atexit
import contextlib
import hashlib
import io
import os
import random
import runpy
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pandas as pd

from src.clean import clean
from src.config import shell
from src.logger import csv
from src.run.compare import compare
from src.run.folder import Run, runs_folder
from src.run.overview import runs
from src.sync import sync
from src.system.errors import UserError
from src.system.paths import CHECKOUT, outputs, versions_in  # noqa: F401

SEED = ""  # of another run of the suite than the usual one
FAST = ("logger=csv", "pictures=false", "threads=1")
# all that a resume could lose: dropout, schedule, averaged weights
NET = (
    "model=mlp", "dataset=wine", "trainer.max_epochs=12", "model.patience=null", "model.net.dropout=0.3",
    "model.schedule=cosine", "model.ema=0.9", "model.batch_size=64", *FAST,
)  # fmt: skip
TREES = ("model=random_forest", "dataset=iris", *FAST)
FRAME = pd.DataFrame({"a": range(-50, 50)})
LINEAR = ("model=linear", "dataset=iris", *FAST)
# Python names these to its audit hooks before it does them
CHANGES = {f"os.{name}" for name in "rename remove mkdir rmdir link symlink truncate utime".split()}


class Found(dict):
    """What a try found wrong, sentences by kind; for how many seconds a tracker held it; what it measured."""

    def __init__(self, kinds):
        super().__init__({kind: [] for kind in kinds} | {"held": 0.0, "measured": None})

    def check(self, holds, kind: str, sentence: str) -> None:
        if not holds:
            self[kind].append(sentence)


class Verb:
    """``python -m src.train ...`` in a fork of this process, where everything is imported already.

    kill_at : the process kills itself just before its n-th change of a file under OUTPUTS_DIR or its parent
    environment : variables of that process
    """

    def __init__(self, verb, *overrides: str, kill_at=0, **environment: str):
        self.text = " ".join(map(str, (getattr(verb, "__name__", verb), *overrides)))
        self.scratch, self.code, self.began = Path(tempfile.mkdtemp()), None, time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.update(environment)
            _enter(verb, overrides, self.scratch, kill_at)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
        return self.code

    def wait(self, seconds: float = 120, moment=lambda: False) -> "Verb":
        """Wait for the end; at the ``moment``, or after ``seconds``, kill it."""
        while self.poll() is None:
            if time.monotonic() > self.began + seconds or moment():
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        return self

    def read(self, name: str) -> str:
        return (self.scratch / name).read_text(errors="replace")

    def check(self, found: Found, codes=(0, 1)) -> "Verb":
        """Check that it ended with one of the codes, and with one sentence unless that is 0."""
        self.wait()
        text, errors = self.read("stdout") + self.read("stderr"), self.read("stderr").splitlines()
        found.check("Traceback (most" not in text, "traceback", f"{self.text}: {text[-1500:]}")
        found.check(self.code in codes, "other", f"{self.text}: exit code {self.code} {text[-600:]}")
        sentences = [line for line in errors if line.startswith("error: ") and "see above" not in line]
        one = len(sentences) == 1 or (sentences and "--multirun" in self.text)  # there, one for each job
        found.check(one or self.code not in (1, 2), "other", f"{self.text}: not one sentence: {errors[-5:]}")
        raw = [sign for sign in text if not sign.isprintable() and sign not in "\n\t\r"]
        found.check(not raw, "other", f"{self.text}: raw control characters {raw[:5]}")
        return self


def _enter(verb, overrides, scratch: Path, kill_at: int) -> None:
    """Be the process of a `Verb`."""
    counted, code = [0], 1
    try:
        os.setsid()
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(scratch / name, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, errors="backslashreplace") for n in (1, 2))
        sys.addaudithook(_killer(kill_at, f"{outputs().parent}/", f"{scratch}/", counted))
        if callable(verb):
            shell.run(verb, *overrides)
        else:
            sys.argv = [f"src/{verb}.py", *map(str, overrides)]
            sys.modules.pop(f"src.{verb}", None)
            runpy.run_module(f"src.{verb}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()
            atexit._run_exitfuncs()
        (scratch / "writes").write_text(str(counted[0]))
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _killer(kill_at: int, watched: str, unwatched: str, counted: list[int]):
    """Return an audit hook: Python calls it before each change of a file."""

    def hook(event: str, args: tuple) -> None:
        changes = event in CHANGES
        if event == "open":
            changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not changes or not isinstance(args[0], str | os.PathLike):
            return
        path = os.fspath(args[0])
        if event in ("os.remove", "os.rmdir") and args[-1] >= 0:  # shutil.rmtree: relative to an open folder
            path = os.path.join(os.readlink(f"/proc/self/fd/{args[-1]}"), path)
        if path.startswith(watched) and not path.startswith(unwatched):
            counted[0] += 1
            if counted[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


# -- what stands in a folder


def prints(folder: Path) -> dict[str, str]:
    """Return {name: digest} of the files of a run, without those that start with a dot, as locks do."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def finished() -> dict[str, dict]:
    """Return {run: digests of its files} of all runs that are done."""
    return {path.parent.name: prints(path.parent) for path in runs_folder().glob("t*/DONE")}


def check_untouched(found: Found, before: dict[str, dict], but: tuple[str, ...] = ()) -> None:
    """Check that each run that was done is so still, byte by byte; ``but``: runs that a verb may change."""
    for name in before.keys() - set(but):
        now = prints(runs_folder() / name)
        changed = {file for file, _ in before[name].items() ^ now.items()}
        found.check(not changed, "lost", f"{name} has changed: {changed}")


def check_listings(found: Found, complete: bool = True) -> str:
    """Check that what lists runs works, and shows no broken run if all are ``complete``; return clean's."""
    text = io.StringIO()
    for listing in (runs, clean, sync)[: 3 if complete else 2]:
        try:
            with contextlib.redirect_stdout(text):
                listing()
        except UserError as error:
            found.check(listing is sync, "other", f"{listing.__name__}: {error}")
        except Exception:
            found["traceback"].append(f"{listing.__name__}: {traceback.format_exc()[-1000:]}")
    found.check(not complete or "broken" not in text.getvalue(), "other", f"broken: {text.getvalue()[-500:]}")
    return text.getvalue()


def check_swept(found: Found) -> None:
    """Check that no half-made file or folder is left; runs that were killed are for resume to sweep."""
    killed = [path for path in runs_folder().glob("t*") if not (path / "DONE").exists()]
    for path in outputs().parent.rglob(".*"):
        half = path.suffix == ".part" or path.is_dir()
        found.check(not half or {*killed} & {*path.parents}, "other", f"left behind: {path}")


def check_same(found: Found, name: str, straight: str) -> None:
    """Check that a run is done, with each epoch once, and bit for bit as the undisturbed one."""
    run, other = Run.open(name), Run.open(straight)
    if run.status != "done":
        return found["lost"].append(f"{name} is {run.status}")
    epochs = [row["epoch"] for row in csv.read(run.folder / "metrics.csv")]
    found.check(len(epochs) == len(set(epochs)), "doubled", f"{name}: epochs {epochs}")
    same = compare(other, run)
    found.check(same["identical"], "lost", f"{name} differs from {straight}: {same}")


def check_store(found: Found, run: Run) -> None:
    """Check that the MLflow store holds one run of this name, with each row of the history once."""
    with contextlib.closing(sqlite3.connect(outputs() / "mlflow.db")) as store:
        query = "select run_uuid, status from runs join tags using (run_uuid) where key = 'version'"
        query += " and value = ?"
        stored = store.execute(query, (run.name,)).fetchall()
        query = "select step from metrics where run_uuid = ? and key = 'val/loss' order by step"
        steps = [step for uuid, _ in stored[:1] for (step,) in store.execute(query, (uuid,))]
    found.check(len(stored) < 2, "doubled", f"{run.name} is {len(stored)} runs of MLflow")
    status = {"done": "FINISHED", "killed": "KILLED"}.get(run.status)
    found.check([status] == [one[1] for one in stored[:1]], "lost", f"MLflow has {stored} for {run}")
    epochs = [row["epoch"] for row in run.rows]
    found.check(len(steps) == len(set(steps)), "doubled", f"{run.name}: steps in MLflow {steps}")
    found.check({*steps} == {*epochs}, "lost", f"{run.name}: steps in MLflow {steps} of {epochs}")


def latest() -> str:
    return f"t{max([0, *versions_in(runs_folder(), 't')])}"


# -- the folder that each try begins with


def template(found: Found, made: Path) -> None:
    """Make t1 (net) and t2 (trees), done; t3, done without MLflow; t4 and t5, killed nets, t5 with MLflow.

    Also a pack of t1 and of t2.
    """
    os.environ["OUTPUTS_DIR"] = str(made / "outputs")
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}

    def rows(name: str, n: int = 5):
        return lambda: len(csv.read(runs_folder() / name / "metrics.csv")) >= n

    for verb in (
        Verb("train", *NET).wait(),
        Verb("train", *TREES).wait(),
        Verb("train", *NET, "logger=mlflow", **down).wait(),
        Verb("train", *NET).wait(moment=rows("t4")),
        Verb("train", *NET, "logger=mlflow", **down).wait(moment=rows("t5")),
        Verb("train", *TREES, "logger=mlflow").wait(),  # makes the store, and is then gone
        Verb("clean", "remove=t6").wait(),
        *(Verb("pack", f"run={name}", f"file={made}/{name}.zip").wait() for name in ("t1", "t2")),
    ):
        found.check(verb.code in (0, -9), "other", verb.read("stdout") + verb.read("stderr"))
    for name in ("t4", "t5"):  # killed long ago, other hosts may think
        os.utime(runs_folder() / name / ".lock", (0, time.time() - 3600))
    states = [Run.open(f"t{number}").status for number in range(1, 6)]
    found.check(states == ["done", "done", "done", "killed", "killed"], "other", f"{states}")


@contextlib.contextmanager
def place(made: Path, *names: str):
    """Yield a new folder; its ``outputs`` has the runs ``names`` of the template, and is OUTPUTS_DIR."""
    folder = Path(tempfile.mkdtemp(prefix="place-", dir=made)).resolve()
    gone = {"t1", "t2", "t3", "t4", "t5"} - set(names)
    shutil.copytree(made / "outputs", folder / "outputs", ignore=shutil.ignore_patterns(*gone))
    if (folder / "outputs/mlflow.db").exists():  # files that it is given are to stay in this folder
        with contextlib.closing(sqlite3.connect(folder / "outputs/mlflow.db")) as store:
            move = "update experiments set artifact_location = replace(artifact_location, ?, ?)"
            store.execute(move, (f"{made}/outputs", f"{folder}/outputs"))
            store.commit()
    os.environ["OUTPUTS_DIR"] = str(folder / "outputs")
    (folder / "tmp").mkdir()
    tempfile.tempdir = str(folder / "tmp")
    os.chdir(folder)
    try:
        yield folder
    finally:  # not a TemporaryDirectory: each forked process would remove it at its end
        shutil.rmtree(folder, ignore_errors=True)


def seeded(name: str, i: int) -> random.Random:
    return random.Random(f"{name} {i}{SEED}")

"""One process at a time holds a run: who holds it, how it ends, on this host and on others, and its cost."""

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import CHECKOUT, QUIET, until

from src import clean, fit, load, runs
from src.logger import csv
from src.resume import resume
from src.run.folder import runs_folder
from src.run.lock import DEAD_S, Held, alive, hold, holder
from src.run.trust import START, seal
from src.share.package import pack
from src.sync import sync
from src.system.errors import UserError
from src.system.files import read_json, write_json

HOLD = "import sys, time; from pathlib import Path; from src.run.lock import hold\n"
HOLD += "with hold(Path(sys.argv[1]), sys.argv[2]): print('held', flush=True); time.sleep(60)"


@pytest.fixture(scope="module")
def run(outputs):
    return fit("dataset=wine", "model=linear", *QUIET)


@pytest.fixture
def held(request):
    """``held(folder, verb, host)`` starts a process that holds a run, as if it were on another host."""
    started = []

    def start(folder, verb="train", host=None, code=HOLD) -> subprocess.Popen:
        environment = os.environ | ({"HOSTNAME": host} if host else {})
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), verb], cwd=CHECKOUT, env=environment, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(20)
    process.stdout.close()


def age(folder, seconds: float) -> None:
    """Set the last sign of life of a run's holder to ``seconds`` ago."""
    os.utime(folder / ".lock", (time.time() - seconds,) * 2)


# -- one holder


def test_a_holder_is_named_until_it_dies(tmp_path, held):
    assert holder(tmp_path) is None
    process = held(tmp_path, "resume")
    found = holder(tmp_path)
    assert (found["verb"], found["pid"]) == ("resume", process.pid) and time.time() - found["since"] < 30
    sentence = rf"in use \(resume, process {process.pid} on .*force=true"
    with pytest.raises(Held, match=sentence), hold(tmp_path, "sync"):
        pass
    kill(process)
    assert holder(tmp_path) is None
    with hold(tmp_path, "sync"):
        assert holder(tmp_path)["pid"] == os.getpid()
        with pytest.raises(Held), hold(tmp_path, "sync"):  # not even in this process
            pass
    assert holder(tmp_path) is None


def _try(folder, start: float) -> bool:
    time.sleep(max(0, start - time.time()))
    try:
        with hold(folder, "train"):
            time.sleep(2)
        return True
    except Held:
        return False


def test_of_many_at_once_exactly_one_holds(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert sum(pool.starmap(_try, [(tmp_path, time.time() + 0.3)] * 8, chunksize=1)) == 1


def test_listing_all_the_time_hinders_nobody(tmp_path):
    """To list, a run is locked for microseconds; its next holder waits that long."""
    code = "import sys; from pathlib import Path; from src.run.lock import holder\n"
    code += "print('held', flush=True)\nwhile True: holder(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE) as lister:
        lister.stdout.readline()
        for _ in range(200):
            with hold(tmp_path, "train"):
                pass
        lister.kill()


def test_every_verb_refuses_a_held_run_and_changes_nothing(run, held, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.name != ".lock"}
    process = held(run.folder, "sync")
    for verb in (
        lambda: resume(run.name), lambda: resume(run.name, 200), lambda: sync(run.name),
        lambda: clean.clean(run.name), lambda: pack(run.name, str(tmp_path / "t.zip")),
    ):  # fmt: skip
        with pytest.raises(Held, match=rf"{run.name} is in use \(sync, process {process.pid}"):
            verb()
    sync()  # of all runs: goes on with the others
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.name != ".lock"} == before
    assert load(run.name).status == "done" and not (tmp_path / "t.zip").exists()


def test_by_force_the_run_is_taken_for_good(tmp_path, held):
    """The old holder, which still lives, neither gives it back nor keeps it alive for others."""
    process = held(tmp_path)
    with hold(tmp_path, "resume", force=True):
        kill(process)
        assert holder(tmp_path)["pid"] == os.getpid()
        with pytest.raises(Held), hold(tmp_path, "sync"):
            pass
    assert holder(tmp_path) is None


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_run(tmp_path, held):
    fork = "import os; os.fork() or (os.setsid(), time.sleep(20), os._exit(0)); "
    process = held(tmp_path, code=HOLD.replace("print(", f"{fork}print("))
    kill(process)
    until(lambda: holder(tmp_path) is None, 10)  # the child may be about to close it; it sleeps for 20 s


def test_a_folder_that_is_removed_meanwhile_is_not_made_again(tmp_path):
    with pytest.raises(UserError, match="t9 has just been removed"), hold(tmp_path / "t9", "sync"):
        pass
    assert not (tmp_path / "t9").exists()


def test_a_folder_that_takes_no_lock_file_is_used_all_the_same(tmp_path):
    (tmp_path / ".lock").mkdir()
    with hold(tmp_path, "pack"):
        pass


# -- on several hosts


def test_a_holder_on_another_host_lives_while_it_shows_it(tmp_path, held, monkeypatch):
    process = held(tmp_path, "resume", host="elsewhere")
    assert holder(tmp_path)["host"] == "elsewhere"
    kill(process)
    assert holder(tmp_path)["host"] == "elsewhere"  # its last sign of life is a moment old
    age(tmp_path, DEAD_S - 10)
    with pytest.raises(Held, match="on elsewhere"), hold(tmp_path, "sync"):
        pass
    age(tmp_path, DEAD_S + 1)
    assert holder(tmp_path) is None
    with hold(tmp_path, "sync"):
        monkeypatch.setenv("HOSTNAME", "elsewhere")
        assert holder(tmp_path)["verb"] == "sync"
    assert holder(tmp_path) is None  # given back: others need not wait


def test_the_heartbeat_goes_on_while_a_run_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("src.run.lock.BEAT_S", 0.05)
    with hold(tmp_path, "train"):
        age(tmp_path, 1000)
        until(lambda: time.time() - (tmp_path / ".lock").stat().st_mtime < 10, 5)


def test_a_file_system_without_locks_is_left_to_the_heartbeat(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path, "train"):
        with pytest.raises(Held), hold(tmp_path, "sync"):
            pass
        age(tmp_path, DEAD_S + 1)
        assert holder(tmp_path) is None
    assert holder(tmp_path) is None


def slow(y_true, y_score) -> float:
    """A metric for a run of some seconds."""
    time.sleep(0.1)
    return float(np.mean(y_score.argmax(1) == y_true))


SLOW = ("dataset=wine", "model=sgd", *QUIET, "trainer.max_epochs=25", "model.patience=null")
SLOW += ("metric=test_lock.slow", "metric_mode=max")


def child(verb: str, *overrides: str, **variables) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "tests")} | variables
    return subprocess.Popen(
        [sys.executable, "-m", f"src.{verb}", *overrides], cwd=CHECKOUT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_run_of_two_hosts_is_refused_while_it_lives_and_taken_when_it_is_dead(outputs, monkeypatch):
    """Killed on one, refused on the other for a minute, then resumed twice at once: one trains."""
    names = {*runs().index}
    monkeypatch.setenv("HOSTNAME", "two")
    process = child("train", *SLOW, HOSTNAME="one")
    name = until(lambda: next(iter({*runs().index} - names), None))
    folder = runs_folder() / name
    until(lambda: len(csv.read(folder / "metrics.csv")) > 3)
    assert load(name).status == runs().loc[name, "status"] == "running"
    assert read_json(folder / "report.json")["host"] == "one"
    for verb in (lambda: resume(name), lambda: sync(name), lambda: clean.clean(name)):
        with pytest.raises(Held, match=r"is in use \(train, process \d+ on one"):
            verb()
    kill(process)
    assert load(name).status == "running"
    age(folder, DEAD_S + 1)
    assert load(name).status == runs().loc[name, "status"] == "killed"
    sync(name)
    both = [child("resume", f"run={name}", HOSTNAME=host) for host in ("two", "three")]
    until(lambda: load(name).status == "running")
    texts = [process.communicate(timeout=100)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    refused = texts[0 if both[0].returncode else 1]
    assert refused.count("\n") == 1 and f"{name} is in use (resume" in refused
    again = load(name)
    assert again.status == "done" and [row["epoch"] for row in again.rows] == list(range(1, 26))
    assert again.report["resumed"] == 1 and again.report["host"] in ("two", "three")


# -- runs without a lock file


@pytest.fixture
def old(run):
    """``old(pid=...)`` makes the report of a run as a version before locks left it while it trained."""
    report, path = read_json(run.folder / "report.json"), run.folder / "report.json"
    lock = run.folder / ".lock"

    def write(**entries) -> None:
        lock.unlink(missing_ok=True)
        write_json(path, report | {"status": "running", "started": time.time()} | entries)

    yield write
    write_json(path, report)


def test_an_old_run_is_running_while_its_process_lives(run, old):
    old(pid=os.getppid())
    assert load(run.name).status == "running"
    with pytest.raises(Held, match="is in use"):
        resume(run.name)
    old(pid=os.getppid(), host="elsewhere")
    assert load(run.name).status == "running"


def test_an_old_run_of_a_process_that_nobody_waited_for_is_killed(run, old):
    """In a container nobody may wait."""
    process = subprocess.Popen(["sleep", "60"])
    old(pid=process.pid)
    assert load(run.name).status == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert load(run.name).status == "killed"
    process.wait()


def test_an_old_run_whose_number_another_process_has_now_is_killed(run, old):
    """In a container each process may be number 1."""
    with subprocess.Popen(["sleep", "60"]) as other:
        old(pid=other.pid, started=time.time() - 60)
        assert load(run.name).status == "killed" and alive(other.pid, time.time())
        other.kill()


def test_an_end_that_is_recorded_while_a_run_is_looked_at_counts(run, old):
    old(pid=os.getppid())
    seen = load(run.name)
    report = json.loads((run.folder / "report.json").read_text())
    write_json(run.folder / "report.json", report | {"status": "done"})
    assert seen.status == "done"


# -- cost


def test_lock_and_seals_take_milliseconds(outputs, run, tmp_path):
    """The aim is 20 ms a run, with a process that beats; nothing is done per step."""
    seconds, names = [], [*START, *(f"model/{path.name}" for path in (run.folder / "model").iterdir())]
    for _ in range(30):
        began = time.perf_counter()
        with hold(tmp_path, "train"):
            seal(run.folder, *names)
        seconds.append(time.perf_counter() - began)
    print(f"lock, heartbeat and seals: {1000 * statistics.median(seconds):.1f} ms")
    assert statistics.median(seconds) < 0.06


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_is_ended_by_a_signal_gives_the_run_back(tmp_path, held, number):
    process = held(tmp_path)
    process.send_signal(number)
    process.wait(20)
    assert holder(tmp_path) is None

"""The folders of runs: numbers are claimed once, `clean` removes any of them, a broken one stops no listing.

Also the folder of them all: its name may hold any sign, and its disk may be full.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import forks
import numpy as np
import pytest
from conftest import CHECKOUT, QUIET

from src import clean, fit, load
from src.config import shell as console
from src.diff import diff
from src.etl import etl
from src.pack import pack
from src.replay import replay
from src.resume import resume
from src.run.folder import runs_folder
from src.run.lock import hold
from src.run.overview import runs
from src.run.remove import expand, remove_run, size
from src.run.trust import unsealed
from src.study.sweep import listed, results
from src.study.table import aligned
from src.sync import sync
from src.system.errors import UserError
from src.system.files import hidden, read_json, write_json
from src.system.paths import claim, versions_in
from src.unpack import unpack


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Make an outputs folder for one test, with empty runs t1 to t6."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    for _ in range(6):
        claimed()
    return tmp_path


def claimed() -> str:
    return claim(runs_folder(), "t").name


def there() -> list[int]:
    return versions_in(runs_folder(), "t")


def test_eight_processes_claim_distinct_numbers(tmp_path):
    code = "import sys\nfrom pathlib import Path\nfrom src.system.paths import claim\n"
    code += "for _ in range(20): print(claim(Path(sys.argv[1]), 't').name)"
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    eight = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    names = [name for one in eight for name in one.communicate(timeout=100)[0].split()]
    assert sorted(names, key=lambda name: int(name[1:])) == [f"t{n}" for n in range(1, 161)]


def test_a_removed_number_is_never_given_again(own):
    for name in expand("t2,t6"):
        remove_run(name)
    assert there() == [1, 3, 4, 5]
    assert claimed() == "t7"
    remove_run("t7")
    remove_run("t1")
    assert claimed() == "t8"


def test_no_number_comes_back_when_all_runs_are_gone(own):
    for name in expand("t1-t6"):
        remove_run(name)
    assert there() == [] and claimed() == "t7"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("t3", ["t3"]),
        ("t2-t4", ["t2", "t3", "t4"]),
        ("t5-t99,t1", ["t5", "t6", "t1"]),
        ("t1, t2", ["t1", "t2"]),
    ],
)
def test_ranges_name_the_runs_that_there_are(own, words, names):
    assert expand(words) == names


@pytest.mark.parametrize("words", ["t9", "t2,t9", "7", "t2-7", "all", ""])
def test_what_names_no_run_is_refused_and_removes_nothing(own, words):
    with pytest.raises(UserError, match=words.rpartition(",")[2] or "remove"):
        [remove_run(name) for name in expand(words)]
    assert there() == [1, 2, 3, 4, 5, 6]


def test_a_running_run_is_refused_with_all_that_were_named(own):
    with hold(runs_folder() / "t3", "train"):
        with pytest.raises(UserError, match=r"t3 is in use \(train, .*force=true"):
            clean.clean(remove="t2-t4")
        assert there() == [1, 2, 3, 4, 5, 6]
        clean.clean(remove="t2-t4", force=True)
    assert there() == [1, 5, 6]


def test_a_run_named_twice_is_removed_once(own):
    assert expand("t2,t2-t3") == ["t2", "t3"]


def test_the_shell_shows_and_removes(shell):
    for seed in (0, 1):
        fit("dataset=wine", "model=linear", *QUIET, f"seed={seed}")
    n_bytes = size(runs_folder() / "t1")
    assert f"{n_bytes / 1e6:.1f} MB" in shell("clean").stdout
    done = shell("clean", "remove=t1")
    assert done.returncode == 0 and f"{n_bytes / 1e6:.1f} MB freed" in done.stdout
    assert runs().index.tolist() == ["t2"]
    wrong = shell("clean", "remove=t1,t2")
    assert wrong.returncode == 1 and "no run t1" in wrong.stderr and "Traceback" not in wrong.stderr
    assert runs().index.tolist() == ["t2"]


# -- broken folders


@pytest.fixture
def two(tmp_path, monkeypatch):
    """An outputs folder with two runs of a sweep; t2 is there to be broken."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    for name in made():
        shutil.copytree(name, tmp_path / "runs" / name.name)
    shutil.copy(made()[0].parent.parent / ".key", tmp_path / ".key")
    return runs_folder() / "t2"


def made(cache=[]) -> list:  # noqa: B006  trained once
    """Return the folders of two runs, in an outputs folder of their own."""
    if not cache:
        import tempfile

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OUTPUTS_DIR", tempfile.mkdtemp())
            for seed in (0, 1):
                run = fit("dataset=wine", "model=linear", *QUIET, f"seed={seed}")
                write_json(run.folder / "report.json", run.report | {"sweep": "s1"})
                cache.append(run.folder)
    return cache


def change(name: str, **entries):
    return lambda folder: write_json(folder / name, read_json(folder / name) | entries)


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "half a config": (write("config.json", b'{"seed": 1, "mod'), "config.json is not readable JSON"),
    "no text": (write("report.json", b"\xff\xfe\x00"), "report.json is not readable JSON"),
    "an empty report": (write("report.json", b""), "report.json is not readable JSON"),
    "a deep report": (write("report.json", b"[" * 100_000), "report.json is not readable JSON"),
    "a list": (write("report.json", b"[1]"), "report.json has no valid 'status'"),
    "no status": (change("report.json", status=None), "report.json has no valid 'status'"),
    "other metrics": (change("report.json", metrics={"val/accuracy": "high"}), "no valid 'metrics'"),
    "other seconds": (change("report.json", timings=[1]), "no valid 'timings'"),
    "another metric": (change("report.json", metric="f1"), "no valid 'metric'"),
    "no section": (change("config.json", model=None), "config.json has no valid 'model'"),
    "a folder as report": (
        lambda folder: ((folder / "report.json").unlink(), (folder / "report.json").mkdir()),
        "report.json cannot be read: Is a directory",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_folder_stops_no_listing(two, kind, capsys, caplog):
    """It is shown with its reason, refused where it is meant, and removed."""
    damage, reason = BROKEN[kind]
    damage(two)
    found = runs()
    assert list(found.index) == ["t1", "t2"] and found.loc["t1", "status"] == "done"
    assert found.loc["t2", "status"].startswith("broken: ") and reason in found.loc["t2", "status"]
    lines = clean.table().splitlines()
    assert sum("MB   t1: linear on wine, done" in line for line in lines) == 1
    assert sum("MB   t2  broken: " in line and reason in line for line in lines) == 1
    sync()  # both are complete, or will never be
    assert "t1   done" in aligned(listed(results("s1")))
    for verb in (lambda: diff("t1,t2"), lambda: resume("t2"), lambda: sync("t2"), lambda: load("t2")):
        with pytest.raises(UserError, match="t2 is broken: ") as caught:
            verb()
        assert reason in str(caught.value) and str(two) not in str(caught.value)
    clean.clean(remove="t2")
    assert list(runs().index) == ["t1"] and there() == [1]
    assert claimed() == "t3"


def test_the_jobs_of_a_sweep_that_are_broken_are_shown(two):
    (two / "config.json").unlink()
    assert "t2   broken: config.json is missing" in aligned(listed(results("s1")))


@pytest.mark.parametrize("name", ["env.json", "code.zip"])
def test_two_runs_are_compared_by_what_is_there(two, name, capsys):
    (two / name).write_bytes(b"PK")
    diff("t1,t2")
    shown = capsys.readouterr().out
    assert "test/accuracy" in shown and "config seed: 0 -> 1" in shown and f"t2  broken: {name}" in shown


def test_a_broken_history_and_broken_predictions_are_named(two):
    (two / "metrics.csv").write_text("epoch,val/loss\n1,high\n")
    (two / "predictions.npz").write_bytes(b"PK")
    run = load("t2")
    with pytest.raises(UserError, match=r"t2 is broken: metrics\.csv is damaged"):
        print(run.rows)
    with pytest.raises(UserError, match=r"t2 is broken: predictions\.npz cannot be read"):
        print(run.arrays)


def test_no_control_character_of_a_report_reaches_the_console(two, capsys):
    evil = "lin\x1b[2Jear\x07\n\u202et9: done"
    metrics = read_json(two / "report.json")["metrics"] | {"val/\x1b[1A": 1.0}
    change("report.json", model=evil, dataset=evil, metrics=metrics, overrides=[evil])(two)
    change("config.json", tags=[evil])(two)
    print(runs().reset_index().to_string(), load("t2"), clean.table(), aligned(listed(results("s1"))))
    diff("t1,t2")
    shown = capsys.readouterr().out
    assert not [sign for sign in shown if not sign.isprintable() and sign != "\n"]
    assert "\\x1b[2J" in shown and not [line for line in shown.splitlines() if line.startswith("t9: done")]


# -- clean


def test_any_folder_with_the_name_of_a_run_is_removed(own):
    runs_folder().joinpath("t7").write_text("a file")
    runs_folder().joinpath("t8").symlink_to(runs_folder() / "t1")
    (runs_folder() / "t2" / "model").mkdir()
    (runs_folder() / "t2" / "model" / "far").symlink_to("nowhere")
    (runs_folder() / "t3" / ".lock").mkdir()
    assert "t8" in clean.table()
    clean.clean(remove="t2-t3,t7,t8")
    assert there() == [1, 4, 5, 6] and (runs_folder() / "t1").is_dir()
    assert not [path for path in runs_folder().iterdir() if path.name.endswith(".part")]


KILLED = """import os, signal, shutil, sys
from src import clean
from src.run import remove
def kill(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
exec(sys.argv[1])
clean.clean(remove="t2,t6")"""


MOMENTS = (
    "remove.hidden = kill", "remove.remember_removed = kill", "shutil.rmtree = kill", "shutil.rmtree = half",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_clean_leaves_nothing_that_stops_a_listing(own, moment):
    for name in ("t2", "t6"):
        (runs_folder() / name / "model").mkdir()
    half = "def half(path): os.rmdir(path / 'model'), kill()\n"
    command = [sys.executable, "-c", KILLED, half + moment]
    assert subprocess.run(command, cwd=CHECKOUT).returncode == -signal.SIGKILL
    assert len(runs()) == 0 and [n for n in there() if n != 2] == [1, 3, 4, 5, 6]
    assert not [path for path in runs_folder().iterdir() if path.name.startswith(".t")]
    clean.clean(remove="t1-t6")
    assert there() == [] and claimed() == "t7"


def test_half_written_files_of_a_killed_process_are_swept(own):
    """Those of processes that live, and of other hosts, are left alone."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = runs_folder() / "t2" / "model"
    folder.mkdir()
    mine = hidden(folder / "model_t2.pt")
    for pid in (ended.pid, os.getpid()):
        (folder / mine.name.replace(f"-{os.getpid()}.", f"-{pid}.")).touch()
    (folder / ".model_t2.pt.elsewhere-1.part").touch()
    clean.clean()
    assert {path.name for path in folder.iterdir()} == {mine.name, ".model_t2.pt.elsewhere-1.part"}


# -- the outputs folder


def test_outputs_dir_may_hold_any_sign(tmp_path, monkeypatch):
    """Its path is in Hydra's overrides, in addresses of SQLAlchemy and MLflow, and goes to Lightning."""
    folder = tmp_path / """a%20b?c#d e'f"g,h=i[j]{k}(l)$m;n&o\\'p\\${q}~r:s*t"""
    monkeypatch.setenv("OUTPUTS_DIR", str(folder))
    words = ["-m", "dataset=iris", "model=linear", "pictures=false", "logger=mlflow", "logger.wait=300"]
    done = forks.call("src.train", *words)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert set(runs()["sweep"]) == {"s1"} and list(runs()["status"]) == ["done"]
    assert (folder / "sweeps" / "s1" / "sweep.json").is_file() and (folder / "mlflow.db").is_file()
    assert [path.name for path in (folder / "mlartifacts").rglob("model_t*")] == ["model_t1.joblib"]
    assert load("t1").trackers["mlflow"]["closed"]
    assert fit("dataset=iris", "model=mlp", *QUIET, "trainer.max_epochs=1").status == "done"
    assert len(resume("t2", 2).rows) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents] == []


def test_a_path_that_lightning_takes_for_two_is_refused(tmp_path, monkeypatch):
    environment = os.environ | {"OUTPUTS_DIR": str(tmp_path / "a::b")}
    done = forks.call("src.train", "model=mlp", env=environment)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "a path with ::" in done.stderr


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """An outputs folder on a file system of 4 MB: ``small_disk(n)`` leaves ``n`` KB free on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mount is refused: only root may make a small disk")
    monkeypatch.setenv("OUTPUTS_DIR", str(disk))

    def fill(n_kb: int) -> None:
        (disk / "ballast").unlink(missing_ok=True)
        with (disk / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError as error:
                assert error.errno == errno.ENOSPC
            file.truncate(max(0, file.tell() - 1024 * n_kb))

    yield fill
    subprocess.run(["umount", "-l", str(disk)], check=True)


FULL = "the disk is full: free some space"


def refused(capsys, verb, *args, **options) -> bool:
    """Run a verb as the shell does; return whether it was refused, in one sentence about the disk."""
    capsys.readouterr()
    try:
        console.run(verb, *args, **options)
    except SystemExit as end:
        shown = capsys.readouterr().err
        assert end.code == 1 and shown.count("\n") == 1 and "Traceback" not in shown and FULL in shown, shown
        return True
    return False


def test_a_full_disk_is_one_sentence_in_every_verb(small_disk, tmp_path, capsys):
    """And nothing of a finished run is lost by it."""
    overrides = ("dataset=wine", "model=mlp", *QUIET, "trainer.max_epochs=2", "model.net.d_hidden=16")
    run = fit(*overrides)
    p, packed = run.arrays["test_p"], tmp_path / "t1.zip"
    pack("t1", str(packed))
    small_disk(0)
    assert refused(capsys, resume, "t1", max_epochs=4)
    assert refused(capsys, pack, "t1", str(runs_folder() / "t1.zip"))
    assert refused(capsys, unpack, str(packed))
    assert not refused(capsys, sync) and not refused(capsys, etl) and not refused(capsys, clean.clean)
    assert not refused(capsys, diff, "t1,t1")
    left = load("t1")
    assert left.status == "done" and not unsealed(left) and np.array_equal(left.arrays["test_p"], p)
    assert there() == [1] and not list(runs_folder().rglob(".*.part"))
    for n_kb in (12, 60, 250):  # it fills up while the run begins, trains, ends
        small_disk(n_kb)
        done = forks.call("src.train", *overrides, "model.net.d_hidden=128")
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and FULL in done.stderr, done.stderr
    assert set(runs()["status"]) <= {"done", "failed", "killed"} and runs().loc["t1", "status"] == "done"
    small_disk(0)
    assert not refused(capsys, clean.clean, remove="t1-t99") and there() == []
    small_disk(3000)
    assert fit(*overrides).status == "done"


def test_latest_is_recorded_as_the_run_that_it_was(two, tmp_path, monkeypatch):
    """A pack and a replay name t2, not the word that was typed; a run may begin in between."""
    monkeypatch.chdir(tmp_path)
    pack("latest")
    with zipfile.ZipFile(tmp_path / "t2.zip") as archive:
        assert json.loads(archive.read("manifest.json"))["run"] == "t2"
    found = replay("latest", code="now")
    assert load(found["run"]).report["replay_of"] == "t2" and found["identical"]

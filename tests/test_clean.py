"""Numbers of runs are claimed by one process and never used again; `clean` removes runs or refuses."""

import multiprocessing
import os
import socket
import time

import pytest
from conftest import QUIET

from src import clean, fit
from src.run.folder import runs_folder
from src.run.overview import runs
from src.system.errors import UserError
from src.system.files import write_json
from src.system.paths import claim, versions_in


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


def _claim_many(folder):
    return [claim(folder, "t").name for _ in range(20)]


def test_eight_processes_claim_distinct_numbers(tmp_path):
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        names = [name for some in pool.map(_claim_many, [tmp_path / "runs"] * 8) for name in some]
    assert sorted(names, key=lambda name: int(name[1:])) == [f"t{n}" for n in range(1, 161)]


def test_a_removed_number_is_never_given_again(own):
    for name in clean.expand("t2,t6"):
        clean.remove_run(name)
    assert there() == [1, 3, 4, 5]
    assert claimed() == "t7"
    clean.remove_run("t7")
    clean.remove_run("t1")
    assert claimed() == "t8"


def test_no_number_comes_back_when_all_runs_are_gone(own):
    for name in clean.expand("t1-t6"):
        clean.remove_run(name)
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
    assert clean.expand(words) == names


@pytest.mark.parametrize("words", ["t9", "t2,t9", "7", "t2-7", "all", ""])
def test_what_names_no_run_is_refused_and_removes_nothing(own, words):
    with pytest.raises(UserError, match=words.rpartition(",")[2] or "remove"):
        [clean.remove_run(name) for name in clean.expand(words)]
    assert there() == [1, 2, 3, 4, 5, 6]


def test_a_running_run_is_refused_with_all_that_were_named(own):
    process = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}
    report = {"status": "running", **process, "metrics": {}, "metric": None}
    write_json(runs_folder() / "t3" / "report.json", report)
    write_json(runs_folder() / "t3" / "config.json", {})
    with pytest.raises(UserError, match=r"t3 is in use \(train, .*force=true"):
        clean.clean(remove="t2-t4")
    assert there() == [1, 2, 3, 4, 5, 6]
    clean.clean(remove="t2-t4", force=True)
    assert there() == [1, 5, 6]


def test_a_run_named_twice_is_removed_once(own):
    assert clean.expand("t2,t2-t3") == ["t2", "t3"]


def test_the_shell_shows_and_removes(shell):
    for seed in (0, 1):
        fit("dataset=wine", "model=linear", *QUIET, f"seed={seed}")
    n_bytes = clean.size(runs_folder() / "t1")
    assert f"{n_bytes / 1e6:.1f} MB" in shell("clean").stdout
    done = shell("clean", "remove=t1")
    assert done.returncode == 0 and f"{n_bytes / 1e6:.1f} MB freed" in done.stdout
    assert runs().index.tolist() == ["t2"]
    wrong = shell("clean", "remove=t1,t2")
    assert wrong.returncode == 1 and "no run t1" in wrong.stderr and "Traceback" not in wrong.stderr
    assert runs().index.tolist() == ["t2"]

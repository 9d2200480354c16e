"""``--multirun``: every job is a run, also in the trackers, below one parent; a failed job stops no other."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import forks
import pandas as pd
import psutil
import pytest
from conftest import CHECKOUT, until
from servers import hanging

from src import load, run_sweep, runs, sweep
from src.logger.wandb import records
from src.run.compare import compare
from src.run.lock import hold
from src.study.jobs import rows
from src.study.sweep import listed, results
from src.study.table import aligned
from src.system.errors import UserError
from src.system.files import read_json

SWEEP = ("--multirun", "model=mlp,hist_gb", "dataset=wine", "seed=0,1", "trainer.max_epochs=2")
SWEEP = (*SWEEP, "logger.wait=300")  # a busy machine takes longer than 30 s to make the first store


def train(*overrides: str, **environment: str) -> subprocess.CompletedProcess:
    """stdout and stderr as one text, in the order in which a person would see them."""
    return forks.call("src.train", *overrides, env=os.environ | environment, merged=True)


def runs_of(sweep: str) -> list[str]:
    return [*results(sweep)["run"].dropna()]


def statuses_in_mlflow(sweep: str) -> dict[str, str]:
    """{run: status} of the jobs of a sweep in MLflow, and of the parent run by the sweep's name."""
    from mlflow import MlflowClient

    from src.logger.mlflow import uri

    client = MlflowClient(tracking_uri=uri())
    (parent,) = {load(name).report["parent"] for name in runs_of(sweep)}
    stored = client.get_run(parent).info
    children = client.search_runs([stored.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    infos = (stored, *(child.info for child in children))
    return {info.run_name.partition(" ")[0]: info.status for info in infos}  # named t1 mlp wine


def assert_one_tree(sweep: str, names: list[str]):
    """Assert a closed parent run with the jobs below it in MLflow, and one finished run a job in W&B."""
    reports = {name: load(name).report for name in names}
    ends = {"done": "FINISHED", "failed": "FAILED"}
    wanted = {name: ends[report["status"]] for name, report in reports.items()}
    wanted[sweep] = "FAILED" if "FAILED" in wanted.values() else "FINISHED"
    assert statuses_in_mlflow(sweep) == wanted
    folders = {Path(load(name).trackers["wandb"]["folders"][-1]) for name in reports}
    assert len(folders) == len(names)
    assert all(len(records(folder)["exit"]) == 1 for folder in folders)
    assert {records(folder)["run"][0].run_group for folder in folders} == {sweep}
    assert {report["sweep"] for report in reports.values()} == {sweep}


def assert_all_four(names: list[str]):
    """Assert that the four jobs of `SWEEP` are done, in any order."""
    assert len(names) == 4
    done = {(run.cfg["model"]["name"], run.cfg["seed"]) for run in map(load, names) if run.status == "done"}
    assert done == {(model, seed) for model in ("mlp", "hist_gb") for seed in (0, 1)}
    for run in map(load, names):
        assert (run.folder / "log.txt").read_text().count(f"{run.name}   ") == 1, "a log of this job alone"
        assert (run.folder / "DONE").is_file()


@pytest.fixture(scope="module")
def basic(outputs):
    done = train(*SWEEP)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_job_is_a_run_of_its_own(basic, outputs):
    assert_all_four(runs_of("s1"))
    assert_one_tree("s1", ["t1", "t2", "t3", "t4"])


def test_the_end_of_a_sweep_names_its_jobs(basic, outputs):
    """A line for each job, with what differs; the leaderboard; how far it is; the same in results.csv."""
    end = basic.rpartition("s1:")[2]
    table = pd.read_csv(outputs / "sweeps/s1/results.csv")
    assert list(table["job"]) == [0, 1, 2, 3] and list(table["run"]) == ["t1", "t2", "t3", "t4"]
    for row in table.itertuples():
        value = load(row.run).objective
        assert re.search(rf"{row.run} +done +{row.model} +{row.seed} +{value:.4f} ", end), end
    assert list(table["val/accuracy"]) == [load(name).objective for name in table["run"]]
    assert "dataset" not in end.partition("\n")[0] and "wine, 37 test rows:" in end
    assert "s1   4 of 4 jobs done   best t" in end
    pd.testing.assert_frame_equal(sweep("s1")[["job", "run"]], table[["job", "run"]])


@pytest.mark.slow
def test_jobs_side_by_side(basic, outputs):
    done = train(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stdout
    assert_all_four(runs_of("s2"))
    assert_one_tree("s2", runs_of("s2"))


@pytest.mark.slow
def test_eight_processes_write_to_one_sqlite_store(outputs):
    words = ("model=linear", "dataset=wine", "seed=range(0,16)", "logger=mlflow", "logger.wait=300")
    done = train("--multirun", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=8", "pictures=false")
    assert done.returncode == 0 and "mlflow failed" not in done.stdout, done.stdout
    name = runs()["sweep"].iloc[-1]
    assert statuses_in_mlflow(name) == dict.fromkeys([*runs_of(name), name], "FINISHED")
    assert len(runs_of(name)) == 16


METRICS = """
def breaks(y, p):
    raise ZeroDivisionError("within")
"""


def test_failing_jobs_leave_the_others_done(outputs, tmp_path):
    """A user's error (f1_binary of three classes) and an exception are shown before the next job starts."""
    (tmp_path / "my_metrics.py").write_text(METRICS)
    overrides = ("metric=f1_binary,my_metrics.breaks", "metric_mode=max", "dataset=wine,breast_cancer")
    done = train("--multirun", "model=linear", *overrides, PYTHONPATH=str(tmp_path))
    sweep = runs()["sweep"].iloc[-1]
    names = runs_of(sweep)
    assert done.returncode == 1
    assert [load(name).status for name in names] == ["failed", "done", "failed", "failed"]
    assert_one_tree(sweep, names)
    shown = done.stdout
    assert shown.index(f"error: {names[0]}: metric=f1_binary") < shown.index(f"{names[1]} done   val/")
    assert "ZeroDivisionError: within" in load(names[2]).report["error"]
    assert shown.index("ZeroDivisionError: within") < shown.index(f"{names[3]} failed")


def test_overrides_of_all_jobs_are_checked_before_the_first_begins(outputs):
    before = len(runs())
    done = train("--multirun", "model=linear,mlp", "hydra/launcher=joblib", "hydra.launcher.n_jobs=two")
    assert done.returncode == 2 and "n_jobs=two" in done.stdout and "converted to Integer" in done.stdout
    done = train("--multirun", "model=linear,mpl", "dataset=wine")
    assert done.returncode == 2 and "did you mean mlp" in done.stdout
    assert len(runs()) == before and len(list((outputs / "runs").glob("t*"))) == before


# -- a sweep that goes on

QUICK = ("model=linear", "dataset=wine", "logger=csv", "pictures=false")
FAILS_ONCE = """
from pathlib import Path

def fn(y, p):
    mark = Path(__file__).with_name("failed")
    if not mark.exists():
        mark.touch()
        raise OSError("the first time")
    return 0.5
"""


def test_a_sweep_goes_on_where_it_stopped(outputs, tmp_path):
    """``on_error=stop`` leaves the rest out; sweep_resume trains what is missing, in the runs that failed."""
    (tmp_path / "fails.py").write_text(FAILS_ONCE)
    words = (*QUICK, "metric=fails.fn", "metric_mode=max", "seed=0,1,2", "on_error=stop")
    done = train("--multirun", *words, PYTHONPATH=str(tmp_path))
    name = runs()["sweep"].iloc[-1]
    assert done.returncode == 1 and f"sweep_resume={name}" in done.stdout
    assert list(sweep(name)["status"]) == ["failed"]
    folder = outputs / "sweeps" / name
    with (folder / "jobs.jsonl").open("a") as file:
        file.write('{"job": 7, "run": "t')  # what a kill leaves
    first = sweep(name)["run"][0]
    assert read_json(folder / "sweep.json")["runs"] == {}
    done = train(f"sweep_resume={name}", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    table = sweep(name)
    assert list(table["job"]) == [0, 1, 2] and list(table["seed"]) == ["0", "1", "2"]
    assert set(table["status"]) == {"done"} and table["run"][0] == first
    assert [row["job"] for row in rows(folder)] == [0, 1, 2]
    again = train(f"sweep_resume={name}", PYTHONPATH=str(tmp_path))
    assert again.returncode == 0 and "3 of 3 jobs done" in again.stdout and "train/loss" not in again.stdout
    assert len(sweep(name)) == 3


def test_a_job_is_tried_again(outputs, tmp_path):
    (tmp_path / "fails.py").write_text(FAILS_ONCE)
    words = (*QUICK, "metric=fails.fn", "metric_mode=max", "seed=0,1", "on_error=retry:1")
    done = train("--multirun", *words, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    name = runs()["sweep"].iloc[-1]
    assert list(sweep(name)["status"]) == ["done", "done"] and "; 1 more try" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep_resume=s99"], "there is no sweep 's99'; known: s1"),
        (["sweep_resume=../runs"], "there is no sweep '../runs'"),
        (["sweep_resume=s1", "seed=0"], "sweep_resume=s1 takes the sweep's own overrides: leave seed=0 out"),
        (["--multirun", "seed=0,1", "on_error=try"], "on_error=try: should be continue, stop, retry:2"),
    ],
)
def test_wrong_words_of_sweeps(basic, words, sentence):
    done = train(*words)
    assert done.returncode == 2 and sentence in done.stdout


def test_a_sweep_that_runs_is_not_resumed(basic, outputs):
    with hold(outputs / "sweeps/s1", "sweep"):
        done = train("sweep_resume=s1")
        assert done.returncode == 2 and "s1 is in use (sweep, process" in done.stdout
        assert "add force=true" in done.stdout
        done = train("sweep_resume=s1", "force=true")
        assert done.returncode == 0 and re.search(r"s1   (\d) of \1 jobs done", done.stdout)


def test_a_sweep_in_a_notebook(basic):
    table = run_sweep(*QUICK, "seed=0,1")
    assert list(table["status"]) == ["done", "done"] and list(table["seed"]) == ["0", "1"]
    assert list(table["val/accuracy"]) == [load(name).objective for name in table["run"]]
    with pytest.raises(UserError, match="did you mean linear"):
        run_sweep("model=linaer,knn")


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_ends_as_an_undisturbed_one(outputs):
    """Each job once, with the weights of a straight run."""
    words = ["--multirun", "model=mlp", "dataset=wine", "seed=range(0,5)", "trainer.max_epochs=20"]
    words += ["logger=csv", "pictures=false"]
    straight = train(*words)
    assert straight.returncode == 0
    whole, arguments, name = runs()["sweep"].iloc[-1], words, None
    for number in range(10):
        command = [sys.executable, "-m", "src.train", *arguments]
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5 + 1.3 * number)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        name = name or max((outputs / "sweeps").glob("s*"), key=lambda path: int(path.name[1:])).name
        arguments = [f"sweep_resume={name}"]
        if not (outputs / "sweeps" / name / "sweep.json").is_file():
            name, arguments = None, words  # killed before it began
    assert train(*arguments).returncode == 0
    found, wanted = sweep(name), sweep(whole)
    assert list(found["job"]) == list(wanted["job"]) and set(found["status"]) == {"done"}
    for one, other in zip(found["run"], wanted["run"], strict=True):
        compared = compare(load(one), load(other))
        assert compared["identical"], (one, other, compared)


# -- when processes are killed

PARALLEL = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "pictures=false")
DIES = """
import os, pathlib, signal

def of_two_classes(y, p):
    pathlib.Path(__file__).with_name(f"gpu{os.environ['CUDA_VISIBLE_DEVICES']}").touch()
    if p.ndim == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5
"""


@pytest.mark.parametrize("logger", ["csv", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_one_killed_job_is_one_failed_job(outputs, tmp_path, logger):
    """The one beside it and the one after it go on; each process has a GPU of its own."""
    (tmp_path / "dies.py").write_text(DIES)
    overrides = ("model=linear", "dataset=wine,breast_cancer,iris", "metric=dies.of_two_classes")
    overrides += ("metric_mode=max", *PARALLEL, f"logger={logger}")
    done = train("--multirun", *overrides, PYTHONPATH=str(tmp_path), CUDA_VISIBLE_DEVICES="4,7,8")
    sweep = runs()["sweep"].iloc[-1]
    seen = {path.name for path in tmp_path.glob("gpu*")} - {"gpu4,7,8"}  # the leaderboard, in the parent
    assert seen == {"gpu4", "gpu7"}
    found = {load(name).report["dataset"]: load(name) for name in runs_of(sweep)}
    assert {name: run.status for name, run in found.items()} == {
        "wine": "done", "breast_cancer": "failed", "iris": "done",
    }  # fmt: skip
    name, reason = found["breast_cancer"].name, "its process was killed by SIGKILL, perhaps out of memory"
    assert done.returncode == 1 and f"error: {name}: {reason}\n" in done.stdout
    table = pd.read_csv(outputs / "sweeps" / sweep / "results.csv").set_index("run")
    (row,) = (row for row in rows(outputs / "sweeps" / sweep) if row["run"] == name)
    assert load(name).report["error"] == table.loc[name, "error"] == row["error"] == reason
    assert table.loc[name, "status"] == row["status"] == "failed" and row["job"] == 1
    for dataset in ("wine", "iris"):
        name = found[dataset].name
        line = rf"^{name} done   val/of_two_classes -?\d\.\d{{4}}   [\d.]+ s   dataset={dataset}$"
        assert re.search(line, done.stdout, re.MULTILINE)
    assert "train/loss" not in done.stdout and "train/loss" in (load(name).folder / "log.txt").read_text()
    assert "Traceback" not in done.stdout
    if logger == "mlflow":
        wanted = {found["wine"].name: "FINISHED", found["iris"].name: "FINISHED"}
        wanted |= {found["breast_cancer"].name: "KILLED", sweep: "FAILED"}
        until(lambda: "RUNNING" not in statuses_in_mlflow(sweep).values())
        assert statuses_in_mlflow(sweep) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("end", ["Ctrl-C", "interrupt", "kill", "terminate"])
def test_what_ends_the_parent_ends_its_jobs(outputs, tmp_path, end):
    """All processes are gone, and every run has its status; Ctrl-C reaches the whole group, once."""
    known, log = set(runs().index) if len(runs()) else set(), tmp_path / "log"
    command = [sys.executable, "-m", "src.train", "--multirun", "dataset=wine", "seed=0,1,2", *PARALLEL]
    command += ["logger=mlflow", "trainer.max_epochs=100000", "model.patience=null"]
    with log.open("w") as stream:
        parent = subprocess.Popen(command, cwd=CHECKOUT, stdout=stream, stderr=stream, start_new_session=True)
    until(lambda: sum(len(load(name).rows) > 2 for name in set(runs().index) - known) == 2)
    names = sorted(set(runs().index) - known)
    until(lambda: all(load(name).trackers.get("mlflow") for name in names))
    processes = psutil.Process(parent.pid).children(recursive=True)
    if end == "Ctrl-C":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        number = {"interrupt": signal.SIGINT, "kill": signal.SIGKILL, "terminate": signal.SIGTERM}[end]
        parent.send_signal(number)
    code = parent.wait(60)
    assert code == 130 if end in ("Ctrl-C", "interrupt") else code < 0
    assert not psutil.wait_procs(processes, timeout=60)[1]
    assert [load(name).status for name in names] == ["stopped"] * 2 and len(runs()) == len(known) + 2
    sweep = load(names[0]).report["sweep"]
    assert statuses_in_mlflow(sweep) == dict.fromkeys([sweep, *names], "KILLED")
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "wait"), [(True, 8), (False, 30)])
def test_a_hanging_server_holds_the_first_job_alone(tmp_path, parallel, wait):
    """Also those of a parallel sweep that run in other processes."""
    overrides = ("--multirun", "model=linear", "dataset=wine", "seed=0,1,2,3")
    overrides += ("logger=mlflow", f"logger.wait={wait}")
    overrides += PARALLEL if parallel else ("pictures=false",)
    with hanging() as address:
        began = time.monotonic()
        done = train(*overrides, MLFLOW_TRACKING_URI=address, OUTPUTS_DIR=str(tmp_path))
        assert time.monotonic() - began < wait + 4 * 3 + 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUTS_DIR", str(tmp_path))
        held = [load(name).report["timings"]["trackers"] for name in runs_of("s1")]
    assert done.returncode == 0 and len(held) == 4 and max(held) < 4, done.stdout
    assert "mlflow failed, s1 goes on without a parent run there" in done.stdout
    assert done.stdout.count("mlflow failed, the run goes on") == 4


def test_jobs_that_took_equally_long_are_listed():
    jobs = [{"job": i, "run": f"t{i}", "status": "done", "seed": str(i), "seconds": 0.5} for i in (1, 2)]
    assert aligned(listed(pd.DataFrame(jobs))).split() == "run status seed t1 done 1 t2 done 2".split()


def test_keys_are_short_where_that_is_clear_and_equal_scores_are_shown():
    rows = {"job": 0, "run": "t1", "status": "done", "model.lr": "0.00123456", "model.a.depth": "1"}
    rows |= {"model.b.depth": "3", "val/my.metric": 1.0}
    other = rows | {"job": 1, "run": "t2", "model.lr": "0.1", "model.a.depth": "2", "model.b.depth": "4"}
    text = "run status lr model.a.depth model.b.depth val/my.metric"
    wanted = f"{text} t1 done 0.001235 1 3 1.0000 t2 done 0.1 2 4 1.0000"
    assert aligned(listed(pd.DataFrame([rows, other]))).split() == wanted.split()
    end = {"status": "failed", "error": "no", "val/my.metric": None}
    text = aligned(listed(pd.DataFrame([rows | end, other | end])))
    assert text.split("\n")[0].split() == "run status lr model.a.depth model.b.depth error".split()


@pytest.mark.parametrize("words", [(), ("--multirun", "seed=0,1")], ids=["run", "sweep"])
def test_what_a_job_refuses_is_one_sentence(shell, words):
    """Hydra would put a line of its own above it; no job is left behind as running."""
    done = shell("train", *words, "model=mlp", "dataset=wine", "trainer.num_nodes=2", "logger=csv")
    assert done.returncode == 2 and re.fullmatch(r"error: trainer.num_nodes=2 needs .*\n", done.stderr)
    assert "running" not in done.stdout

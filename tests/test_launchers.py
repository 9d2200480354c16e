"""Jobs of a sweep in other processes and on other machines; one that dies is a failed job with its reason."""

import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import forks
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, until
from test_multirun import statuses_in_mlflow

from src import load, runs
from src.config.check import check
from src.study.jobs import rows
from src.study.launchers import lost
from src.study.sweep import results
from src.study.workers import device_shares, killed_by
from src.system.errors import UserError


def train(*overrides: str, cwd=CHECKOUT) -> subprocess.CompletedProcess:
    """stdout and stderr as one text."""
    return forks.call("src.train", *overrides, cwd=cwd, merged=True)


@pytest.mark.parametrize(
    ("visible", "n_pools", "n_each", "shares"),
    [
        ("0,1,2", 2, 1, ["0", "1"]),
        ("0,1,2", 3, "auto", ["0", "1", "2"]),
        ("0,1,2", 5, 1, ["0", "1", "2", "0", "1"]),
        ("4,5,6,7", 2, 2, ["4,5", "6,7"]),
        ("4,5,6", 2, 2, ["4,5", "6,4"]),
        ("GPU-1a,GPU-2b", 2, 1, ["GPU-1a", "GPU-2b"]),
        ("MIG-1a,MIG-2b", 3, 1, ["MIG-1a", "MIG-2b", "MIG-1a"]),
        ("2,-1,3", 2, 1, ["2", "2"]),  # CUDA reads up to the first wrong one
        ("3", 2, 1, ["3", "3"]),
        ("", 2, 1, [None, None]),
        ("-1", 2, 1, [None, None]),
        ("0,1", 2, 4, [None, None]),  # the trainer says what is missing
        ("0,1", 2, -1, [None, None]),
        ("0,1", 2, "0,1", [None, None]),
        ("0,1", 2, [0, 1], [None, None]),
    ],
)
def test_gpus_are_given_out_by_job(monkeypatch, visible, n_pools, n_each, shares):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device_shares(n_pools, n_each) == shares


def test_gpus_are_counted_by_their_files(monkeypatch):
    """Of ``/dev``: nvidia0, nvidia1, nvidiactl, nvidia-uvm; the numbers of CUDA count from 0."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for n in (0, 1, 3):
        monkeypatch.setattr("src.study.workers.Path.glob", lambda path, pattern, n=n: iter(range(n)))
        assert device_shares(2) == ([str(i % n) for i in range(2)] if n else [None, None])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("terminated.\nThe exit codes of the workers are {SIGKILL(-9)}",
         "its process was killed by SIGKILL, perhaps out of memory"),
        ("The exit codes of the workers are {SIGSEGV(-11)}", "its process was killed by SIGSEGV"),
        ("The exit codes of the workers are {SIGRTMIN(-34)}", "its process was killed by SIGRTMIN"),
        ("The exit codes of the workers are {EXIT(3)}", "its process ended with exit code 3"),
        ("A child process terminated abruptly", "its process died"),
    ],
)  # fmt: skip
def test_the_reason_for_which_a_process_died(text, reason):
    assert killed_by(text) == reason


def test_a_job_that_died_before_it_had_a_run(tmp_path, monkeypatch, capsys):
    """It is in jobs.jsonl and in the table; ``on_error=stop`` holds for it, too."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    folder = tmp_path / "sweeps/s1"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"n_jobs": 3, "began": 0, "runs": {}}))
    monkeypatch.setenv("REPRISE_SWEEP", str(folder))
    launcher = SimpleNamespace(config=SimpleNamespace(on_error="stop"))
    record = lost(2, ["seed=4", "dataset=wine"], "its process died", launcher)
    assert record.return_value != record.return_value
    assert capsys.readouterr().err == "error: job 2: its process died\n"
    (row,) = rows(folder)
    assert row["job"] == 2 and row["status"] == "failed" and row["overrides"] == ["seed=4", "dataset=wine"]
    (found,) = results("s1").to_dict("records")
    assert found["seed"] == "4" and found["status"] == "failed" and found["error"] == "its process died"
    assert (folder / ".stop").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("hydra/launcher=submitit_slurm", "this machine has no srun; hydra/launcher=submitit_local"),
        ("hydra/launcher=ray", "hydra/launcher=ray needs a package: pip install 'reprise[ray]'"),
        ("hydra/launcher=submitit_local", "needs a package: pip install 'reprise[slurm]'"),
        ("hydra.launcher.cpus_per_task=2", "hydra/launcher=joblib (or ray, submitit_slurm, submitit_local)"),
    ],
)
def test_launchers_that_cannot_start(monkeypatch, words, sentence):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("src.config.options.find_spec", lambda name: "slurm" in words or None)
    with pytest.raises(UserError, match=re.escape(sentence)):
        check([words, "seed=0,1"], multirun=True)


# -- submitit

DIES = """
import glob, os, signal, sys, time

def fn(y, p):
    if p.ndim == 1:  # breast_cancer
        os.kill(os.getpid(), signal.SIGKILL)
    if len(p.T) == 10:  # digits
        raise OSError("cannot be")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        node = sys.modules["ray"].get_runtime_context().get_node_id()
        place, end = f"{os.environ['OUTPUTS_DIR']}/node_", time.time() + 60
        open(place + node, "w").close()
        while len(glob.glob(place + "*")) < 2 and time.time() < end:  # the other node has a job, too
            time.sleep(0.1)
    return float(os.environ.get("OMP_NUM_THREADS", 0))
"""
ONCE = """
def first():
    try:
        return not open(os.environ["REPRISE_SWEEP"] + "/once", "x").close()
    except FileExistsError:
        return False
"""
FOUR = ("model=linear", "dataset=wine,breast_cancer,iris,digits", "metric=dies.fn", "metric_mode=max")
LONG = ("model=mlp", "dataset=wine", "seed=0,1", "trainer.max_epochs=100000", "model.patience=null", *QUIET)


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """Folders of outputs and of a user, whose metric kills one job of `FOUR` and raises in another."""
    outputs, user = tmp_path / "outputs", tmp_path / "user"
    user.mkdir()
    (user / "dies.py").write_text(DIES)
    monkeypatch.setenv("OUTPUTS_DIR", str(outputs))
    monkeypatch.setenv("PYTHONPATH", f"{user}:{CHECKOUT}")
    return outputs, user


@pytest.mark.parametrize("logger", ["csv", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_a_sweep_by_submitit(dying, logger):
    """One job of four is killed and one raises: both are failed jobs, with their reasons, of one sweep."""
    outputs, user = dying
    words = (*FOUR, "hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=3", "logger.wait=300")
    done = train("--multirun", *words, f"logger={logger}", "pictures=false", cwd=user)
    assert done.returncode == 1, done.stdout
    found = {row["overrides"][1]: row for row in rows(outputs / "sweeps/s1")}
    ends = {name: row["status"] for name, row in found.items()}
    assert ends == {
        "dataset=wine": "done", "dataset=breast_cancer": "failed", "dataset=iris": "done",
        "dataset=digits": "failed",
    }  # fmt: skip
    assert found["dataset=wine"]["value"] == 3, "threads are the job's cores"
    killed, raised = found["dataset=breast_cancer"], found["dataset=digits"]
    assert re.match("its process died, perhaps out of memory; its output is in .*_log.err", killed["error"])
    own = "RuntimeError: metric=dies.fn failed: OSError: cannot be"
    for row, reason in ((killed, killed["error"]), (raised, own)):
        assert f"error: {row['run']}: {reason}\n" in done.stdout
        assert load(row["run"]).status == "failed" and reason in load(row["run"]).report["error"]
    assert "s1   2 of 4 jobs done, 2 failed" in done.stdout and "Traceback" not in done.stdout
    left = {path.name for path in user.iterdir()} - {"__pycache__"}
    assert left == {"dies.py"}, "submitit's files are in the sweep"
    assert list((outputs / "sweeps/s1/.submitit").glob("*/*_submitted.pkl"))
    table = pd.read_csv(outputs / "sweeps/s1/results.csv").set_index("run")
    assert table.loc[killed["run"], "error"] == killed["error"]
    if logger == "mlflow":
        wanted = {row["run"]: "FINISHED" if row["status"] == "done" else "FAILED" for row in found.values()}
        wanted |= {killed["run"]: "KILLED", "s1": "FAILED"}
        until(lambda: "RUNNING" not in statuses_in_mlflow("s1").values())
        assert statuses_in_mlflow("s1") == wanted


def stopped_by_ctrl_c(outputs, *launcher: str) -> str:
    """Press Ctrl-C when two jobs train; return what the sweep showed."""
    command = [sys.executable, "-u", "-m", "src.train", "--multirun", *LONG, *launcher]
    with (outputs / "log").open("w") as log:
        parent = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log, start_new_session=True)
    until(lambda: len(runs()) == 2 and all(len(load(name).rows) > 2 for name in runs().index))
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(90) == 130
    assert [load(name).status for name in runs().index] == ["stopped"] * 2
    return (outputs / "log").read_text()


@pytest.mark.slow
def test_ctrl_c_stops_the_jobs_of_submitit(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    stopped_by_ctrl_c(tmp_path, "hydra/launcher=submitit_local")


@pytest.mark.slow
def test_a_sweep_of_submitit_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{CHECKOUT}")
    (tmp_path / "once.py").write_text(DIES.replace("p.ndim == 1", "first()") + ONCE)
    words = ("model=linear", "dataset=wine", "seed=0", "metric=once.fn", "metric_mode=max", *QUIET)
    done = train("--multirun", *words, "hydra/launcher=submitit_local")
    assert done.returncode == 1 and "its process died" in done.stdout
    assert train("sweep_resume=s1").returncode == 0
    (row,) = rows(tmp_path / "outputs/sweeps/s1")
    assert row["status"] == "done" and row["run"] == "t1" and load("t1").report["resumed"] == 1


# -- Ray


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster of two nodes with one CPU each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=options)
    found.add_node(num_cpus=1)
    yield found.address
    found.shutdown()


@pytest.mark.slow
def test_a_sweep_by_ray(cluster, dying):
    """On both nodes; one job of four is killed and one raises: failed jobs, with their reasons."""
    outputs, user = dying
    words = (*FOUR, "hydra/launcher=ray", f"hydra.launcher.address={cluster}", *QUIET)
    done = train("--multirun", *words, cwd=user)
    assert done.returncode == 1, done.stdout
    found = {row["overrides"][1].partition("=")[2]: row for row in rows(outputs / "sweeps/s1")}
    ends = {name: row["status"] for name, row in found.items()}
    assert ends == {"wine": "done", "breast_cancer": "failed", "iris": "done", "digits": "failed"}
    assert found["wine"]["value"] == 1, "threads are the job's cores"
    killed = "its process died on Ray (WorkerCrashedError), perhaps out of memory"
    raised = "RuntimeError: metric=dies.fn failed: OSError: cannot be"
    for name, reason in (("breast_cancer", killed), ("digits", raised)):
        run = load(found[name]["run"])
        assert f"error: {run.name}: {reason}\n" in done.stdout
        assert run.status == "failed" and reason in run.report["error"]
    assert len({path.name for path in outputs.glob("node_*")}) == 2 and "Traceback" not in done.stdout


@pytest.mark.slow
def test_ctrl_c_stops_the_jobs_of_ray(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    words = ("hydra/launcher=ray", f"hydra.launcher.address={cluster}")
    assert "Traceback" not in stopped_by_ctrl_c(tmp_path, *words)


@pytest.mark.slow
def test_a_search_by_ray(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    words = ("sweep=optuna", "sweep.n_trials=5", "model.classifier.C=tag(log,interval(1e-3,1e2))", *QUIET)
    words += ("hydra/launcher=ray", f"hydra.launcher.address={cluster}", "model=linear", "dataset=wine")
    done = train("--multirun", *words)
    assert done.returncode == 0, done.stdout
    assert sorted(row["job"] for row in rows(tmp_path / "sweeps/s1")) == [0, 1, 2, 3, 4]
    assert {row["status"] for row in rows(tmp_path / "sweeps/s1")} == {"done"}


@pytest.mark.slow
def test_a_cluster_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    done = train("--multirun", "seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:9", *QUIET)
    sentence = "error: no Ray cluster answers at hydra.launcher.address=127.0.0.1:9: start one with"
    assert done.returncode == 2 and sentence in done.stdout and "Traceback" not in done.stdout

"""Two machines, each with its own outputs, search in one study in a real PostgreSQL."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, QUIET, until

from src.study.jobs import rows

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path_factory):
    """The port of a new server, which trusts everybody on this machine."""
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    initdb = next(filter(None, found), None)
    if initdb is None:
        pytest.skip("needs Debian's package postgresql")
    pytest.importorskip("psycopg", reason="needs pip install 'reprise[postgresql]'")
    if os.getuid() == 0 and subprocess.run(["id", "postgres"], capture_output=True).returncode:
        pytest.skip("initdb refuses root and there is no user postgres")
    folder = Path(subprocess.check_output(["mktemp", "-d", "-t", "postgresql.XXXX"], text=True).strip())
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
    commands = Path(initdb).resolve().parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **user}
    subprocess.run([initdb, "-D", folder / "db", "-A", "trust", "-U", "me"], check=True, **quiet)
    options = ["-D", folder / "db", "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
    process = subprocess.Popen([commands / "postgres", *options], **quiet)
    ready = [commands / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    until(lambda: subprocess.run(ready, **quiet).returncode == 0)
    yield port
    process.terminate()
    process.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


MEETS = """
import os, time
from pathlib import Path

def fn(y, p):
    here, end = Path(os.environ["OUTPUTS_DIR"]), time.time() + 60
    while len([*here.parent.glob("*/runs")]) < 2 and time.time() < end:  # the other machine has a trial, too
        time.sleep(0.1)
    return float((p.argmax(1) == y).mean())
"""


def search(port: int, outputs: Path, n_trials: int = 8) -> subprocess.Popen:
    words = ["model=linear", "dataset=wine", "sweep=optuna", f"sweep.n_trials={n_trials}"]
    words += ["sweep.study=shared", "metric=meets.fn", "metric_mode=max", *QUIET]
    (outputs.parent / "meets.py").write_text(MEETS)
    words += [f"sweep.storage=postgresql+psycopg://me@127.0.0.1:{port}/postgres"]
    words.append("model.classifier.C=tag(log,interval(1e-3,1e2))")
    command = [sys.executable, "-m", "src.train", "--multirun", *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": CHECKOUT}
    path = f"{outputs.parent}{os.pathsep}{CHECKOUT}"
    environment = os.environ | {"OUTPUTS_DIR": str(outputs), "PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, **options)


def test_two_machines_search_in_one_study(server, tmp_path):
    """No trial twice, and n_trials are those of all machines together."""
    machines = [search(server, tmp_path / name) for name in "ab"]
    shown = [machine.communicate(timeout=200)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], shown
    trials = [[row["job"] for row in rows(tmp_path / name / "sweeps/s1")] for name in "ab"]
    assert all(trials) and sorted(trials[0] + trials[1]) == list(range(8))


def test_a_server_that_is_down(tmp_path):
    machine = search(9, tmp_path)
    shown = machine.communicate(timeout=100)[0]
    assert machine.returncode == 2 and "Traceback" not in shown
    assert "error: the study shared cannot be opened" in shown

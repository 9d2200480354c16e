"""Requests per second and p99 of `src.serve` beside `mlflow models serve`, on the same model, by wrk.

DATA_DIR=... python benchmarks/serve.py
DATA_DIR=... python benchmarks/serve.py adult

Each request has one row. Needs wrk. A run of mlp on Adult and one of cnn on SST-2 are trained first.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from sides import CHECKOUT, table

from src import fit
from src.register import register
from src.run.schema import columns

HEAD = "| model, clients | `src.serve`, requests/s | p99, ms | MLflow, one worker | p99 | two | p99 |\n"
HEAD += "|---" * 7 + "|"
CLIENTS, SECONDS = (1, 16, 64), 8
MODELS = {"adult": ("mlp", 3), "sst2": ("cnn", 1)}
SCRIPT = """wrk.method = "POST"
wrk.body = io.open("{body}"):read("*a")
wrk.headers["Content-Type"] = "application/json"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def measured(command: list[str], port: int, path: str, ready: str, body: str, folder: str) -> list[tuple]:
    """Return (requests per second, p99 in ms) for each number of clients of a server, which is stopped."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True, **quiet)
    try:
        while not is_there(f"http://127.0.0.1:{port}{ready}"):
            assert server.poll() is None, command
            time.sleep(0.5)
        Path(folder, "body.json").write_text(body)
        Path(folder, "post.lua").write_text(SCRIPT.format(body=f"{folder}/body.json"))
        found = []
        for clients in CLIENTS:
            words = ["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "--latency", "-s", f"{folder}/post.lua"]
            words.append(f"http://127.0.0.1:{port}{path}")
            text = subprocess.run(words, capture_output=True, text=True).stdout
            assert "Non-2xx" not in text, text
            number, unit = re.search(r"99% +([\d.]+)(us|ms|s)", text).groups()
            milliseconds = float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
            found.append((float(re.search(r"Requests/sec: +([\d.]+)", text)[1]), milliseconds))
        return found
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def is_there(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=1).status == 200
    except OSError:
        return False


def rows():
    for dataset, (model, epochs) in MODELS.items():
        if sys.argv[1:] and dataset not in sys.argv[1:]:
            continue
        run = fit(f"model={model}", f"dataset={dataset}", f"trainer.max_epochs={epochs}", "logger=csv")
        version = register(run.name, dataset)
        row = {name: field["example"] for name, field in columns(run).items()}
        body = json.dumps({"dataframe_records": [row]})
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            ours = [sys.executable, "-m", "src.serve", f"run={run.name}", f"port={port}"]
            found = [measured(ours, port, "/predict", "/ready", json.dumps({"rows": [row]}), folder)]
            for workers in (1, 2):
                port, place = free_port(), f"models:/{dataset}/{version}"
                theirs = ["mlflow", "models", "serve", "-m", place, "--env-manager", "local"]
                theirs += ["--port", str(port), "--workers", str(workers)]
                found.append(measured(theirs, port, "/invocations", "/health", body, folder))
        for i, clients in enumerate(CLIENTS):
            cells = [f"{one[i][0]:,.0f} | {one[i][1]:,.0f}" for one in found]
            yield f"| {model} on {dataset}, {clients} | {' | '.join(cells)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as outputs:
        os.environ["OUTPUTS_DIR"] = outputs
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{outputs}/mlflow.db"
        table("serve", HEAD, rows())

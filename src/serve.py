"""Serve predictions of a run over HTTP: ``run=t7``."""

import os
import sys
import tempfile
from pathlib import Path

from src.config import shell
from src.run.folder import Run
from src.system.code import needed
from src.system.errors import UserError
from src.system.files import write_json


def serve(
    run: str, host: str = "127.0.0.1", port: int = 8000, workers: int = 1, max_rows: int = 10_000,
    max_megabytes: int = 10, timeout: int = 30, trust: bool = False,
):  # fmt: skip
    """Serve predictions of a run, or of several, over HTTP until Ctrl-C; the page /docs shows how to ask.

    python -m src.serve run=t7
    python -m src.serve run=t7,t9 port=8080 workers=2

    run : the run, t7; of several, t7,t9, the first answers /predict and each one /runs/t9/predict
    host : address to listen on; 0.0.0.0: all of this machine, then set the variable REPRISE_TOKEN, which
        clients send as Authorization: Bearer ...
    port : a port that is free
    workers : processes, each with the models in memory
    max_rows : of one request
    max_megabytes : of the body of one request
    timeout : seconds for one request
    trust : use a model and an ETL though they were not made here, or were changed since
    """
    names = [Run.open(name.strip()).name for name in run.split(",")]
    for name, value in {"workers": workers, "max_rows": max_rows, "timeout": timeout}.items():
        if value < 1:
            raise UserError(f"{name}={value}: should be at least 1")
    for name in ("uvicorn", "fastapi_offline", "prometheus_client"):  # the workers import them, too
        needed(name, "serve", "src.serve")
    from src.serving.process import SETTINGS, run_server

    settings = {"runs": names, "trust": trust, "max_rows": max_rows, "max_bytes": max_megabytes * 2**20}
    settings |= {"timeout": timeout, "max_batch": 1024, "max_waiting": 10 * max_rows}
    with tempfile.TemporaryDirectory(prefix="reprise-serve-") as folder:
        os.environ |= {SETTINGS: f"{folder}/settings.json", "PROMETHEUS_MULTIPROC_DIR": folder}
        write_json(Path(folder, "settings.json"), settings)
        shell.show(f"serving   {', '.join(names)} at http://{host}:{port}   docs at /docs   stop with Ctrl-C")
        sys.exit(run_server(host, port, workers))


if __name__ == "__main__":
    shell.call(serve)

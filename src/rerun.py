"""One job from a file, in a process of its own: ``python -m src.rerun REQUEST.json``.

The request holds cfg, report (what goes into the new run's report) and perhaps frame, the path of a Parquet file; the
name of the new run is written into it. A replay starts this in the folder of the recorded code: keep it this simple.
"""

import sys
from pathlib import Path

from src.config import shell
from src.system.files import read_json, write_json


def main() -> None:
    from src.run.job import run_job

    path = Path(sys.argv[1])
    request = read_json(path)
    frame = None
    if request.get("frame"):
        import pandas as pd

        frame = pd.read_parquet(request["frame"])
    run = run_job(request["cfg"], frame=frame, report=request["report"])
    write_json(path, request | {"run": run.name})


if __name__ == "__main__":
    shell.run(main)

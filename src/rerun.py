"""Train one job from a file, in the folder of a run's recorded code: ``python -m src.rerun REQUEST.json``.

The request is {"cfg", "report" (entries of the new run's report), "frame" (path of a Parquet file, or null)};
the name of the new run is added to it. Recorded runs call this file by its name: keep it, and keep it simple.
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

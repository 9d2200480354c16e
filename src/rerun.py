"""Train one job from a file, in the folder of a run's recorded code: ``python -m src.rerun REQUEST.json``.

The request is {"cfg", "report" (entries of the new run's report), "frame" (path of a pickle or a Parquet
file, or null), "origin" (of the data, see `load_data`)}; the name of the new run is added to it. Recorded
runs call this file by its name: keep it, and keep it simple.
"""

import sys
from pathlib import Path

from src.config import shell
from src.system.errors import UserError, one_line
from src.system.files import read_json, write_json


def main() -> None:
    from src.study.run import run_config

    path = Path(sys.argv[1])
    request = read_json(path)
    frame = None
    if request.get("frame"):
        import pandas as pd

        # a pickle is safe here: replay has just written it into a private folder of its own
        pickled = request["frame"].endswith(".pickle")
        try:
            frame = (pd.read_pickle if pickled else pd.read_parquet)(request["frame"])
        except Exception as error:  # cells of a class that only the notebook knows
            raise UserError(f"the DataFrame cannot be read in another process: {one_line(error)}") from None
    run = run_config(request["cfg"], frame=frame, report=request["report"], origin=request.get("origin"))
    write_json(path, request | {"run": run.name})


if __name__ == "__main__":
    shell.run(main)

"""The rows of a run's val or test part, read again from its data."""

import pandas as pd

from src.data.load import load_frame
from src.data.prepare import cut
from src.run.again import origin
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError


def rows_of(run: Run, part: str) -> pd.DataFrame:
    """Return the val rows, of a run without folds, or those of test, after the ETL, as in `Run.arrays`."""
    check_trust(run, code=True)  # the config names what reads the data
    if run.cfg["dataset"]["name"] == "frame":
        raise UserError(f"{run.name} was trained on a frame in memory: name rows with input=...")
    frame, cv = load_frame(run.cfg["dataset"], origin=origin(run, output=True))[0], run.cfg.get("cv")
    parts = cut(frame, run.cfg["dataset"], run.cfg["seed"], cv)
    return frame.iloc[(parts[cv["fold"] or 0] if cv else parts)[part]]

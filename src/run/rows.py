"""The test rows of a run, read again from its data."""

import pandas as pd

from src.data.load import load_frame
from src.data.prepare import cut
from src.run.again import origin
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError


def test_rows(run: Run, n: int | None = None) -> pd.DataFrame:
    """Return the first ``n`` test rows, or all, as the ETL returns them, in the order of `Run.arrays`."""
    check_trust(run, code=True)  # the config names what reads the data
    if run.cfg["dataset"]["name"] == "frame":
        raise UserError(f"{run.name} was trained on a frame in memory: name rows with input=...")
    frame = load_frame(run.cfg["dataset"], origin=origin(run, output=True))[0]
    return frame.iloc[cut(frame, run.cfg["dataset"], run.cfg["seed"])["test"][:n]]

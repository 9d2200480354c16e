"""GB1: the fitness of 8,733 variants of a protein at four sites (Wu et al. 2016), with the splits of FLIP."""

import zipfile

import pandas as pd

from src.data.digest import digest
from src.data.source import download, find_files, read_csv
from src.system.errors import UserError


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sequence, target and part: train, val or test as ``dataset.task_split`` says."""
    name = cfg["task_split"]
    if files := find_files("gb1", f"{name}.csv.gz"):
        frame = read_csv(files[0])
    else:
        with zipfile.ZipFile(download(cfg["url"], None, "gb1")) as archive:
            inner = [one for one in archive.namelist() if one.rpartition("/")[2] == f"{name}.csv"]
            if not inner:
                way = f"put it into DATA_DIR as gb1/{name}.csv.gz"
                raise UserError(f"{cfg['url']} holds no {name}.csv: {way}")
            frame = pd.read_csv(archive.open(inner[0]))
        known = frame[["sequence", "target", "set"]].assign(validation=frame["validation"].astype(str))
        if digest(known) != cfg["digests"][name]:
            raise UserError(f"{cfg['url']} holds other rows in {name}.csv than were expected")
    held = (frame["validation"].astype(str) == "True") & cfg["validation"]
    return frame[["sequence", "target"]].assign(part=frame["set"].mask(held, "val"))

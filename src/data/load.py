"""The arrays of a dataset: read, ETL, prepare."""

import importlib

from src.data import versions
from src.data.prepare import Data, prepare
from src.data.source import check_frame


def load_data(cfg: dict, frame=None) -> Data:
    """The arrays of ``cfg["dataset"]``, or of ``frame`` read in its words, after the dataset's ETL."""
    dataset, name = cfg["dataset"], cfg["dataset"]["name"]
    module = importlib.import_module(f"src.dataset.{name}")
    raw = check_frame(module.read(dataset) if frame is None else frame)
    if dataset["etl"] is None:
        location = dataset.get("path") or (f"dataset={name}" if frame is None else "memory")
        frame, record = versions.run_etl(name, module.etl, raw, location, dataset["args"], dataset)
    else:
        record = versions.read_version(name, dataset["etl"])
        frame = versions.replay(record, raw)
    del raw
    return prepare(
        check_frame(frame), dataset, scaler=cfg["model"]["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
        etl_version=record["version"], data_digest=record["output"],
    )  # fmt: skip

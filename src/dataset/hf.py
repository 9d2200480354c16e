"""A Hugging Face dataset: a name of the hub, a folder that ``save_to_disk`` wrote, or a folder of files."""

from pathlib import Path

import pandas as pd

from src.data.load import read_input
from src.data.split import NAMES
from src.system.code import needed
from src.system.errors import UserError, one_line


def read(cfg: dict) -> pd.DataFrame:
    """Return the rows of all parts that are train, val or test by their names, and the column split."""
    path = Path(cfg["path"]).expanduser()
    if path.is_file():  # new rows for a run's model
        return read_input(path)[0]
    library = needed("datasets", extra="hf", what="dataset=hf")
    library.disable_progress_bars()
    saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        load = library.load_dataset
        found = library.load_from_disk(str(path)) if saved else load(cfg["path"], cfg["subset"])
    except Exception as error:  # the library raises a dozen kinds
        raise UserError(f"dataset.path={cfg['path']}: {type(error).__name__}: {one_line(error)}") from None
    parts = found if isinstance(found, dict) else {"train": found}
    return pd.concat([_frame(part).assign(split=name) for name, part in parts.items() if name in NAMES])


def _frame(part) -> pd.DataFrame:
    """Return one part; classes, which are stored as numbers, by their names, and -1, unknown, as empty."""
    frame = part.to_pandas()
    for name, feature in part.features.items():
        if hasattr(feature, "int2str"):
            frame[name] = frame[name].map(dict(enumerate(feature.names)))
    return frame

"""Train the model of a run again on all rows but test, for as long as val has chosen: ``refit=true``."""

import numpy as np

from src.data.load import arrays_of, fold_of, load_frame
from src.data.shared import kept_frame
from src.model.build import described
from src.system.errors import log
from src.trainer.family import family
from src.trainer.history import Progress


def refit(recorder, where: tuple, metric: dict, kept: int | None, *, watch, **options) -> tuple:
    """Return the data, whose training rows are those of train and val, and the model that learned from it.

    Transforms are learned anew from these rows; the run predicts by them.

    where : frame, origin and shared, as of `run_job`, by which the table is read again
    kept : the epoch, or number of trees, that val has chosen; None, without val: all epochs
    """
    model, dataset, (frame, origin, shared) = recorder.cfg["model"], recorder.cfg["dataset"], where
    known = kept_frame(dataset, origin) if shared else load_frame(dataset, frame, origin)
    table, record, rows = fold_of(*known, dataset, options["seed"], None)
    rows = rows | {"train": np.sort(np.concatenate([rows["train"], rows["val"]]))}
    log.info("refit    %s rows of train and val", f"{len(rows['train']):,}")
    how = {"scaler": model["scaler"], "class_weight": recorder.cfg["class_weight"]}
    data = arrays_of(table, rows, record, dataset, **how)
    data.info = data.info | described(model.get("net"))
    fitted = family(model).refit(model, data, metric, kept, progress=Progress(metric, 0), **options)
    recorder.write("info.json", data.info)
    recorder.write("transforms.json", data.transforms)
    return data, fitted

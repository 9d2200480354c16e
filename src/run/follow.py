"""Train along as rank 1, 2, ... of a run that torchrun or srun started: nothing is recorded here."""

import logging
import tempfile
from pathlib import Path

from src.data.load import load_data
from src.metric.choose import choose
from src.system.environment import set_seed, set_threads
from src.trainer.family import family
from src.trainer.history import Progress


def follow(cfg: dict, n_threads: int, checkpoints: Path | None, frame=None, origin=None) -> None:
    """Fit ``cfg["model"]`` on the same data as rank 0, which alone writes; an estimator has one rank only.

    checkpoints : the folder of rank 0's checkpoints, for a run that is resumed; every node must see it.
    """
    logging.getLogger("reprise").setLevel(logging.WARNING)  # rank 0 talks
    if "net" not in cfg["model"]:
        return
    from torch.distributed.elastic.multiprocessing.errors import record

    set_threads(n_threads)
    set_seed(cfg["seed"])
    model = cfg["model"]
    data = load_data(
        cfg["dataset"], scaler=model["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
        frame=frame, origin=origin, cv=cfg.get("cv"),
    )  # fmt: skip
    metric = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
    with tempfile.TemporaryDirectory() as folder:
        record(family(model).fit)(  # an error is written to torchrun's error file, where rank 0 finds it
            model, data, metric, seed=cfg["seed"], trainer=cfg["trainer"], folder=checkpoints or Path(folder),
            resume=checkpoints is not None, log_row=lambda row: None, progress=Progress(metric, 0),
            n_threads=n_threads,
        )  # fmt: skip

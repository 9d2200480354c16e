"""Lightning callbacks: keep the best weights and all that a resume needs, report progress."""

import io
import logging
import math
import warnings
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from src.system.errors import UserError
from src.system.files import replacing
from src.trainer.history import History
from src.trainer.val_epochs import NAME, keep


def save_weights(weights: dict, path: Path) -> None:
    content = io.BytesIO()
    torch.save(weights, content)  # into a file on a full disk it raises a RuntimeError of its own
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


class ReportProgress(Callback):
    """Reports progress within a long epoch; one clock read per chunk."""

    def __init__(self, progress):
        self.progress = progress

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.progress.within(trainer.current_epoch + 1, batch_idx + 1, trainer.num_training_batches)


class KeepBest(Checkpoint):
    """After each epoch, saves the weights if they are the best on val, then what a resume needs; stops early.

    Unlike ModelCheckpoint and EarlyStopping it breaks ties in the metric by the loss, and replaces its files
    whole and in order: a kill between ``best.ckpt`` and ``last.ckpt`` repeats an epoch and ends the same.

    last : an epoch to stop at and to keep, whatever val says
    """

    state_key = "Keep"  # the callback's name in last.ckpt, also in that of older runs

    def __init__(self, metric: dict, patience: int | None, folder: Path, megabytes: float = 0, last=None):
        self.history, self.patience, self.folder, self.last = History(metric), patience, folder, last
        self.keep = partial(keep, folder.parent / NAME, megabytes)

    def _stop_early(self, trainer) -> None:
        if self.patience is not None and self.history.since >= self.patience:
            trainer.should_stop = True

    def on_train_start(self, trainer, module) -> None:
        self._stop_early(trainer)  # if resumed after its last epoch

    def on_train_epoch_end(self, trainer, module) -> None:
        row = module.row
        if row is None:  # no validation after this epoch
            return
        if not math.isfinite(row["train/loss"]) or not math.isfinite(row["val/loss"]):
            advice = f"lower model.lr={module.lr}"
            if module.dtype == torch.float16:
                advice += ", or take trainer.precision=bf16-true, which has the range of float32"
            raise UserError(f"the loss is not finite after epoch {row['epoch']}: {advice}")
        self.history.append(row)
        if trainer.is_global_zero:
            if module.kept is not None:  # a subclass may validate in its own way
                self.keep(row["epoch"], *module.kept, logits=True)
            if self.history.best is row or self.last:
                save_weights(module.predictor.state_dict(), self.folder / "best.ckpt")
            with replacing(self.folder / "last.ckpt") as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self.folder / "last.ckpt")  # writes nothing, but ranks wait in it
        self._stop_early(trainer)
        trainer.should_stop |= row["epoch"] == self.last

    def state_dict(self) -> dict:
        return {"best": self.history.best, "since": self.history.since}

    def load_state_dict(self, state: dict) -> None:
        self.history.best, self.history.since = state["best"], state["since"]


def silence_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # the run's folder is ours
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")

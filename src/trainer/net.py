"""Any net: fitted by Lightning, to predict, saved, loaded."""

import logging
import math
import signal
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from src.metric.choose import better
from src.model.build import build
from src.system.errors import UserError
from src.system.files import replacing
from src.trainer import ranks
from src.trainer.lit import LitModel, to_predictions
from src.trainer.loader import INPUTS, Loader, Order, lengths, tensors

EVAL_BATCH = 8192  # rows; text batches hold as many tokens as 8,192 rows of 16
CHUNK = 16  # minibatches of one training_step, where none of Lightning's words counts them
# trainer words that speak of single batches, and the value at which they do not
COUNT_BATCHES = {
    "max_steps": (-1,), "min_steps": (None,), "limit_train_batches": (None, 1.0), "overfit_batches": (0,),
    "fast_dev_run": (False, 0), "gradient_clip_val": (None, 0), "accumulate_grad_batches": (1,),
    "precision": ("32-true", "64-true", "bf16-true", 32, 64), "strategy": ("auto",), "profiler": (None,),
}  # fmt: skip


class Say(Callback):
    """Tells during a long epoch how far it is; costs one look at the clock a chunk."""

    def __init__(self, progress):
        self.progress = progress

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.progress.within(trainer.current_epoch + 1, batch_idx + 1, trainer.num_training_batches)


class Keep(Checkpoint):
    """After each epoch keeps the weights if they are the best on val, then all that a resume needs; stops early.

    Both files are replaced whole, ``last.ckpt`` after ``best.ckpt``: a kill between the two repeats an epoch and
    ends the same.
    """

    def __init__(self, metric: dict, patience: int | None, folder: Path):
        self.metric, self.patience, self.folder = metric, patience, folder
        self.best, self.since = None, 0

    def on_train_start(self, trainer, module) -> None:
        if self.patience is not None and self.since >= self.patience:  # resumed after its last epoch
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, module) -> None:
        if not math.isfinite(module.row["train/loss"]) or not math.isfinite(module.row["val/loss"]):
            raise UserError(f"the loss is not finite after epoch {module.row['epoch']}: lower model.lr={module.lr}")
        self.since += 1
        if better(module.row, self.best, self.metric):
            self.best, self.since = module.row, 0
            if trainer.is_global_zero:
                with replacing(self.folder / "best.ckpt") as part:
                    torch.save(module.predictor.state_dict(), part)
        if trainer.is_global_zero:
            with replacing(self.folder / "last.ckpt") as part:
                trainer.save_checkpoint(part)
        else:
            trainer.save_checkpoint(self.folder / "last.ckpt")  # writes nothing here, but ranks meet in it
        if self.patience is not None and self.since >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict:
        return {"best": self.best, "since": self.since}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.since = state["best"], state["since"]


def fit(cfg: dict, data, chosen: dict, *, seed: int, trainer: dict, logger, progress, checkpoints: Path, resume: bool):
    """Train the net that ``cfg`` (the model section) describes and return it with its best weights on val.

    logger : a Lightning logger that takes one row of history an epoch.
    checkpoints : folder of ``last.ckpt`` and ``best.ckpt``; with ``resume`` training goes on from the last.
    """
    _quieten()
    torch.manual_seed(seed)
    net = build(cfg["net"], data.info)
    check_shape(net, data.parts["train"], data.info)
    if cfg["compile"]:
        net.compile()
    words = ("optimizer", "lr", "weight_decay", "schedule", "warmup", "label_smoothing", "ema")
    module = LitModel(net, data.info, chosen, data.parts["val"]["y"], **{word: cfg[word] for word in words}, seed=seed)
    train, val = (
        Loader(tensors(part, data.info), Order(len(part["y"]), size, seed=order_seed, lengths=lengths(part)))
        for part, size, order_seed in (
            (data.parts["train"], cfg["batch_size"], None if trainer["overfit_batches"] else seed),
            (data.parts["val"], eval_batch(data.info), None),
        )
    )
    n_ranks = ranks.n_devices(trainer)
    if n_ranks > 1:
        train.shard = val.shard = (ranks.rank(), n_ranks)
        trainer = trainer | {"strategy": "ddp" if trainer["strategy"] == "auto" else trainer["strategy"]}
    try:
        lightning = L.Trainer(
            **trainer,
            use_distributed_sampler=False,
            logger=logger,
            callbacks=[Say(progress), Keep(chosen, cfg["patience"], checkpoints)],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            default_root_dir=checkpoints.parent,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"Lightning's Trainer refuses: {' '.join(str(error).split())}") from None
    if lightning.world_size == 1 and all(trainer[word] in values for word, values in COUNT_BATCHES.items()):
        module.automatic_optimization, train.chunk = False, CHUNK
    last = checkpoints / "last.ckpt"
    try:
        if n_ranks > 1:
            ranks.meet(n_ranks)
        lightning.fit(module, train, val, ckpt_path=str(last) if resume and last.is_file() else None, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"Lightning's Trainer refuses: {' '.join(str(error).split())}") from None
    except SystemExit:  # Lightning's answer to Ctrl-C, which it leaves switched off
        if not lightning.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if lightning.interrupted:
        raise KeyboardInterrupt
    best = checkpoints / "best.ckpt"
    if best.is_file() and not lightning.fast_dev_run:
        module.predictor.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    return module.predictor.eval()


def check_shape(net: nn.Module, part: dict, info: dict) -> None:
    """Refuse a net that does not give logits (B, n_outputs) for the first rows of ``part``: a loss may take others."""
    n = min(4, len(part["y"]))
    batch = {name: torch.from_numpy(part[name][:n]) for name in INPUTS if name in part}
    net.eval()
    with torch.inference_mode():
        logits = net(**batch)
    net.train()
    given, wanted = tuple(logits.shape), (n, info["n_outputs"])
    if given != wanted:
        raise UserError(
            f"{type(net).__name__} gives {given} for {n} rows, and it should be {wanted}: "
            "rows, and a logit a class (one for a regression)"
        )


def _quieten() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # the run's folder is ours
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def eval_batch(info: dict) -> int:
    return EVAL_BATCH if not info["vocab_size"] else max(64, EVAL_BATCH * 16 // max(16, info["max_len"]))


@torch.inference_mode()
def predict(net: nn.Module, part: dict, info: dict) -> np.ndarray:
    """Predictions for the rows of ``part``, in their order; see `to_predictions` for shapes."""
    device = next(net.parameters()).device
    inputs = tensors({name: part[name] for name in INPUTS if name in part}, info)
    out = torch.empty(len(inputs["row"]), info["n_outputs"])
    net.eval()
    for (batch,) in Loader(inputs, Order(len(out), eval_batch(info), lengths=lengths(part))):
        rows = batch.pop("row")
        out[rows] = net(**{name: x.to(device) for name, x in batch.items()}).float().cpu()
    return to_predictions(out.numpy(), info)


def save(net: nn.Module, path: Path) -> None:
    """Weights only: tensors by name."""
    torch.save(net.state_dict(), path)


def load(path: Path, cfg: dict, info: dict) -> nn.Module:
    net = build(cfg["net"], info)
    try:
        net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise UserError(
            f"{path} does not hold the weights of this model: {' '.join(str(error).split())[:200]}"
        ) from None
    return net.eval()

"""Train a torch net with Lightning, predict with it, save it, load it."""

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

from src.model.build import build
from src.system.code import locate
from src.system.errors import UserError
from src.system.files import replacing
from src.trainer import ranks
from src.trainer.history import History
from src.trainer.lit import LitModel, to_predictions
from src.trainer.loader import INPUTS, BatchOrder, Loader, lengths, tensors

SUFFIX = "pt"
EVAL_BATCH = 8192  # rows; text batches hold as many tokens as 8,192 rows of 16
# minibatches of one training_step; 1 where a Trainer option counts single batches. Lightning spends about as long on
# a step as a small net: an epoch takes 1.2 x a bare loop with chunks of 16, 1.65 x without
CHUNK = 16
# Trainer options that depend on single batches -> values that switch them off
COUNT_BATCHES = {
    "max_steps": (-1,), "min_steps": (None,), "limit_train_batches": (None, 1.0), "overfit_batches": (0,),
    "fast_dev_run": (False, 0), "gradient_clip_val": (None, 0), "accumulate_grad_batches": (1,),
    "precision": ("32-true", "64-true", "bf16-true", 32, 64), "strategy": ("auto",), "profiler": (None,),
}  # fmt: skip
LIT_OPTIONS = ("optimizer", "lr", "weight_decay", "schedule", "warmup", "label_smoothing", "ema")


class ReportProgress(Callback):
    """Reports progress within a long epoch; one clock read per chunk."""

    def __init__(self, progress):
        self.progress = progress

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.progress.within(trainer.current_epoch + 1, batch_idx + 1, trainer.num_training_batches)


class KeepBest(Checkpoint):
    """After each epoch, saves the weights if they are the best on val, then all that a resume needs; stops early.

    It replaces ModelCheckpoint and EarlyStopping, which neither break ties by the loss nor order their files: both
    files are replaced whole, ``last.ckpt`` after ``best.ckpt``, so a kill between the two repeats an epoch and ends
    the same.
    """

    state_key = "Keep"  # its name in last.ckpt, also in those of older runs

    def __init__(self, metric: dict, patience: int | None, folder: Path):
        self.history, self.patience, self.folder = History(metric), patience, folder

    @property
    def patience_ended(self) -> bool:
        return self.patience is not None and self.history.since >= self.patience

    def on_train_start(self, trainer, module) -> None:
        if self.patience_ended:  # resumed after its last epoch
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, module) -> None:
        row = module.row
        if row is None:  # no validation after this epoch
            return
        if not math.isfinite(row["train/loss"]) or not math.isfinite(row["val/loss"]):
            raise UserError(f"the loss is not finite after epoch {row['epoch']}: lower model.lr={module.lr}")
        self.history.append(row)
        if self.history.best is row and trainer.is_global_zero:
            with replacing(self.folder / "best.ckpt") as temporary:
                torch.save(module.predictor.state_dict(), temporary)
        if trainer.is_global_zero:
            with replacing(self.folder / "last.ckpt") as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self.folder / "last.ckpt")  # writes nothing here, but the ranks wait for each other
        if self.patience_ended:
            trainer.should_stop = True

    def state_dict(self) -> dict:
        return {"best": self.history.best, "since": self.history.since}

    def load_state_dict(self, state: dict) -> None:
        self.history.best, self.history.since = state["best"], state["since"]


def fit(
    model: dict, data, metric: dict, *, seed: int, trainer: dict, folder: Path, resume: bool, log_row, progress,
    n_threads: int,
) -> tuple[nn.Module, int | None]:  # fmt: skip
    """Train the net that the config's model section describes; return it with its best weights, and their epoch.

    Parameters
    ----------
    metric : dict
        {"name", "mode", "fn"}, decides which epoch on val is the best.
    trainer : dict
        options of Lightning's Trainer.
    folder : Path
        where ``last.ckpt`` and ``best.ckpt`` go; with ``resume``, training continues from ``last.ckpt``.
    log_row : function
        gets a row of history after each epoch, on rank 0 alone.
    n_threads : int
        for estimators; torch has its threads from `set_threads`.
    """
    _silence_lightning()
    torch.manual_seed(seed)
    net = build(model["net"], data.info)
    check_shape(net, data.parts["train"], data.info)
    if model["compile"]:
        net.compile()
    options = {name: model[name] for name in LIT_OPTIONS}
    module = lit_class(model)(
        net, data.info, metric, data.parts["val"]["y"], log_row=log_row, seed=seed, **options
    )
    train, val = loaders(data, model["batch_size"], None if trainer["overfit_batches"] else seed)
    keep = KeepBest(metric, model["patience"], folder)
    n_ranks = ranks.n_devices(trainer)
    if n_ranks > 1:
        train.shard = val.shard = (ranks.rank(), n_ranks)
        trainer = trainer | {"strategy": "ddp" if trainer["strategy"] == "auto" else trainer["strategy"]}
    lightning_trainer = make_trainer(trainer, [ReportProgress(progress), keep], folder.parent)
    if lightning_trainer.world_size == 1 and all(trainer[name] in off for name, off in COUNT_BATCHES.items()):
        module.automatic_optimization, train.chunk = False, CHUNK
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    if n_ranks > 1:
        ranks.meet(n_ranks)
    run_trainer(lightning_trainer, module, train, val, last if resume and last.is_file() else None)
    if best.is_file() and not trainer["fast_dev_run"]:
        module.predictor.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    return module.predictor.eval(), keep.history.kept


def lit_class(model: dict) -> type[LitModel]:
    """Return the class that ``model["lit"]`` names; `LitModel` if it is null or missing in an older config."""
    if model.get("lit") is None:
        return LitModel
    cls = locate(model["lit"])
    if not isinstance(cls, type) or not issubclass(cls, LitModel):
        raise UserError(f"model.lit={model['lit']} should be a subclass of src.trainer.lit.LitModel")
    return cls


def loaders(data, batch_size: int, seed: int | None) -> tuple[Loader, Loader]:
    """Return the loaders of the training rows, in an order by ``seed`` (None: as they are), and of the val rows."""

    def loader(part: dict, size: int, seed: int | None) -> Loader:
        return Loader(tensors(part, data.info), BatchOrder(len(part["y"]), size, seed=seed, lengths=lengths(part)))

    return loader(data.parts["train"], batch_size, seed), loader(data.parts["val"], eval_batch(data.info), None)


def make_trainer(options: dict, callbacks: list[Callback], folder: Path) -> L.Trainer:
    """Return Lightning's Trainer with ``options`` of the config; it logs nothing itself, `LitModel` does."""
    try:
        return L.Trainer(
            **options, callbacks=callbacks, default_root_dir=folder, logger=False, use_distributed_sampler=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, log_every_n_steps=1,
        )  # fmt: skip
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"Lightning's Trainer refuses: {' '.join(str(error).split())}") from None


def run_trainer(trainer: L.Trainer, module: LitModel, train: Loader, val: Loader, checkpoint: Path | None) -> None:
    """Train ``module`` to its end, from ``checkpoint`` if there is one; Ctrl-C raises KeyboardInterrupt as elsewhere."""
    try:
        trainer.fit(module, train, val, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"Lightning's Trainer refuses: {' '.join(str(error).split())}") from None
    except SystemExit:  # Lightning turns Ctrl-C into this and leaves Ctrl-C switched off
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if trainer.interrupted:
        raise KeyboardInterrupt


def check_shape(net: nn.Module, part: dict, info: dict) -> None:
    """Refuse a net that does not return logits (B, n_outputs) for the first rows: a loss may accept other shapes."""
    n = min(4, len(part["y"]))
    batch = {name: torch.from_numpy(part[name][:n]) for name in INPUTS if name in part}
    net.eval()
    with torch.inference_mode():
        logits = net(**batch)
    net.train()
    given, wanted = tuple(logits.shape), (n, info["n_outputs"])
    if given != wanted:
        raise UserError(
            f"{type(net).__name__} returns shape {given} for {n} rows, it should be {wanted}: "
            "one row of logits per row, one logit per class (one for a regression)"
        )


def _silence_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # the run's folder is ours
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def eval_batch(info: dict) -> int:
    return EVAL_BATCH if not info["vocab_size"] else max(64, EVAL_BATCH * 16 // max(16, info["max_len"]))


def n_epochs(model: dict, trainer: dict) -> int:
    """Return how many rows of history a fit logs at most, 0 if nobody knows."""
    return trainer["max_epochs"] or 0


@torch.inference_mode()
def predict(net: nn.Module, part: dict, info: dict) -> np.ndarray:
    """Return predictions for the rows of ``part``, in their order; see `to_predictions` for shapes."""
    device = next(net.parameters()).device
    inputs = tensors({name: part[name] for name in INPUTS if name in part}, info)
    out = torch.empty(len(inputs["row"]), info["n_outputs"])
    net.eval()
    for (batch,) in Loader(inputs, BatchOrder(len(out), eval_batch(info), lengths=lengths(part))):
        rows = batch.pop("row")
        out[rows] = net(**{name: x.to(device) for name, x in batch.items()}).float().cpu()
    return to_predictions(out.numpy(), info)


def save(net: nn.Module, path: Path) -> None:
    """Save the weights alone: tensors by name."""
    with replacing(path) as temporary:
        torch.save(net.state_dict(), temporary)


def load(path: Path, model: dict, info: dict) -> nn.Module:
    net = build(model["net"], info)
    try:
        net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not hold the weights of this model: {reason}") from None
    return net.eval()


def difference(path: Path, other: Path) -> float:
    """Return the largest absolute difference of two saved nets' weights; inf if names, shapes or types differ."""
    ours, theirs = (torch.load(file, weights_only=True, map_location="cpu") for file in (path, other))
    if ours.keys() != theirs.keys():
        return math.inf
    return max((_tensor_difference(ours[name], theirs[name]) for name in ours), default=0.0)


def _tensor_difference(x: torch.Tensor, y: torch.Tensor) -> float:
    if x.shape != y.shape or x.dtype != y.dtype:
        return math.inf
    same = (x == y) | (x.isnan() & y.isnan())
    gaps = (x.double() - y.double()).abs().nan_to_num(nan=math.inf)
    return float(gaps[~same].max()) if not same.all() else 0.0

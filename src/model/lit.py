"""How Lightning trains any of the nets: the module, its epoch, its fit."""

import copy
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
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from src import metric as metrics
from src import ranks
from src.model.build import build
from src.model.loader import INPUTS, Loader, Order, lengths, tensors
from src.storage import UserError, replacing

EVAL_BATCH = 8192  # rows; text batches hold as many tokens as 8,192 rows of 16
CHUNK = 16  # minibatches of one training_step, where none of Lightning's words counts them
# trainer words that speak of single batches, and the value at which they do not
COUNT_BATCHES = {
    "max_steps": (-1,), "min_steps": (None,), "limit_train_batches": (None, 1.0), "overfit_batches": (0,),
    "fast_dev_run": (False, 0), "gradient_clip_val": (None, 0), "accumulate_grad_batches": (1,),
    "precision": ("32-true", "64-true", "bf16-true", 32, 64), "strategy": ("auto",), "profiler": (None,),
}  # fmt: skip


class Outputs(Metric):
    """Collects (row, logits) over batches and devices."""

    def __init__(self):
        super().__init__(sync_on_compute=True)
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("logits", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor, logits: Tensor) -> None:
        self.rows.append(rows)
        self.logits.append(logits.float())

    def compute(self) -> tuple[Tensor, Tensor]:
        def whole(x):
            return torch.cat(x) if isinstance(x, list) else x

        return whole(self.rows), whole(self.logits)


class LitModel(L.LightningModule):
    """Trains ``net`` by the loss of its task and logs one row of history an epoch.

    Parameters
    ----------
    net : nn.Module
        called with the batch's inputs by name, returns logits (B, n_outputs).
    info : dict
        what the data says of itself: task, y_mean, y_std, ...
    metric : dict
        {"name", "mode", "fn"}, what decides between epochs.
    val_y : (n_val,) array
        targets of the val part in their own units.
    ema : float or None
        decay of an average of the weights (Polyak & Juditsky 1992), which then is the net that predicts.
    seed : int
        dropout of step k depends on (seed, k) alone, so that a resumed run draws what the straight one drew.

    `training_step` takes several minibatches at once and steps the optimizer itself, which halves the cost of small
    steps; with ``automatic_optimization`` set it takes one, and Lightning steps. The weights are the same, bit for bit.
    """

    def __init__(
        self, net: nn.Module, info: dict, metric: dict, val_y: np.ndarray, *,
        optimizer: dict, lr: float, weight_decay: float, schedule: str, warmup: float,
        label_smoothing: float, ema: float | None, seed: int,
    ):  # fmt: skip
        super().__init__()
        if schedule not in SCHEDULES:
            raise UserError(f"model.schedule={schedule} is unknown; known: {', '.join(SCHEDULES)}")
        self.net, self.info, self.metric, self.val_y = net, info, metric, val_y
        self.optimizer, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.schedule, self.warmup, self.label_smoothing, self.seed = schedule, warmup, label_smoothing, seed
        self.ema, self.average = ema, None
        if ema:
            self.average = copy.deepcopy(net).requires_grad_(False)
        self.outputs = Outputs()
        self.n_seen = 0  # minibatches so far

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["n_seen"] = self.n_seen

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.n_seen = checkpoint["n_seen"]

    @property
    def predictor(self) -> nn.Module:
        """The net that predicts: the averaged one where there is one."""
        return self.net if self.average is None else self.average

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self.net(**{name: batch[name] for name in INPUTS if name in batch})
        if self.info["task"] == "regression":
            each = (logits[:, 0] - batch["y"]).square()
        else:
            each = F.cross_entropy(logits, batch["y"], reduction="none", label_smoothing=self.label_smoothing)
        if "denominator" in batch:  # this rank's share of the batch
            return (each * batch.get("weight", 1.0)).sum() / batch["denominator"].clamp(min=1e-12)
        if "weight" in batch:
            return (each * batch["weight"]).sum() / batch["weight"].sum().clamp(min=1e-12)
        return each.mean()

    def on_train_epoch_start(self) -> None:
        self.loss_sum, self.n_batches = torch.zeros((), device=self.device), 0

    def training_step(self, chunk: list[dict[str, Tensor]], _index: int) -> Tensor | None:
        if self.automatic_optimization:
            (batch,) = chunk
            return self.counted_loss(batch)
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        for batch in chunk:
            optimizer.zero_grad()
            self.counted_loss(batch).backward()
            optimizer.step()
            self.update_average()
            if schedule is not None:
                schedule.step()
        return None

    def counted_loss(self, batch: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(self.seed * 1_000_003 + self.n_seen)
        self.n_seen += 1
        self.n_batches += 1
        loss = self.loss(batch)
        self.loss_sum += loss.detach()
        return loss

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.update_average()

    @torch.no_grad()
    def update_average(self) -> None:
        if self.average is None:
            return
        share = (1 - self.ema) / (1 - self.ema**self.n_seen)  # free of the bias to the start, as Adam's moments
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), share)
        for mine, theirs in zip(self.average.buffers(), self.net.buffers(), strict=True):
            mine.copy_(theirs)

    def validation_step(self, chunk: list[dict[str, Tensor]], _index: int) -> None:
        for batch in chunk:
            logits = self.predictor(**{name: batch[name] for name in INPUTS if name in batch})
            self.outputs.update(batch["row"], logits)

    def on_validation_epoch_end(self) -> None:
        rows, logits = (x.cpu().numpy() for x in self.outputs.compute())
        self.outputs.reset()
        rows, first = np.unique(rows, return_index=True)  # in the part's order, whichever device had them
        y, p = self.val_y[rows], to_predictions(logits[first], self.info)
        values = {"loss": metrics.loss(y, p, self.info)} | metrics.compute(self.info["task"], self.metric, y, p)
        self.row = {f"val/{name}": value for name, value in values.items()}

    def on_train_epoch_end(self) -> None:
        train_loss = float(self.trainer.strategy.reduce(self.loss_sum, reduce_op="mean")) / max(1, self.n_batches)
        self.row = {"epoch": self.current_epoch + 1, "train/loss": train_loss, **self.row}
        self.logger.log_metrics(self.row)

    def configure_optimizers(self):
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]  # biases, norms and scales are not decayed
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = build(fused(self.optimizer), [group for group in groups if group["params"]], lr=self.lr)
        if self.schedule == "constant" and not self.warmup:
            return optimizer
        n_steps = self.trainer.estimated_stepping_batches
        if not self.automatic_optimization:  # Lightning counts chunks
            n_steps = self.trainer.train_dataloader.sampler.n_batches * (self.trainer.max_epochs or math.inf)
        if not math.isfinite(n_steps) or n_steps < 0:
            raise UserError(f"model.schedule={self.schedule} needs trainer.max_epochs or trainer.max_steps")
        factor = SCHEDULES[self.schedule]

        def scale(step):
            done = step / max(1, n_steps)
            if done < self.warmup:
                return (step + 1) / max(1, math.ceil(self.warmup * n_steps))
            return factor(min(1.0, (done - self.warmup) / max(1e-12, 1 - self.warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


# name of model.schedule -> share of lr after the share of steps done
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "onecycle": lambda done: (  # up to 30%, then down to nearly nothing (Smith 2018)
        0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2
        if done < 0.3
        else 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
    ),
}


def to_predictions(logits: np.ndarray, info: dict) -> np.ndarray:
    """Logits (n, n_outputs) to probabilities (n, n_classes), or to values (n,) in the target's own units; float64."""
    logits = logits.astype(np.float64)
    if info["task"] == "regression":
        return logits[:, 0] * info["y_std"] + info["y_mean"]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def fused(optimizer: dict) -> dict:
    """The optimizer with its one-kernel implementation where it has one: the same steps, 12% faster on a CPU."""
    name = optimizer["class"].rpartition(".")[2]
    return {"fused": True, **optimizer} if name in ("AdamW", "Adam", "SGD", "Adagrad") else optimizer


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
        if metrics.better(module.row, self.best, self.metric):
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

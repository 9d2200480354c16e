"""The LightningModule of every net: step, epoch, optimizer and schedule."""

import copy
import math

import lightning as L
import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from src.metric.choose import scores
from src.metric.functions import to_predictions
from src.model.build import build
from src.model.words import INPUTS, SCHEDULES
from src.system.errors import UserError


class LitModel(L.LightningModule):
    """Trains ``net`` by the loss of its task and logs one row of history per epoch.

    net : called with the batch's inputs by name, returns logits (B, n_outputs)
    info : task, y_mean, y_std, ... of the data
    metric : {"name", "mode", "fn"}, logged first
    val_y : (n_val,) targets of the val part in their own units
    log_row : gets the row of each epoch, on rank 0 alone
    ema : decay of an average of the weights (Polyak & Juditsky 1992), which then is the net that predicts
    seed : dropout of step k depends on (seed, k) alone, so a resumed run draws what the straight run drew

    `training_step` takes several minibatches and steps the optimizer itself, which halves the cost of small
    steps; with ``automatic_optimization`` it takes one and Lightning steps, to the same weights bit for bit.
    A subclass, named by ``model.lit``, may change `loss`, `configure_optimizers` or any hook of Lightning's.
    """

    def __init__(
        self, net: nn.Module, info: dict, metric: dict, val_y: np.ndarray, *, log_row, seed: int,
        optimizer: dict, lr: float, weight_decay: float, schedule: str, warmup: float, label_smoothing: float,
        ema: float | None,
    ):  # fmt: skip
        super().__init__()
        self.net, self.info, self.metric, self.val_y, self.log_row = net, info, metric, val_y, log_row
        self.optimizer, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.schedule, self.warmup, self.label_smoothing, self.seed = schedule, warmup, label_smoothing, seed
        self.ema, self.average = ema, copy.deepcopy(net).requires_grad_(False) if ema else None
        self.row = self.scores = None  # of the last epoch, and of its val part; None without a validation
        self.kept = None  # y (n,) and logits (n, n_outputs) of the last validation
        self.outputs = []  # (row numbers (B,), logits (B, n_outputs)) of each val batch
        self.n_seen = self.n_updates = 0  # minibatches, optimizer steps; fewer if gradients are accumulated

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint |= {"n_seen": self.n_seen, "n_updates": self.n_updates}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.n_seen = checkpoint["n_seen"]
        self.n_updates = checkpoint.get("n_updates", self.n_seen)  # older runs stored only n_seen

    @property
    def predictor(self) -> nn.Module:
        """The net that predicts: the averaged one where there is one."""
        return self.net if self.average is None else self.average

    def row_losses(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of each row: (B,)."""
        return self.errors(self.net(**inputs_of(batch)), batch["y"])

    def errors(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return squared errors or cross-entropies of logits (B, n_outputs) and y (B,): (B,)."""
        if self.info["task"] == "regression":
            return (logits[:, 0] - y).square()
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=self.label_smoothing)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        each = self.row_losses(batch)
        if "denominator" in batch:  # this rank's rows of the batch, see `Loader`
            return (each * batch.get("weight", 1.0)).sum() / batch["denominator"].clamp(min=1e-12)
        if "weight" in batch:
            return (each * batch["weight"]).sum() / batch["weight"].sum().clamp(min=1e-12)
        return each.mean()

    def on_train_epoch_start(self) -> None:
        self.scores = None
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
        seed = self.seed * 1_000_003 + self.n_seen
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.2 ms: it seeds all devices
        else:
            torch.manual_seed(seed)
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
        """Count an optimizer step and add its weights to the average."""
        self.n_updates += 1
        if self.average is None:
            return
        share = (1 - self.ema) / (1 - self.ema**self.n_updates)  # bias-corrected, like Adam's moments
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), share)
        for mine, theirs in zip(self.average.buffers(), self.net.buffers(), strict=True):
            mine.copy_(theirs)

    def validation_step(self, chunk: list[dict[str, Tensor]], _index: int) -> None:
        for batch in chunk:
            logits = self.predictor(**inputs_of(batch))
            self.outputs.append((batch["row"], in_full(logits)))

    def on_validation_epoch_end(self) -> None:
        rows, logits = (torch.cat(tensors).cpu().numpy() for tensors in zip(*self.outputs, strict=True))
        self.outputs = []
        if self.trainer.world_size > 1:
            of_ranks = [None] * self.trainer.world_size  # ranks may hold different numbers of rows
            distributed.all_gather_object(of_ranks, (rows, logits))
            rows, logits = map(np.concatenate, zip(*of_ranks, strict=True))
        rows, first = np.unique(rows, return_index=True)  # in the part's order, whichever rank had them
        self.kept = self.val_y[rows], logits[first]
        y, p = self.kept[0], to_predictions(logits[first], self.info)
        values = scores(y, p, self.metric, self.info)
        self.scores = {f"val/{name}": value for name, value in values.items()}

    def on_train_epoch_end(self) -> None:
        loss_sum = self.trainer.strategy.reduce(self.loss_sum, reduce_op="mean")
        train_loss = float(loss_sum) / max(1, self.n_batches)
        self.row = None
        if self.scores is not None:  # trainer.check_val_every_n_epoch leaves epochs out
            self.row = {"epoch": self.current_epoch + 1, "train/loss": train_loss, **self.scores}
            if self.trainer.is_global_zero:
                self.log_row(self.row)

    def configure_optimizers(self):
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]  # biases, norms and scales
        pairs = (decayed, self.weight_decay), (others, 0.0)
        groups = [{"params": params, "weight_decay": decay} for params, decay in pairs if params]
        optimizer = build(fused(self.optimizer), groups, lr=self.lr)
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


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return those of a batch that a net's forward takes."""
    return {name: batch[name] for name in INPUTS if name in batch}


def in_full(logits: Tensor) -> Tensor:
    """Return float64 logits as they are, others as float32: NumPy has no bfloat16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def fused(optimizer: dict) -> dict:
    """Return the optimizer with its fused kernel, if it has one: the same steps, 12% faster on a CPU."""
    name = optimizer["class"].rpartition(".")[2]
    return {"fused": True, **optimizer} if name in ("AdamW", "Adam", "SGD", "Adagrad") else optimizer

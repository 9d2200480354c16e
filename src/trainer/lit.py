"""The LightningModule of every net: step, epoch, optimizer and schedule."""

import copy
import math

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from src.metric.choose import compute, loss
from src.model.build import build
from src.system.errors import UserError
from src.trainer.loader import INPUTS
from src.trainer.schedule import SCHEDULES


class Outputs(Metric):
    """Collects row numbers (n,) and logits (n, n_outputs) over batches and ranks; torchmetrics' own casts rows to float."""

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
    """Trains ``net`` by the loss of its task and logs one row of history per epoch.

    Parameters
    ----------
    net : nn.Module
        called with the batch's inputs by name, returns logits (B, n_outputs).
    info : dict
        task, y_mean, y_std, ... of the data.
    metric : dict
        {"name", "mode", "fn"}, logged first.
    val_y : (n_val,) array
        targets of the val part in their own units.
    log_row : function
        gets the row of each epoch, on rank 0 alone.
    ema : float or None
        decay of an average of the weights (Polyak & Juditsky 1992), which then is the net that predicts.
    seed : int
        dropout of step k depends on (seed, k) alone, so that a resumed run draws what the straight run drew.

    `training_step` takes several minibatches at once and steps the optimizer itself, which halves the cost of small
    steps; with ``automatic_optimization`` it takes one, and Lightning steps. The weights are the same, bit for bit.
    A subclass at the bottom of a net's file, named by ``model.lit``, may change `loss` or `configure_optimizers`.
    """

    def __init__(
        self, net: nn.Module, info: dict, metric: dict, val_y: np.ndarray, *, log_row, optimizer: dict,
        lr: float, weight_decay: float, schedule: str, warmup: float, label_smoothing: float, ema: float | None,
        seed: int,
    ):  # fmt: skip
        super().__init__()
        if schedule not in SCHEDULES:
            raise UserError(f"model.schedule={schedule} is unknown; known: {', '.join(SCHEDULES)}")
        self.net, self.info, self.metric, self.val_y, self.log_row = net, info, metric, val_y, log_row
        self.optimizer, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.schedule, self.warmup, self.label_smoothing, self.seed = schedule, warmup, label_smoothing, seed
        self.ema, self.average = ema, None
        if ema:
            self.average = copy.deepcopy(net).requires_grad_(False)
        self.outputs = Outputs()
        self.row = self.scores = None  # of the last epoch, and of its val part; None without a validation
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

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self.net(**{name: batch[name] for name in INPUTS if name in batch})
        if self.info["task"] == "regression":
            each = (logits[:, 0] - batch["y"]).square()
        else:
            each = F.cross_entropy(logits, batch["y"], reduction="none", label_smoothing=self.label_smoothing)
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
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds every kind of device: 0.2 ms a step
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
            logits = self.predictor(**{name: batch[name] for name in INPUTS if name in batch})
            self.outputs.update(batch["row"], logits)

    def on_validation_epoch_end(self) -> None:
        rows, logits = (x.cpu().numpy() for x in self.outputs.compute())
        self.outputs.reset()
        rows, first = np.unique(rows, return_index=True)  # in the part's order, whichever rank had them
        y, p = self.val_y[rows], to_predictions(logits[first], self.info)
        values = {"loss": loss(y, p, self.info)} | compute(self.info["task"], self.metric, y, p)
        self.scores = {f"val/{name}": value for name, value in values.items()}

    def on_train_epoch_end(self) -> None:
        train_loss = float(self.trainer.strategy.reduce(self.loss_sum, reduce_op="mean")) / max(1, self.n_batches)
        self.row = None
        if self.scores is not None:  # trainer.check_val_every_n_epoch leaves epochs out
            self.row = {"epoch": self.current_epoch + 1, "train/loss": train_loss, **self.scores}
            if self.trainer.is_global_zero:
                self.log_row(self.row)

    def configure_optimizers(self):
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]  # biases, norms, scales: without weight decay
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


def to_predictions(logits: np.ndarray, info: dict) -> np.ndarray:
    """Return logits (n, n_outputs) as probabilities (n, n_classes), or as values (n,) in the target's own units."""
    logits = logits.astype(np.float64)  # metrics are computed in float64 for both families
    if info["task"] == "regression":
        return logits[:, 0] * info["y_std"] + info["y_mean"]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def fused(optimizer: dict) -> dict:
    """Return the optimizer with its one-kernel implementation, if it has one: the same steps, 12% faster on a CPU."""
    name = optimizer["class"].rpartition(".")[2]
    return {"fused": True, **optimizer} if name in ("AdamW", "Adam", "SGD", "Adagrad") else optimizer

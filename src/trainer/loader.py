"""Minibatches sliced from arrays in memory, in an order that depends on (seed, epoch) alone."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from src.metric.functions import learned
from src.model.words import ARRAYS
from src.system.errors import log

EVAL_BATCH = 8192  # rows; text batches hold as many tokens as 8,192 rows of 16
POOL = 50  # batches sorted by length together: enough to save padding, few enough to stay random


class BatchOrder:
    """Row numbers of each batch of an epoch; Lightning calls `set_epoch` before each epoch.

    A resumed run so ends with the straight run's weights; with a shuffling DataLoader they are 2e-2 apart.

    lengths : (n,) int; rows of similar length share a batch, so that little is padded
    seed : None keeps the rows in their order (sorted by length if there are lengths), for prediction
    least : a last batch of fewer rows joins the one before: BatchNorm cannot train on a single row

    >>> BatchOrder(5, 2).batches()
    [array([0, 1]), array([2, 3]), array([4])]
    >>> BatchOrder(5, 2, least=2).batches()
    [array([0, 1]), array([2, 3, 4])]
    """

    def __init__(self, n_rows: int, batch_size: int, *, seed: int | None = None, lengths=None, least=1):
        self.n_rows, self.batch_size, self.seed, self.lengths = n_rows, batch_size, seed, lengths
        self.epoch, self.least = 0, min(least, batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def n_batches(self) -> int:
        return len(self._starts(self.n_rows, self.batch_size))

    def batches(self) -> list[np.ndarray]:
        rng = None if self.seed is None else np.random.default_rng([self.seed, self.epoch])
        order = np.arange(self.n_rows) if rng is None else rng.permutation(self.n_rows)
        if self.lengths is None:
            return self._cut(order, self.batch_size)
        batches = []
        for rows in [order] if rng is None else self._cut(order, POOL * self.batch_size):
            batches += self._cut(rows[np.argsort(self.lengths[rows], kind="stable")], self.batch_size)
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def _cut(self, rows: np.ndarray, size: int) -> list[np.ndarray]:
        ends = [*self._starts(len(rows), size), len(rows)]
        return [rows[i:j] for i, j in pairwise(ends)]

    def _starts(self, n_rows: int, size: int) -> list[int]:
        """Return where parts of ``size`` rows begin; a rest of fewer than ``least`` is no part of its own."""
        starts = list(range(0, n_rows, size))
        return starts[:-1] if len(starts) > 1 and n_rows - starts[-1] < self.least else starts


class Loader:
    """Iterates over lists of ``chunk`` batches, each a dict of tensors whose first dimension is the row.

    Slicing memory costs a twentieth of a DataLoader (0.02 s against 0.40 s for 100,000 rows); several batches
    at once save Lightning's overhead per step. Batches of text are cut to their longest row.

    With ``shard=(rank, world)`` a batch holds every world-th row of the whole, and ``denominator`` (), the
    whole batch's number of rows, or the sum of their weights, divided by ``world``. Sums of losses divided by
    it and averaged over the ranks are the mean over the whole batch.
    """

    def __init__(self, tensors: dict[str, Tensor], order: BatchOrder, chunk: int = 1, shard=(0, 1)):
        self.tensors, self.sampler, self.chunk, self.shard = tensors, order, chunk, shard
        self.batch_sampler = None  # Lightning looks here before it looks at `sampler`

    def __len__(self) -> int:
        return -(-self.sampler.n_batches // self.chunk)

    def __iter__(self):
        rank, world = self.shard
        whole = self.sampler.batches()
        batches = [rows[rank::world] for rows in whole]
        lengths = self.sampler.lengths
        for i in range(0, len(batches), self.chunk):
            some = batches[i : i + self.chunk]
            rows = torch.from_numpy(np.concatenate(some))
            sizes = [len(batch) for batch in some]
            split = {name: tensor.index_select(0, rows).split(sizes) for name, tensor in self.tensors.items()}
            chunk = [dict(zip(split, values, strict=True)) for values in zip(*split.values(), strict=True)]
            if lengths is not None:
                for batch, index in zip(chunk, some, strict=True):
                    mask(batch, int(lengths[index].max(initial=1)))
            if world > 1:
                for batch, rows in zip(chunk, whole[i : i + self.chunk], strict=True):
                    each = self.tensors["weight"][rows] if "weight" in batch else torch.ones(len(rows))
                    batch["denominator"] = each.sum() / world
            yield chunk


def loaders(data, batch_size: int, seed: int | None) -> tuple[Loader, Loader]:
    """Return loaders of the training rows, in an order by ``seed`` (None: as they are), and the val rows."""

    def loader(part: dict, size: int, **options) -> Loader:
        order = BatchOrder(len(part["y"]), size, lengths=part.get("lengths"), **options)
        return Loader(tensors(part, data.info), order)

    train, val = data.parts["train"], data.parts["val"]
    return loader(train, batch_size, seed=seed, least=2), loader(val, eval_batch(data.info))


def eval_batch(info: dict) -> int:
    return EVAL_BATCH if not info["vocab_size"] else max(64, EVAL_BATCH * 16 // max(16, info["max_len"]))


def show_padding(order: BatchOrder) -> None:
    """Print how many tokens are padding: in one matrix of all rows, and in batches of similar length."""
    if order.lengths is None or order.lengths.min() == order.lengths.max():
        return
    n_tokens, longest = order.lengths.sum(), order.lengths.max()
    n_batches = sum(len(rows) * order.lengths[rows].max() for rows in order.batches())
    before, after = 1 - n_tokens / (order.n_rows * longest), 1 - n_tokens / n_batches
    log.info("padding  %.1f%% in one matrix, %.1f%% in batches of similar length", 100 * before, 100 * after)


def tensors(part: dict, info: dict) -> dict[str, Tensor]:
    """Return a part as tensors: `ARRAYS`, ``row`` (its place in the part), ``y`` and ``weight`` where given.

    ``y`` (n,) are class numbers, or standardized float32 values.
    """
    out = {name: torch.from_numpy(part[name]) for name in ARRAYS if name in part}
    out["row"] = torch.arange(len(next(iter(out.values()))))
    if "y" in part:
        y = part["y"]
        if info["task"] == "regression":
            y = learned(y, info).astype(np.float32)
        out["y"] = torch.from_numpy(y)
    if "weight" in part:
        out["weight"] = torch.from_numpy(part["weight"])
    return out


def mask(batch: dict[str, Tensor], longest: int) -> None:
    """Cut the tokens of a batch after ``longest``, and put a mask in place of their lengths."""
    batch["input_ids"] = batch["input_ids"][:, :longest].int()  # nn.Embedding takes no int8
    batch["attention_mask"] = torch.arange(longest) < batch.pop("lengths")[:, None]

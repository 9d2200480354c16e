"""Minibatches sliced from arrays in memory, in an order that depends on nothing but (seed, epoch)."""

import numpy as np
import torch
from torch import Tensor

POOL = 50  # batches sorted by length together: large enough to save padding, small enough to stay random


class BatchOrder:
    """Row numbers of each batch of an epoch; Lightning calls `set_epoch` before each.

    lengths : (n,) int or None
        with lengths, rows of like length share a batch, so that little is padded.
    seed : int or None
        None: the order of the rows (by length where given), for prediction.
    """

    def __init__(self, n_rows: int, batch_size: int, *, seed: int | None = None, lengths: np.ndarray | None = None):
        self.n_rows, self.batch_size, self.seed, self.lengths = n_rows, batch_size, seed, lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def n_batches(self) -> int:
        return -(-self.n_rows // self.batch_size)

    def batches(self) -> list[np.ndarray]:
        rng = None if self.seed is None else np.random.default_rng([self.seed, self.epoch])
        order = np.arange(self.n_rows) if rng is None else rng.permutation(self.n_rows)
        if self.lengths is None:
            return self._cut(order)
        pool = self.n_rows if rng is None else POOL * self.batch_size
        pools = [order[i : i + pool] for i in range(0, self.n_rows, pool)]
        batches = [b for rows in pools for b in self._cut(rows[np.argsort(self.lengths[rows], kind="stable")])]
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def _cut(self, rows):
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


class Loader:
    """Iterates over lists of ``chunk`` batches, each a dict of tensors whose first dimension is the row.

    Slicing memory costs a twentieth of a DataLoader; handing over several batches at once saves Lightning's overhead
    per step. Batches of text are cut to their longest row. Of ``shard=(rank, world)`` each batch is every world-th row,
    and ``denominator`` () the rows, or their weight, of the whole batch over ``world``: sums of losses divided by it
    and averaged over ranks are the mean over the whole batch.
    """

    def __init__(self, tensors: dict[str, Tensor], order: BatchOrder, chunk: int = 1, shard: tuple[int, int] = (0, 1)):
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
                    longest = int(lengths[index].max(initial=1))
                    for name in ("input_ids", "attention_mask"):
                        batch[name] = batch[name][:, :longest]
            if world > 1:
                for batch, rows in zip(chunk, whole[i : i + self.chunk], strict=True):
                    weight = self.tensors["weight"][rows].sum() if "weight" in batch else torch.tensor(float(len(rows)))
                    batch["denominator"] = weight / world
            yield chunk


INPUTS = ("x_num", "x_cat", "input_ids", "attention_mask")


def tensors(part: dict, info: dict) -> dict[str, Tensor]:
    """What a torch model takes of a part: inputs, ``row`` (its place in the part), and where there is a target ``y``
    (class numbers, or standardized float32 values) and ``weight``."""
    out = {name: torch.from_numpy(part[name]) for name in INPUTS if name in part}
    out["row"] = torch.arange(len(next(iter(out.values()))))
    if "y" in part:
        y = part["y"]
        if info["task"] == "regression":
            y = ((y - info["y_mean"]) / info["y_std"]).astype(np.float32)
        out["y"] = torch.from_numpy(y)
    if "weight" in part:
        out["weight"] = torch.from_numpy(part["weight"])
    return out


def lengths(part: dict) -> np.ndarray | None:
    """(n,) tokens of each row, None where there is no text."""
    return part["attention_mask"].sum(1) if "attention_mask" in part else None

"""The dtype of a net: float32, or what trainer.precision=64-true or bf16-true has made of it."""

from contextlib import contextmanager

import torch
from torch import nn


def dtype_of(tensors) -> torch.dtype:
    """Return the dtype that all floating ``tensors`` share; float32 if they differ."""
    found = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    return found.pop() if len(found) == 1 else torch.float32


@contextmanager
def own_dtype(net: nn.Module):
    """Yield the dtype of a net; new tensors have it within the block, as they have in training."""
    dtype, before = dtype_of(net.parameters()), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield dtype
    finally:
        torch.set_default_dtype(before)

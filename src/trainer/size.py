"""How much memory the training of a net needs, before it is built."""

import torch

from src.model.build import build
from src.system.environment import check_memory
from src.system.errors import UserError
from src.trainer import ranks


def check_size(model: dict, info: dict, trainer: dict) -> None:
    """Refuse a net whose training needs more memory than is free, as its copy without memory tells."""
    try:
        with torch.device("meta"):
            net = build(model["net"], info)
    except Exception as error:
        if "overflow" in str(error).lower():  # of the number of bytes
            raise UserError(f"the net of model={model['name']} is larger than any memory") from None
        return  # a net that needs values while it is built: nobody knows its size before
    parameters = [*net.parameters(), *net.buffers()]
    n_bytes = sum(parameter.nbytes for parameter in parameters)
    if torch.cuda.is_available() and trainer["accelerator"] in ("auto", "gpu", "cuda"):
        n_copies = 2  # here; the rest is in the GPU's memory
    else:  # weights, gradients, a checkpoint, Adam's two moments, the average
        n_copies = 3 + 2 * ("Adam" in model["optimizer"]["class"]) + bool(model["ema"])
    if ranks.launcher() is None:
        n_copies *= ranks.n_devices(trainer)
    n = sum(parameter.numel() for parameter in parameters)
    check_memory(f"training the net of model={model['name']}, {n:,} parameters,", n_copies * n_bytes)

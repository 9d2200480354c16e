"""Refuse, before it trains, a net that does not fit the data."""

import inspect

import torch
from torch import nn

from src.model.words import ARRAYS
from src.system.errors import UserError
from src.trainer.loader import mask

ROLES = {"x_num": "numeric", "x_cat": "categorical", "input_ids": "text"}  # input -> role of its columns
SHOWN = 8  # columns that a message names


def check_forward(net: nn.Module, part: dict, info: dict) -> None:
    """Refuse a net whose logits for the first rows are not (B, n_outputs): a loss may accept other shapes."""
    n = min(4, len(part["y"]))
    batch = {name: torch.from_numpy(part[name][:n]) for name in ARRAYS if name in part}
    if "input_ids" in batch:
        mask(batch, batch["input_ids"].shape[1])
    check_inputs(net, list(batch), info)
    net.eval()
    with torch.inference_mode():
        logits = net(**batch)
    net.train()
    given, wanted = tuple(getattr(logits, "shape", ())), (n, info["n_outputs"])
    if given != wanted:
        raise UserError(
            f"{type(net).__name__} returns shape {given} for {n} rows, it should be {wanted}: "
            "one row of logits per row, one logit per class (one for a regression)"
        )


def check_inputs(net: nn.Module, inputs: list[str], info: dict) -> None:
    """Refuse a net whose forward does not take the data's ``inputs``, or needs others."""
    parameters = inspect.signature(net.forward).parameters.values()
    forward = f"{type(net).__name__}.forward"
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in optional]
    for name in needed:
        if name not in inputs:
            there = f"the data has {', '.join(inputs)}"
            raise UserError(f"{forward} needs {name}, but {there}: take these by name, and write {name}=None")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    for name in inputs:
        if name not in [one.name for one in parameters]:
            raise UserError(f"{forward} takes no {name}{_ways_on(name, info)}")


def _ways_on(name: str, info: dict) -> str:
    """Return what ``name`` holds and what to do, where a forward does not take it."""
    if name not in ROLES:
        return ", (B, T), true where a row has a token: take it in forward"
    columns = info["columns"][ROLES[name]]
    listed = ",".join(columns[:SHOWN]) + ",..." * (len(columns) > SHOWN)
    ways = [f"take {name} in forward", f"leave its columns out, dataset.ignore=[{listed}]"]
    if name == "x_cat":
        ways.append("make them numbers, in an etl or with src.model.embed.Embed")
    elif name == "input_ids":
        ways.append("start from src.model.embed.Embed, which takes text, too")
    return f", but the data has {ROLES[name]} columns: {'; or '.join(ways)}"

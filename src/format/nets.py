"""A net as a file that needs none of its code: ONNX, torch.export, TorchScript."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from src.format.load import units
from src.trainer.dtype import dtype_of


class Whole(nn.Module):
    """A net from arrays, in the order of ``names``, to probabilities or values in the target's units."""

    def __init__(self, net: nn.Module, info: dict, names: list[str]):
        super().__init__()
        self.net, self.info, self.names = net, info, names

    def forward(self, *arrays):
        dtype = dtype_of(self.net.parameters())
        arrays = [x.to(dtype) if x.is_floating_point() else x for x in arrays]
        logits = self.net(**dict(zip(self.names, arrays, strict=True))).double()
        if self.info["task"] == "regression":
            scale, mean, transform = units(self.info)
            values = logits[:, 0] * scale + mean
            return values.clamp(max=230).exp() - transform["add"] if transform else values
        return logits.softmax(1)


def refusal(net: nn.Module, form: str) -> str | None:
    """Return why a net cannot be written in this format; None where it can."""
    if form == "torch_export" and any(isinstance(part, nn.RNNBase) for part in net.modules()):
        return "torch.export has no packed sequences, which its LSTM reads: use format=onnx or torchscript"
    if form == "onnx" and dtype_of(net.parameters()) in (torch.bfloat16, torch.float16):
        return "ONNX Runtime has no such short numbers on a CPU (trainer.precision): use format=torch_export"
    return None


def write(net: nn.Module, info: dict, arrays: dict, form: str, path: Path, opset: int) -> None:
    """Write a net; ``arrays`` are a few rows, whose number and length may vary."""
    names, rows = list(arrays), []
    for name, array in arrays.items():  # torch.export takes a size of 1 for a constant: two tokens of padding
        rows.append(torch.from_numpy(np.pad(array, ((0, 0), (0, 0 if name.startswith("x_") else 2)))))
    rows = tuple(rows)
    axes = {name: {0: "rows"} if name.startswith("x_") else {0: "rows", 1: "tokens"} for name in names}
    whole, silent = Whole(net, info, names).eval(), contextlib.redirect_stdout(io.StringIO())
    with torch.no_grad(), warnings.catch_warnings(), silent:
        warnings.simplefilter("ignore")  # of the tracer: shapes that it takes for constants; the proof tries
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        if form == "onnx":  # the older exporter: the newer one fixes the length of an LSTM's input
            options = {"input_names": names, "output_names": ["p"], "dynamic_axes": axes | {"p": {0: "rows"}}}
            torch.onnx.export(whole, rows, path, **options, opset_version=opset, dynamo=False)
        elif form == "torch_export":
            shapes = tuple(dict.fromkeys(one, torch.export.Dim.AUTO) for one in axes.values())
            torch.export.save(torch.export.export(whole, rows, dynamic_shapes={"arrays": shapes}), path)
        else:
            torch.jit.trace(whole, rows, check_trace=False).save(path)

"""Write a run's model in another format, and prove that it predicts what the run predicts."""

import json
import logging
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from src.data.prepare import apply_transforms
from src.format.load import file_of, plain, trimmed
from src.metric.choose import choose, scores
from src.run.folder import Run
from src.run.members import node_of
from src.run.rows import rows_of
from src.system.code import locate, needed
from src.system.errors import UserError
from src.system.files import hidden, sweep, write_json
from src.system.paths import CHECKOUT
from src.trainer.family import family

FORMATS = {True: ("onnx", "torch_export", "torchscript"), False: ("onnx", "skops", "joblib")}  # of a net?
TOLERANCE = 1e-5  # in probability, or in deviations of a regression's target
N_ROWS = 1000  # that prove an export


def export(run: Run, form: str, rows=None, opset: int = 18, quantize: str | None = None) -> dict:
    """Write ``exports/<form>/`` in the run's folder, and return the content of its export.json.

    rows : a file or a frame to prove it with, in place of the run's test rows
    """
    writer, predictor = writer_of(run, form, quantize, opset), run._predictor
    model = _model(run, writer, form)
    frame = rows_of(run, "test").head(N_ROWS) if rows is None else predictor.prepared(rows)[1].head(N_ROWS)
    part, p = plain(apply_transforms(predictor.transforms, frame)), predictor.output(frame)
    y = run.arrays["test_y"][: len(p)] if rows is None else None
    folder = run.folder / "exports" / form
    sweep(folder.parent)
    temporary = hidden(folder)
    temporary.mkdir(parents=True)
    try:
        few = trimmed(part, np.arange(3) % len(p))
        writer.write(model, run.info, few, form, temporary / file_of(form), opset)
        np.savez(temporary / "rows.npz", p=p, **part)
        report = {"run": run.name, "format": form, "pickle": form == "joblib", "rows": len(p)}
        report |= {"inputs": list(part), "opset": opset if form == "onnx" else None}
        report |= _proven(run, temporary / file_of(form), y, form)
        if not report["difference"] <= TOLERANCE:
            reason = f"its predictions differ from the run's by {report['difference']:.1e}"
            raise UserError(f"the {form} export of {run.name} is not kept: {reason}, more than {TOLERANCE:g}")
        if quantize:
            small = temporary / "model_int8.onnx"
            _quantize(temporary / file_of(form), small)
            report[quantize] = _proven(run, small, y, form)
        (temporary / "rows.npz").unlink()
        for name in ("info.json", "transforms.json"):
            shutil.copy(run.folder / name, temporary)
        write_json(temporary / "export.json", report)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _quantize(path: Path, small: Path) -> None:
    quantize = import_module("onnxruntime.quantization").quantize_dynamic
    logging.disable(logging.WARNING)  # it names each tensor that stays as it is
    try:
        quantize(path, small)
    finally:
        logging.disable(logging.NOTSET)


def writer_of(run: Run, form: str, quantize: str | None, opset: int):
    """Return what has ``refusal`` and ``write`` of a format; refuse one for the other family."""
    is_net = "net" in run.cfg["model"]
    if "." in form:  # the user's own
        return locate(form)
    if form not in FORMATS[is_net]:
        raise UserError(f"format={form} holds no model as {run.name} has: {', '.join(FORMATS[is_net])} do")
    if form == "onnx" and not 18 <= opset <= 20:
        raise UserError(f"opset={opset}: should be 18, 19 or 20")
    if quantize and (quantize != "int8" or form != "onnx" or not is_net):
        raise UserError(f"quantize={quantize}: there is int8 alone, for format=onnx of nets")
    for name in ("onnx", "onnxruntime", "skl2onnx")[: 2 if is_net else 3] if form == "onnx" else ():
        needed(name, extra="export", what="format=onnx")
    name = "nets" if is_net else "estimators" if form == "onnx" else "objects"
    return import_module(f"src.format.{name}")


def _model(run: Run, writer, form: str):
    """Return the fitted model of a run; refuse one that the format cannot hold."""
    node, reason = node_of(run), "it is made of several models: export each of them"
    if "members" not in node:
        model = family(node["model"]).load(Path(node["file"]), node["model"], run.info)
        reason = writer.refusal(model, form)
        if "quantiles" in run.info.get("y_transform", {}) and form not in ("skops", "joblib"):
            reason = "dataset.target_transform=quantile is not written"
    if reason:
        raise UserError(f"{run.name} cannot be written as {form}: {reason}")
    return model


def _proven(run: Run, path: Path, y, form: str) -> dict:
    """Return what src/format/proof.py finds in a new process, and the deciding metric, if ``y`` is known."""
    paths = map(os.path.abspath, sys.path)  # where a format of the user's is
    command = [sys.executable, "-m", "src.format.proof", path, run.folder / "info.json", form, *paths]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"{path.name} of {run.name} cannot be used in a new process: {reason[:300]}")
    found = {"file": path.name} | json.loads(done.stdout.rpartition("found ")[2])
    if y is not None:
        metric = choose(run.cfg["metric"], run.cfg["metric_mode"], run.info["task"])
        found[metric["name"]] = scores(y, np.load(path.parent / "p.npy"), metric, run.info)[metric["name"]]
    (path.parent / "p.npy").unlink()
    return found

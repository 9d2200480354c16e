"""Write a run's model in another format, and prove that it predicts what the run predicts."""

import json
import logging
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np

from src.data.prepare import apply_transforms
from src.format.load import FILES, file_of, plain, trimmed
from src.metric.choose import choose, scores
from src.run.folder import Run
from src.run.members import leaves, node_of
from src.run.rows import rows_of
from src.system.code import locate, needed
from src.system.errors import UserError, nearest
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
    node, predictor = node_of(run), run._predictor
    write, transforms = _writer(run, node, form, quantize, opset)
    frame = rows_of(run, "test").head(N_ROWS) if rows is None else predictor.prepared(rows)[1].head(N_ROWS)
    part, p = apply_transforms(transforms, frame), predictor.output(frame)
    y = run.arrays["test_y"][: len(p)] if rows is None else None
    with placed(run, form) as folder:
        few = plain(trimmed(part, np.arange(3) % len(p)))
        write(few, folder / file_of(form))
        np.savez(folder / "rows.npz", p=p, **part)
        report = {"run": run.name, "format": form, "pickle": form == "joblib", "rows": len(p)}
        report |= {"inputs": list(few), "opset": opset if form == "onnx" else None}
        report |= check(_proven(run, folder / file_of(form), y, form), run, form)
        if quantize:
            small = folder / "model_int8.onnx"
            _quantize(folder / file_of(form), small)
            report[quantize] = _proven(run, small, y, form)
        (folder / "rows.npz").unlink()
        shutil.copy(run.folder / "info.json", folder)
        write_json(folder / "transforms.json", transforms)
        write_json(folder / "export.json", report)
    return report


@contextmanager
def placed(run: Run, form: str):
    """Yield a new folder that becomes the run's export in this format, if nothing is raised."""
    folder = run.folder / "exports" / form
    sweep(folder.parent)
    temporary = hidden(folder)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(found: dict, run: Run, form: str) -> dict:
    """Return what was found of an export; refuse one that predicts otherwise than the run."""
    if not found["difference"] <= TOLERANCE:
        reason = f"its predictions differ from the run's by {found['difference']:.1e}"
        raise UserError(f"the {form} export of {run.name} is not kept: {reason}, more than {TOLERANCE:g}")
    return found


def _quantize(path: Path, small: Path) -> None:
    quantize = import_module("onnxruntime.quantization").quantize_dynamic
    logging.disable(logging.WARNING)  # it names each tensor that stays as it is
    try:
        quantize(path, small)
    finally:
        logging.disable(logging.NOTSET)


def _writer(run: Run, node: dict, form: str, quantize: str | None, opset: int):
    """Return a function that writes a run, from a few rows, and their transforms; refuse what cannot be.

    node : as of `src.run.members`
    """
    several, models = "members" in node, leaves(node)
    kinds = {"net" in leaf["model"] for leaf in models}
    forms = ["onnx"] if several else FORMATS["net" in run.cfg["model"]]
    if form not in (*FILES, "pyfunc") and "." not in form:
        near, known = nearest(form, [*forms, "pyfunc"]), ", ".join([*FILES, "pyfunc"])
        raise UserError(f"format={form} is unknown{near}; known: {known}")
    if quantize and (quantize != "int8" or form != "onnx" or several or False in kinds):
        raise UserError(f"quantize={quantize}: there is int8 alone, for format=onnx of nets")
    if form not in forms and ("." not in form or several):
        raise UserError(f"format={form} holds no model as {run.name} has: {', '.join(forms)} do")
    if form == "onnx" and not 18 <= opset <= 20:
        raise UserError(f"opset={opset}: should be 18, 19 or 20")
    for name in ("onnx", "onnxruntime", *["skl2onnx"] * (False in kinds)) if form == "onnx" else ():
        needed(name, extra="export", what="format=onnx")
    name = {"skops": "objects", "joblib": "objects"}.get(form, "nets" if True in kinds else "estimators")
    name = f"src.format.{'together' if several else name}"
    module = locate(form) if "." in form else import_module(name)
    try:
        fitted = {leaf["file"]: _fitted(leaf, module, form, several) for leaf in models}
        if several:
            transforms = module.shared(node)
    except UserError as error:
        raise UserError(f"{run.name} cannot be written as {form}: {error}") from None
    if several:
        return lambda few, path: module.write(node, fitted, run.info, few, path, opset), transforms
    model = fitted[node["file"]]
    write = lambda few, path: module.write(model, run.info, few, form, path, opset)  # noqa: E731
    return write, node["transforms"]


def _fitted(leaf: dict, module, form: str, several: bool):
    """Return a fitted model of a run; refuse one that the format cannot hold."""
    model = family(leaf["model"]).load(Path(leaf["file"]), leaf["model"], leaf["info"])
    reason = module.refusal(leaf, model, form) if several else module.refusal(model, form)
    if "quantiles" in leaf["info"].get("y_transform", {}) and form not in ("skops", "joblib"):
        reason = "dataset.target_transform=quantile is not written"
    if reason:
        raise UserError(f"{leaf['run']} ({leaf['model']['name']}): {reason}" if several else reason)
    return model


def found_by(words: list, folder: Path, what: str) -> dict:
    """Return what a new Python process prints at its end, "found" and JSON; refuse ``what`` if it fails."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"{what} cannot be used in a new process: {reason[:300]}")
    return json.loads(done.stdout.rpartition("found ")[2])


def _proven(run: Run, path: Path, y, form: str) -> dict:
    """Return what src/format/proof.py finds in a new process, and the deciding metric, if ``y`` is known."""
    paths = map(os.path.abspath, sys.path)  # where a format of the user's is
    words = ["-m", "src.format.proof", path, run.folder / "info.json", form, *paths]
    found = {"file": path.name} | found_by(words, CHECKOUT, f"{path.name} of {run.name}")
    if y is not None:
        metric = choose(run.cfg["metric"], run.cfg["metric_mode"], run.info["task"])
        found[metric["name"]] = scores(y, np.load(path.parent / "p.npy"), metric, run.info)[metric["name"]]
    (path.parent / "p.npy").unlink()
    return found

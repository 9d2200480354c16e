"""Open an exported model: arrays of rows to predictions."""

from importlib import import_module
from pathlib import Path

import numpy as np

from src.data.prepare import apply_transforms
from src.data.strands import averaged
from src.model.words import ARRAYS
from src.run.folder import Run
from src.run.predictor import Predictor
from src.system.code import locate, needed
from src.system.errors import UserError
from src.system.files import read_json

FILES = {
    "onnx": "model.onnx", "torch_export": "model.pt2", "torchscript": "model.ts", "skops": "model.skops",
    "joblib": "model.joblib",
}  # fmt: skip
TYPES = {"x_num": None, "x_cat": np.int64, "input_ids": np.int64, "attention_mask": np.bool_}
ROWS, TOKENS = 8192, 1 << 17  # that are predicted at once
TRUSTED = [  # what skops may build of a file that says so; anything else is refused
    "functools.partial", "scipy.sparse._csr.csr_matrix",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance", "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree", "sklearn.tree._tree.Tree", "sklearn.utils.validation.check_array",
    "src.model.estimator.Estimator",
]  # fmt: skip


def exported(run: Run, form: str) -> Predictor:
    """Return a predictor that reads rows as the run does, and predicts them by its proven export."""
    folder = run.folder / "exports" / form
    if not (folder / "export.json").is_file():
        raise UserError(f"{run.name} has no {form} export: python -m src.export run={run.name} format={form}")
    if form == "pyfunc":
        raise UserError(f"format=pyfunc is for MLflow: mlflow.pyfunc.load_model('{folder}/model')")
    if (folder / "export.json").stat().st_mtime < (run.folder / "DONE").stat().st_mtime:
        raise UserError(f"{run.name} was trained on after its {form} export: export it again")
    if form == "joblib" and not run.trusted:
        raise UserError(f"{folder} holds a pickle, which can run anything: add trust=true if you trust it")
    model, transforms = load(folder / file_of(form), form), read_json(folder / "transforms.json")
    return Predictor(run, lambda frame: predict(model, apply_transforms(transforms, frame), run.info))


def file_of(form: str) -> str:
    """Return the name of a format's file; the dotted name of a class is a format of the user's."""
    return locate(form).file if "." in form else FILES[form]


def load(path: Path, form: str = ""):
    """Return a function from the arrays of some rows to predictions; the file's ending says the format."""
    if "." in form:
        model = locate(form).load(path)
        return lambda part: model(plain(part))
    if path.suffix == ".onnx":
        runtime = needed("onnxruntime", extra="export", what="format=onnx")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]

        def run(part: dict):
            part = plain(part)
            return session.run(["p"], {name: part[name] for name in names})[0]

        return run
    if path.suffix in (".pt2", ".ts"):
        import torch

        net = torch.export.load(path).module() if path.suffix == ".pt2" else torch.jit.load(path)
        return torch.inference_mode()(lambda part: net(*map(torch.from_numpy, plain(part).values())).numpy())
    if path.suffix == ".skops":
        estimator = import_module("skops.io").load(path, trusted=TRUSTED)
    else:
        estimator = import_module("joblib").load(path)
    return lambda part: estimator.predict(estimator.matrix(part))


@averaged
def predict(model, part: dict, info: dict) -> np.ndarray:
    """Return probabilities (n, n_classes), or values (n,), of a part, some rows at a time."""
    part = {name: part[name] for name in ARRAYS if name in part}
    n, width = len(next(iter(part.values()))), max(array[:1].size for array in part.values())
    step = max(1, min(ROWS, TOKENS // width))
    return np.concatenate([model(trimmed(part, slice(i, i + step))) for i in range(0, n, step)])


def units(info: dict) -> tuple[float, float, dict]:
    """Return the scale and mean of what a regression has learned, and the state of the log of its target."""
    state = info.get("y_transform", {})
    return state.get("std", info["y_std"]), state.get("mean", info["y_mean"]), state


def plain(part: dict) -> dict:
    """Return the inputs of a batch in the types that every format has; numbers have theirs."""
    if "lengths" in part:
        part = part | {"attention_mask": np.arange(part["input_ids"].shape[1]) < part["lengths"][:, None]}
    return {name: part[name].astype(kind or part[name].dtype) for name, kind in TYPES.items() if name in part}


def trimmed(part: dict, rows) -> dict:
    """Return some rows, without the columns that are padding in all of them; no views: torch.export minds."""
    some = {name: array[rows] for name, array in part.items()}
    if "lengths" in some:
        some["input_ids"] = some["input_ids"][:, : some["lengths"].max()]
    return {name: np.ascontiguousarray(array) for name, array in some.items()}

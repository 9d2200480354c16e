"""Runs that are made of others: the folds of a cross-validation, an ensemble.

``model/members.json`` is a tree. A leaf is a model: {"run", "model" (the section of its config), "info",
"transforms", "file"}. A node has "members", leaves or nodes, and how their predictions become one: "weights",
or "stack", the leaf or node that was trained on them. The files of all leaves are in the run's own folder, so
it predicts, is packed and received like any other, also when the runs that it was made of are gone.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from src.data.prepare import apply_transforms
from src.system.files import hidden, read_json, write_json
from src.trainer.family import family, suffix

NAME = "members.json"
SMALLEST = 1e-6  # of the probabilities that a stack gets


def node_of(run) -> dict:
    """Return what a run predicts with: its members' tree, or itself as a leaf; "file" is a path."""
    folder = run.folder / "model"
    if (folder / NAME).is_file():
        return _each(read_json(folder / NAME), lambda leaf: f"{folder}/model_{run.name}{leaf['file']}")
    leaf = {"run": run.name, "model": run.cfg["model"], "info": run.info}
    leaf["transforms"] = read_json(run.folder / "transforms.json")
    return leaf | {"file": f"{folder}/model_{run.name}.{suffix(run.cfg['model'])}"}


def _each(node: dict, file) -> dict:
    """Return a copy of a tree whose leaves have ``file(leaf)`` as their file."""
    if "members" not in node:
        return node | {"file": file(node)}
    found = node | {"members": [_each(one, file) for one in node["members"]]}
    return found | {"stack": _each(node["stack"], file)} if "stack" in node else found


def leaves(node: dict) -> list[dict]:
    """Return all leaves of a tree, those of stacks last."""
    found = []
    _each(node, found.append)
    return found


def write(folder: Path, node: dict) -> None:
    """Put the models of a tree, whose files are paths, into the folder of a run, and the tree itself."""
    (folder / "model").mkdir(exist_ok=True)
    placed = []

    def place(leaf: dict) -> str:
        placed.append(f"_{len(placed) + 1}{Path(leaf['file']).suffix}")
        target = folder / "model" / f"model_{folder.name}{placed[-1]}"
        temporary = hidden(target)
        temporary.unlink(missing_ok=True)
        try:
            os.link(leaf["file"], temporary)  # files of runs are replaced as a whole, never written into
        except OSError:  # another disk, or one without links
            shutil.copyfile(leaf["file"], temporary)
        os.replace(temporary, target)
        return placed[-1]

    write_json(folder / "model" / NAME, _each(node, place))


def loaded(node: dict):
    """Return a function from rows, as the ETL returns them, to predictions of a tree's models."""
    if "members" not in node:
        of, info = family(node["model"]), node["info"]
        model = of.load(Path(node["file"]), node["model"], info)
        return lambda frame: of.predict(model, apply_transforms(node["transforms"], frame), info)
    each = [loaded(one) for one in node["members"]]
    stack = loaded(node["stack"]) if "stack" in node else None
    return lambda frame: combine([one(frame) for one in each], node.get("weights"), stack)


def combine(predictions: list[np.ndarray], weights=None, stack=None) -> np.ndarray:
    """Return one prediction for each row: the mean, a weighted mean, or what a stack makes of all."""
    if stack is not None:
        return stack(features(predictions))
    if weights is None:
        return np.mean(np.stack(predictions), 0)
    return sum(weight * p for weight, p in zip(weights, predictions, strict=True) if weight)


def features(predictions: list[np.ndarray]) -> pd.DataFrame:
    """Return a column for each member's values, or for its log odds of each class against the last."""
    columns = {}
    for i, p in enumerate(predictions):
        logs = np.log(p.clip(SMALLEST, 1)) if p.ndim == 2 else None
        odds = p[:, None] if logs is None else logs[:, :-1] - logs[:, -1:]  # (n, n_classes - 1)
        columns |= {f"m{i}_{k}": column for k, column in enumerate(odds.T)}
    return pd.DataFrame(columns)

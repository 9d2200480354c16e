"""A run of several models in one ONNX file: folds, ensembles, ensembles of those, stacks.

Its inputs are the rows by `shared` transforms: numbers (n, F) float64 as they are, nan where a cell is empty,
and codes and tokens by one vocabulary. What each model makes of them is inside the file.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from src.data.columns import LIMIT, fitted_columns
from src.format import estimators, nets
from src.format.curves import interpolated, normal
from src.format.estimators import FLOAT, Graph, saved
from src.format.load import FILES, plain
from src.run.members import SMALLEST, leaves
from src.system.errors import UserError

BY_WORDS = ("word", "char", "kmer")  # tokenizers whose vocabularies can be put together
LEARNED = ("words", "max_len", "longest", "dtype")  # of them, from the rows of a fold


def refusal(leaf: dict, model, form: str) -> str | None:
    """Return why one of several models cannot be written; None where it can."""
    if "complements" in leaf["info"]:
        return "dataset.reverse_complement is not written for several models: export each of them"
    return _module(leaf).refusal(model, form)


def _module(leaf: dict):
    return nets if "net" in leaf["model"] else estimators


def shared(node: dict) -> dict:
    """Return transforms that make of rows what all models of a tree take; refuse models that do not fit."""
    numeric = {"scaler": None, "columns": {}, "dates": {}}
    found, texts = {"roles": {}, "categories": {}, "numeric": numeric}, []
    for one in (leaf["transforms"] for leaf in leaves(_without_stacks(node))):
        for role, names in one["roles"].items():
            found["roles"][role] = [*dict.fromkeys([*found["roles"].get(role, ()), *names])]
        for name, values in one["categories"].items():
            found["categories"][name] = sorted({*found["categories"].get(name, ()), *values})
        for name, date in one["numeric"].get("dates", {}).items():
            known = numeric["dates"].setdefault(name, date)
            numeric["dates"][name] = known | {"parts": known["parts"] | date["parts"]}
        for name, column in one["numeric"]["columns"].items():
            if numeric["columns"].setdefault(name, column).get("kind") != column.get("kind"):
                raise UserError(f"column {name} is read in two ways by its models: export each of them")
        texts += filter(None, [one.get("tokenizer")])
    return found | ({"tokenizer": _tokenizer(texts)} if texts else {})


def _without_stacks(node: dict) -> dict:
    """Return a tree without stacks, which read predictions alone."""
    return {"members": [*map(_without_stacks, node["members"])]} if "members" in node else node


def _tokenizer(texts: list[dict]) -> dict:
    """Return a tokenizer with the words of all; refuse those that cut texts in different ways."""
    first = texts[0]
    same = [{key: value for key, value in one.items() if key not in LEARNED} for one in texts]
    cut = any(one["max_len"] != first["max_len"] for one in texts)
    cut &= bool(first.get("special_tokens")) or first.get("truncate", "head") != "head"
    together = all(one == same[0] for one in same) and first["tokenizer"] in BY_WORDS and not cut
    if not together and any(one != first for one in texts):
        raise UserError("its models cut texts into tokens in different ways: export each of them")
    words = [*dict.fromkeys(word for one in texts for word in one["words"])]
    found = max(texts, key=lambda one: one["max_len"]) | {"words": words}
    return found | ({"dtype": "int32"} if "dtype" in found else {})


def write(node: dict, models: dict, info: dict, part: dict, path: Path, opset: int) -> None:
    """Write a tree of ``models``, by their file; ``part`` are a few rows by the `shared` transforms."""
    graph, whole = Graph(), shared(node)
    raw = {"x_num": "x_num", "columns": _columns(whole["numeric"]), "models": models, "opset": opset} | whole
    saved(graph, _predictions(graph, node, raw), info, part, path, opset)


def _predictions(graph: Graph, node: dict, raw: dict) -> str:
    """Add what `src.run.members.loaded` does; return its output (n, n_classes), or (n,) of values."""
    if "members" not in node:
        return _leaf(graph, node, raw)
    each = [_predictions(graph, one, raw) for one in node["members"]]
    if "stack" in node:
        info = leaves(node["stack"])[0]["info"]
        columns, k = [_feature(graph, p, info) for p in each], info["n_num_features"] // len(each)
        names = [f"m{i}_{j}" for i in range(len(each)) for j in range(k)]
        stacked = {"x_num": graph("Concat", *columns, axis=1), "columns": names}
        return _predictions(graph, node["stack"], raw | stacked)
    weights = node.get("weights") or [1 / len(each)] * len(each)
    return graph("Sum", *(graph("Mul", p, np.float64(one)) for p, one in zip(each, weights, strict=True)))


def _feature(graph: Graph, p: str, info: dict) -> str:
    """Add the columns of `src.run.members.features` for one member."""
    if info["task"] == "regression":
        return graph("Unsqueeze", p, np.array([1]))
    logs = graph("Log", graph("Max", p, np.float64(SMALLEST)))
    others = graph("Slice", logs, np.array([0]), np.array([-1]), np.array([1]))
    return graph("Sub", others, graph("Gather", logs, np.array([-1]), axis=1))


def _leaf(graph: Graph, leaf: dict, raw: dict) -> str:
    """Add one model, what makes its arrays, and its calibration."""
    own, info, places = leaf["transforms"], leaf["info"], {}
    few = {"x_num": np.zeros((3, info["n_num_features"]), np.float32)}  # three rows, by which a net is traced
    few |= {"x_cat": np.zeros((3, len(info["cat_cardinalities"])), np.int64)}
    few = {name: array for name, array in few.items() if array.size}
    if "x_num" in few:
        places["x_num"] = _numbers(graph, own["numeric"], raw)
    if "x_cat" in few:
        places["x_cat"] = _codes(graph, own["categories"], raw["categories"])
    if info["vocab_size"]:
        places |= _tokens(graph, own["tokenizer"], raw["tokenizer"])
        few |= {"input_ids": np.full((3, 5), 2), "attention_mask": np.ones((3, 5))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILES["onnx"])
        _module(leaf).write(raw["models"][leaf["file"]], info, plain(few), "onnx", path, raw["opset"])
        made = onnx.load(path).graph
    part = onnx.compose.add_prefix_graph(made, f"m{len(graph.nodes)}_")
    for one, placed in zip(made.input, part.input, strict=True):
        graph.nodes.append(helper.make_node("Identity", [places[one.name]], [placed.name]))
    graph.nodes += part.node
    graph.constants += part.initializer
    return _calibrated(graph, part.output[0].name, info.get("calibration"))


def _columns(state: dict) -> list:
    """Return the names of the numbers before they are scaled: of a part of a date with its part."""
    dates = state.get("dates", {}).items()
    return [*state["columns"], *((name, part) for name, date in dates for part in date["parts"])]


def _numbers(graph: Graph, state: dict, raw: dict) -> str:
    """Add what `src.data.columns.apply_numeric` does with the values of its columns: (n, F) float32."""
    places = np.array([raw["columns"].index(name) for name in _columns(state)])
    each = fitted_columns(state)
    row = lambda key: np.array([[one[key] for one in each]], np.float64)  # noqa: E731
    x, limits = graph("Gather", raw["x_num"], places, axis=1), (np.float64(-LIMIT), np.float64(LIMIT))
    missing = graph("IsNaN", x)
    x = graph("Where", missing, row("median"), graph("Clip", x, *limits))
    if state["scaler"] == "standard":
        x = graph("Div", graph("Sub", x, row("mean")), row("std"))
    if state["scaler"] == "quantile":
        x = normal(graph, x, [one["quantiles"] for one in each])
    flags = graph("Gather", missing, np.flatnonzero([one["flagged"] for one in each]), axis=1)
    blocks = [graph("Cast", block, to=FLOAT) for block in (graph("Clip", x, *limits), flags)]
    return graph("Concat", *blocks, axis=1)


def _codes(graph: Graph, own: dict, whole: dict) -> str:
    """Add the codes (n, C) of the columns of one model, from those of the shared vocabulary."""
    tables, columns = [], np.array([[*whole].index(name) for name in own])
    for name, values in own.items():
        code_of = {value: code for code, value in enumerate(values, start=2)}
        tables.append([0, 1, *(code_of.get(value, 0) for value in whole[name])])
    sizes = np.array([len(table) for table in tables])
    places = graph("Add", graph("Gather", "x_cat", columns, axis=1), np.cumsum(sizes) - sizes)
    return graph("Gather", np.concatenate(tables), places)


def _tokens(graph: Graph, own: dict, whole: dict) -> dict:
    """Add the tokens (n, T) of one model, from those of the shared vocabulary."""
    number_of = {word: i for i, word in enumerate(own["words"], start=2)}
    table = np.array([0, 1, *(number_of.get(word, 1) for word in whole["words"])])
    cut = (np.array([0]), np.array([own["max_len"]]), np.array([1]))
    ids, mask = (graph("Slice", name, *cut) for name in ("input_ids", "attention_mask"))
    return {"input_ids": graph("Gather", table, ids), "attention_mask": mask}


def _calibrated(graph: Graph, p: str, state: dict | None) -> str:
    """Add `src.metric.decision.calibrated`."""
    if state is None:
        return p
    if "curves" in state:
        curves = [(*map(np.array, one), np.interp(np.unique(one[0]), *one)) for one in state["curves"]]
        odds = interpolated(graph, p, curves)
    else:
        odds = graph("Pow", graph("Max", p, np.float64(1e-300)), np.float64(1 / state["temperature"]))
    return graph("Div", odds, graph("ReduceSum", odds, np.array([1])))

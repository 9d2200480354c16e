"""An estimator of scikit-learn in ONNX, from the arrays of a part to probabilities or values."""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import FloatTensorType

from src.format import trees
from src.format.load import units
from src.model.estimator import BOOSTING, Estimator
from src.system.errors import UserError

ML = 3  # version of ai.onnx.ml
FLOAT, DOUBLE, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
MAX_BYTES = 2**31 - 10**6  # of a file of protobuf


class Graph:
    """Nodes and constants; a call adds a node, its inputs names or NumPy arrays, and returns its output."""

    tensor = staticmethod(numpy_helper.from_array)

    def __init__(self):
        self.nodes, self.constants = [], []

    def __call__(self, op: str, *inputs, n_outputs: int = 1, **attributes):
        names, outputs = [], [f"v{len(self.nodes)}_{i}" for i in range(n_outputs)]
        for one in inputs:
            names.append(one if isinstance(one, str) else f"c{len(self.constants)}")
            if not isinstance(one, str):
                self.constants.append(numpy_helper.from_array(np.asarray(one), names[-1]))
        self.nodes.append(helper.make_node(op, names, outputs, **attributes))
        return outputs[0] if n_outputs == 1 else outputs


def refusal(estimator: Estimator, form: str) -> str | None:
    """Return why an estimator cannot be written as ONNX; None where it can."""
    model, name = estimator.model, type(estimator.model).__name__
    if estimator.info["task"] != "regression" and not hasattr(model, "predict_proba"):
        return f"{name} has no predict_proba, and ONNX has no scores that are its own: use format=skops"
    if name.startswith("KNeighbors"):
        if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
            return f"{name} needs Euclidean distances, and weights uniform or distance: use format=skops"
        if math.prod(model._fit_X.shape) > 5e7:
            return f"its rows are a matrix of {' x '.join(map(str, model._fit_X.shape))}: use format=skops"
    elif name.startswith("HistGradientBoosting") or estimator.library in BOOSTING:
        return trees.refusal(estimator)
    elif type(model) not in sklearn_operator_name_map:
        return f"skl2onnx does not know {name}: skops or joblib may hold it"
    return None


def write(estimator: Estimator, info: dict, arrays: dict, form: str, path: Path, opset: int) -> None:
    """Write what `Estimator.matrix` and `Estimator.predict` do; skl2onnx, but for two, writes the model."""
    graph, model, name = Graph(), estimator.model, type(estimator.model).__name__
    x = matrix(graph, estimator)
    if name.startswith("HistGradientBoosting") or estimator.library in BOOSTING:
        p = trees.boosted(graph, estimator, x)  # skl2onnx 1.20: wrong with categories (sklearn-onnx#1051)
    elif name.startswith("KNeighbors"):  # a row of the training part came out wrong by .9
        p = neighbours(graph, model, x)
    else:
        p = by_skl2onnx(graph, model, x, info, opset)
    p = graph("Cast", p, to=DOUBLE)
    if info["task"] == "regression":
        scale, mean, transform = units(info)
        p = graph("Add", graph("Mul", graph("Reshape", p, [-1]), np.float64(scale)), np.float64(mean))
        if transform:
            p = graph("Sub", graph("Exp", graph("Min", p, np.float64(230))), np.float64(transform["add"]))
    saved(graph, p, info, arrays, path, opset)


def saved(graph: Graph, p: str, info: dict, arrays: dict, path: Path, opset: int) -> None:
    """Write a graph with ``arrays`` as inputs and ``p``, of float64, as output; refuse a file too large."""
    size = sum(one.ByteSize() for one in [*graph.nodes, *graph.constants])
    if size > MAX_BYTES:
        limit = f"{MAX_BYTES / 1e9:.1f} GB, and this would have {size / 1e9:.1f}"
        raise UserError(f"an ONNX file holds at most {limit}: export fewer models")
    graph.nodes.append(helper.make_node("Identity", [p], ["p"]))
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
    inputs = [helper.make_tensor_value_info(name, kind, ["rows", None]) for name, kind in kinds.items()]
    shape = ["rows"] if info["task"] == "regression" else ["rows", info["n_outputs"]]
    outputs = [helper.make_tensor_value_info("p", DOUBLE, shape)]
    whole = helper.make_graph(graph.nodes, "run", inputs, outputs, graph.constants)
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ML)]
    onnx.save(helper.make_model(whole, opset_imports=versions, ir_version=10), path)


def matrix(graph: Graph, estimator: Estimator) -> str:
    """Add what `Estimator.matrix` does; return its output (n, features)."""
    info, sizes = estimator.info, np.array(estimator.info["cat_cardinalities"], np.int64)
    blocks = ["x_num"] if info["n_num_features"] else []
    if len(sizes) and estimator.categories == "onehot":
        places = graph("Add", "x_cat", np.cumsum(sizes) - sizes)  # (n, C)
        hot = graph("OneHot", places, np.array([sizes.sum()]), np.array([0, 1], np.float32))  # (n, C, all)
        blocks.append(graph("ReduceSum", hot, np.array([1]), keepdims=0))
    elif len(sizes):
        blocks.append(graph("Cast", "x_cat", to=FLOAT))
    if estimator.tfidf is not None and info.get("sequence_as") == "onehot":
        blocks.append(by_place(graph, estimator))
    elif estimator.tfidf is not None:
        blocks.append(tfidf(graph, estimator.tfidf, exactly=estimator.library == "xgboost"))
    return graph("Concat", *blocks, axis=1)


def by_place(graph: Graph, estimator: Estimator) -> str:
    """Add a column for each letter at each place that varied in training: (n, T) -> (n, columns)."""
    size, longest = estimator.info["vocab_size"], estimator.info["max_len"]
    ids = graph("Where", "attention_mask", "input_ids", np.int64(size))  # padding: OneHot has none
    ids = graph("Pad", ids, np.array([0, 0, 0, longest]), np.int64(size))
    ids = graph("Slice", ids, np.array([0]), np.array([longest]), np.array([1]))
    hot = graph("OneHot", ids, np.array([size]), np.array([0, 1], np.float32))  # (n, longest, size)
    return graph("Gather", graph("Reshape", hot, np.array([0, -1])), estimator.varying, axis=1)


def tfidf(graph: Graph, vectorizer, exactly: bool = False) -> str:
    """Add what a fitted TfidfVectorizer does with the token numbers of each row: (n, T) -> (n, n-grams).

    exactly : to the last bit as scikit-learn: thresholds of XGBoost are values of training rows
    """
    grams = [(tuple(map(int, gram.split())), column) for gram, column in vectorizer.vocabulary_.items()]
    grams.sort(key=lambda one: (len(one[0]), one[1]))
    low, high = vectorizer.ngram_range
    sizes = [len(gram) for gram, _ in grams]
    starts = [sum(size * sizes.count(size) for size in range(1, n)) for n in range(1, high + 1)]
    counts = graph(
        "TfIdfVectorizer", "input_ids", mode="TF", min_gram_length=low, max_gram_length=high,
        max_skip_count=0, ngram_counts=starts, ngram_indexes=[column for _, column in grams],
        pool_int64s=[token for gram, _ in grams for token in gram],
    )  # fmt: skip
    one = np.float32(1)
    if vectorizer.binary:
        counts = graph("Min", counts, one)
    if vectorizer.sublinear_tf:
        log = graph("Log", graph("Max", counts, one))
        counts = graph("Add", graph("Min", counts, one), log)  # 0, or 1 + log
    if vectorizer.use_idf:
        counts = graph("Mul", counts, vectorizer.idf_.astype(np.float32))
    if exactly and vectorizer.norm == "l2":
        squares = graph("Cast", graph("Mul", counts, counts), to=DOUBLE)
        norm = graph("Sqrt", graph("Max", graph("ReduceSum", squares, np.array([1])), np.float64(1e-60)))
        return graph("Cast", graph("Div", graph("Cast", counts, to=DOUBLE), norm), to=FLOAT)
    if vectorizer.norm:
        norm = graph("ReduceL2" if vectorizer.norm == "l2" else "ReduceL1", counts, np.array([1]))
        counts = graph("Div", counts, graph("Max", norm, np.float32(1e-30)))
    return counts


def neighbours(graph: Graph, model, x: str) -> str:
    """Add k-NN: candidates by a product of matrices, then their exact distances: that of a copy is 0."""
    points = model._fit_X.toarray() if hasattr(model._fit_X, "toarray") else model._fit_X
    points = points.astype(np.float64)  # (N, F)
    k, x = model.n_neighbors, graph("Cast", x, to=DOUBLE)
    near = graph("Sub", (points**2).sum(1), graph("MatMul", x, 2 * points.T.copy()))  # (n, N), less |x|^2
    some = graph("TopK", near, np.array([min(len(points), k + 16)]), n_outputs=2, largest=0)[1]
    gaps = graph("Sub", graph("Gather", points, some), graph("Unsqueeze", x, np.array([1])))  # (n, k + 16, F)
    exact = graph("ReduceL2", gaps, np.array([2]), keepdims=0)
    distance, order = graph("TopK", exact, np.array([k]), n_outputs=2, largest=0)  # (n, k)
    weight = np.ones((1, k))
    if model.weights == "distance":  # those at 0 alone, where there are any
        copies = graph("Cast", graph("Equal", distance, np.float64(0)), to=DOUBLE)
        there = graph("Cast", graph("ReduceMax", copies, np.array([1])), to=onnx.TensorProto.BOOL)
        weight = graph("Where", there, copies, graph("Reciprocal", distance))
    values = np.eye(len(model.classes_))[model._y] if hasattr(model, "classes_") else model._y.reshape(-1, 1)
    some = graph("GatherElements", some, order, axis=1)
    votes = graph("Gather", values.astype(np.float64), some)  # (n, k, K)
    weight = graph("Unsqueeze", weight, np.array([2]))
    total = graph("ReduceSum", graph("Mul", votes, weight), np.array([1]), keepdims=0)
    return graph("Div", total, graph("ReduceSum", weight, np.array([1]), keepdims=0))


def by_skl2onnx(graph: Graph, model, x: str, info: dict, opset: int) -> str:
    """Add what skl2onnx writes of a model, its names apart from ours."""
    classes, kind = info["task"] != "regression", [("x", FloatTensorType([None, model.n_features_in_]))]
    options, versions = {id(model): {"zipmap": False}} if classes else None, {"": opset, "ai.onnx.ml": ML}
    made = convert_sklearn(model, initial_types=kind, options=options, target_opset=versions)
    part = onnx.compose.add_prefix_graph(made.graph, "model_")
    graph.nodes += [helper.make_node("Identity", [x], [part.input[0].name]), *part.node]
    graph.constants += part.initializer
    return part.output[1 if classes else 0].name

"""HistGradientBoosting in ONNX, native categories included: the trees of all stages in one node."""

import numpy as np


def boosted(graph, model, x: str, info: dict) -> str:
    """Add a fitted HistGradientBoosting, which reads the matrix ``x`` (n, D); return its output.

    A split by a set of categories becomes a split by a column of its own: 0 for a code that goes left, else
    1. Thresholds are float64 and cells float32: rounded down, no cell changes its side.
    """
    native = np.flatnonzero(np.zeros(0) if model.is_categorical_ is None else model.is_categorical_)
    columns = np.r_[native, np.setdiff1d(np.arange(model.n_features_in_), native)]  # in the trees' order
    trees, sets = [(k, tree) for stage in model._predictors for k, tree in enumerate(stage)], {}
    for _, tree in trees:
        for node in tree.nodes[tree.nodes["is_categorical"] == 1]:
            key = int(node["feature_idx"]), _goes_right(model, tree, node, info, native).tobytes()
            sets.setdefault(key[0], {}).setdefault(key[1], None)
    first, places = model.n_features_in_, {}
    for column, known in sorted(sets.items()):
        table = np.stack([np.frombuffer(one, np.float32) for one in known], 1)  # (codes, sets)
        code = graph("Gather", "x_cat", np.int64(native[column] - info["n_num_features"]), axis=1)
        x = graph("Concat", x, graph("Gather", table, code), axis=1)
        places |= {(column, one): first + i for i, one in enumerate(known)}
        first += len(known)
    parts = []
    for i, (k, tree) in enumerate(trees):
        nodes, leaf = tree.nodes, tree.nodes["is_leaf"] == 1
        feature, threshold = columns[nodes["feature_idx"]], _down(nodes["num_threshold"])
        for at in np.flatnonzero(nodes["is_categorical"]):
            right = _goes_right(model, tree, nodes[at], info, native).tobytes()
            feature[at], threshold[at] = places[int(nodes[at]["feature_idx"]), right], 0.5
        parts.append({
            "nodes_treeids": np.full(len(nodes), i), "nodes_nodeids": np.arange(len(nodes)),
            "nodes_featureids": np.where(leaf, 0, feature), "nodes_values": np.where(leaf, 0, threshold),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(leaf, 0, nodes["left"]),
            "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]),
            "target_treeids": np.full(leaf.sum(), i), "target_nodeids": np.flatnonzero(leaf),
            "target_ids": np.full(leaf.sum(), k), "target_weights": nodes["value"][leaf],
        })  # fmt: skip
    attributes = {name: np.concatenate([part[name] for part in parts]).tolist() for name in parts[0]}
    n = model.n_trees_per_iteration_
    raw = graph("TreeEnsembleRegressor", x, domain="ai.onnx.ml", n_targets=n, **attributes)  # (n, K)
    raw = graph("Add", graph("Cast", raw, to=11), model._baseline_prediction.astype(np.float64))  # as float64
    if info["task"] == "regression":
        return graph("Exp", raw) if type(model._loss.link).__name__ == "LogLink" else raw
    if n > 1:
        return graph("Softmax", raw, axis=1)
    p = graph("Sigmoid", raw)
    return graph("Concat", graph("Sub", np.float64(1), p), p, axis=1)


def _goes_right(model, tree, node, info: dict, native: np.ndarray) -> np.ndarray:
    """Return for each code of the column of a split whether it goes right: (codes,) float32."""
    column = int(node["feature_idx"])
    known = model._preprocessor.named_transformers_["encoder"].categories_[column]
    bits = tree.raw_left_cat_bitsets[node["bitset_idx"]]  # (8,) uint32
    place = np.arange(len(known))
    codes = np.arange(info["cat_cardinalities"][native[column] - info["n_num_features"]])
    right = np.full(len(codes), not node["missing_go_to_left"], np.float32)  # of unseen codes
    right[known.astype(int)] = 1 - (bits[place // 32] >> (place % 32).astype(np.uint32) & 1)
    return right


def _down(values: np.ndarray) -> np.ndarray:
    low = values.astype(np.float32)
    return np.where(low > values, np.nextafter(low, np.float32(-np.inf)), low)

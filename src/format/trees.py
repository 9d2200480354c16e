"""HistGradientBoosting in ONNX, native categories included: the trees of all stages in one node."""

import numpy as np


def boosted(graph, model, x: str, info: dict) -> str:
    """Add a fitted HistGradientBoosting, which reads the matrix ``x`` (n, D); return its output.

    A split by a set of categories becomes a split by a column of its own: 0 for a code that goes left, else
    1. Thresholds are float64 and cells float32: rounded down, no cell changes its side.
    """
    native = np.flatnonzero(np.zeros(0) if model.is_categorical_ is None else model.is_categorical_)
    columns = np.r_[native, np.setdiff1d(np.arange(model.n_features_in_), native)]  # in the trees' order
    parts, tables, trees = [], {}, [pair for stage in model._predictors for pair in enumerate(stage)]
    for i, (target, tree) in enumerate(trees):
        nodes, leaf = tree.nodes, tree.nodes["is_leaf"] == 1
        feature, threshold = columns[nodes["feature_idx"]], _down(nodes["num_threshold"])
        for at in np.flatnonzero(nodes["is_categorical"]):
            side = _goes_right(model, tree, nodes[at], info, native)
            key = int(feature[at]) - info["n_num_features"], side.tobytes()
            tables.setdefault(key, (model.n_features_in_ + len(tables), side))
            feature[at], threshold[at] = tables[key][0], 0.5
        parts.append({
            "nodes_treeids": np.full(len(nodes), i), "nodes_nodeids": np.arange(len(nodes)),
            "nodes_featureids": np.where(leaf, 0, feature), "nodes_values": np.where(leaf, 0, threshold),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"), "target_nodeids": np.flatnonzero(leaf),
            "nodes_truenodeids": np.where(leaf, 0, nodes["left"]), "target_treeids": np.full(leaf.sum(), i),
            "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]), "target_weights": nodes["value"][leaf],
            "target_ids": np.full(leaf.sum(), target),
        })  # fmt: skip
    if tables:  # every set in one, one after the other
        starts = np.cumsum([0, *(len(side) for _, side in tables.values())])[:-1]
        codes = graph("Gather", "x_cat", np.array([column for column, _ in tables]), axis=1)  # (n, sets)
        sides = np.concatenate([side for _, side in tables.values()])
        x = graph("Concat", x, graph("Gather", sides, graph("Add", codes, starts)), axis=1)
    attributes = {name: np.concatenate([part[name] for part in parts]).tolist() for name in parts[0]}
    attributes["n_targets"] = model.n_trees_per_iteration_
    raw = graph("TreeEnsembleRegressor", x, domain="ai.onnx.ml", **attributes)  # (n, K)
    raw = graph("Add", graph("Cast", raw, to=11), model._baseline_prediction.astype(np.float64))  # as float64
    if info["task"] == "regression":
        return graph("Exp", raw) if type(model._loss.link).__name__ == "LogLink" else raw
    if info["task"] == "multiclass":
        return graph("Softmax", raw, axis=1)
    p = graph("Sigmoid", raw)
    return graph("Concat", graph("Sub", np.float64(1), p), p, axis=1)


def _goes_right(model, tree, node, info: dict, native: np.ndarray) -> np.ndarray:
    """Return for each code of the column of a split whether it goes right: (codes,) float32."""
    known = model._preprocessor.named_transformers_["encoder"].categories_[node["feature_idx"]].astype(int)
    bits, place = tree.raw_left_cat_bitsets[node["bitset_idx"]], np.arange(len(known))  # (8,) uint32
    n_codes = info["cat_cardinalities"][native[node["feature_idx"]] - info["n_num_features"]]
    right = np.full(n_codes, not node["missing_go_to_left"], np.float32)  # of codes that training never saw
    right[known] = 1 - (bits[place // 32] >> (place % 32).astype(np.uint32) & 1)
    return right


def _down(values: np.ndarray) -> np.ndarray:
    low = values.astype(np.float32)
    return np.where(low > values, np.nextafter(low, np.float32(-np.inf)), low)

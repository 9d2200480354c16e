"""Boosted trees in ONNX, native categories included: the trees of all stages in one node.

A tree is {"rows", "targets"}: rows [feature, threshold, left, right, empty, values] of nodes, by which
x <= threshold (of XGBoost x < threshold) goes to the row ``left``, else ``right``; ``empty`` says whether an
empty cell goes left, too. A leaf has ``values``, which it adds to the outputs ``targets``; a split has none.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from src.system.errors import UserError

DOUBLE = 11  # of onnx
LINKS = {  # what the sum of the trees becomes, by the loss of LightGBM, XGBoost or CatBoost
    "sigmoid": "binary binary:logistic Logloss CrossEntropy",
    "softmax": "multiclass multi:softprob MultiClass",
    "exp": "poisson gamma tweedie count:poisson reg:gamma reg:tweedie",
    "identity": "regression regression_l1 huber fair quantile mape reg:squarederror reg:absoluteerror "
    "reg:pseudohubererror reg:quantileerror RMSE MAE Quantile Huber MAPE",
}


def boosted(graph, estimator, x: str) -> str:
    """Add a fitted estimator of boosted trees, which reads the matrix ``x`` (n, D); return its output."""
    strictly = estimator.library == "xgboost"
    if strictly and estimator.reads_sparse():  # it takes zeros there for empty cells
        x = graph("Where", graph("Equal", x, np.float32(0)), np.float32("nan"), x)
    trees, baseline, link = READERS.get(estimator.library, _hist_gb)(estimator)
    raw = graph("Add", added(graph, trees, x, len(baseline), strictly), baseline)
    if link in ("exp", "identity"):
        return graph("Exp", raw) if link == "exp" else raw
    if link == "softmax":
        return graph("Softmax", raw, axis=1)
    p = graph("Sigmoid", raw)
    return graph("Concat", graph("Sub", np.float64(1), p), p, axis=1)


def refusal(estimator) -> str | None:
    """Return why `boosted` cannot write an estimator; None where it can."""
    try:
        READERS.get(estimator.library, _hist_gb)(estimator)
    except UserError as error:
        return str(error)
    return None


def added(graph, trees: list[dict], x: str, n_targets: int, strictly: bool = False) -> str:
    """Add trees, compared and summed in float64; return the sums (n, n_targets)."""
    names = ("featureids", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    nodes = {f"nodes_{name}": [] for name in (*names, "treeids", "nodeids", "modes")}
    leaves = {f"target_{name}": [] for name in ("weights", "treeids", "nodeids", "ids")}
    for i, tree in enumerate(trees):
        for k, (*split, values) in enumerate(tree["rows"]):
            mode = "BRANCH_LT" if strictly else "BRANCH_LEQ"
            if len(values):
                split, mode = [0] * 5, "LEAF"
            for column, cell in zip(nodes.values(), (*split, i, k, mode), strict=True):
                column.append(cell)
            for target, value in zip(tree["targets"], values, strict=False):
                for column, cell in zip(leaves.values(), (value, i, k, target), strict=True):
                    column.append(cell)
    nodes["nodes_values_as_tensor"] = graph.tensor(np.array(nodes.pop("nodes_values"), np.float64))
    leaves["target_weights_as_tensor"] = graph.tensor(np.array(leaves.pop("target_weights"), np.float64))
    x = graph("Cast", x, to=DOUBLE)
    attributes = nodes | leaves | {"n_targets": n_targets}
    found = graph("TreeEnsembleRegressor", x, domain="ai.onnx.ml", **attributes)
    return graph("Cast", found, to=DOUBLE)  # it rounds its sums to float32


def _by_sets(rows: list[list], sides: dict) -> list[list]:
    """Make a chain of thresholds between codes of each split by a set: {row: for each code, goes it right?}.

    Both sides are reached from several rows of a chain; ONNX Runtime allows that of the branch where a
    comparison is true.
    """
    for at, right in sides.items():
        feature, _, *both = rows[at][:4]
        ends = np.flatnonzero(right[1:] != right[:-1])  # the last code of each run of codes of one side
        rows[at][1] = -1 if right[0] else len(right)  # all codes on one side
        for i, end in enumerate(ends, start=1):
            after = len(rows) if i < len(ends) else both[int(right[end + 1])]
            rows[at][:] = [feature, end + 0.5, both[int(right[end])], after, 0, ()]
            if i < len(ends):
                at = len(rows)
                rows.append([0] * 6)
    return rows


def _bits(words, size: int) -> np.ndarray:
    """Return the first ``size`` bits of uint32 words as flags; those after the last word are off."""
    bits = np.unpackbits(np.asarray(words, "<u4").view(np.uint8), bitorder="little")[:size]
    return np.pad(bits, (0, size - len(bits))).astype(bool)


def _n_codes(estimator, column: int) -> int:
    return estimator.info["cat_cardinalities"][column - estimator.info["n_num_features"]]


def _link(library: str, loss: str, written: bool = True) -> str:
    """Return the key of `LINKS` with a loss; refuse another, and what is not ``written``."""
    found = [link for link, losses in LINKS.items() if loss in losses.split()]
    if not found or not written:
        raise UserError(f"{library}'s {loss}, with its options, is not written: use format=joblib")
    return found[0]


# -- readers: trees, baseline (outputs,), link


def _hist_gb(estimator) -> tuple:
    model, trees = estimator.model, []
    native = np.flatnonzero(np.zeros(0) if model.is_categorical_ is None else model.is_categorical_)
    columns = np.r_[native, np.setdiff1d(np.arange(model.n_features_in_), native)]  # in the trees' order
    names = ("num_threshold", "left", "right", "missing_go_to_left", "value", "is_leaf")
    for target, tree in (pair for stage in model._predictors for pair in enumerate(stage)):
        nodes, sides = tree.nodes, {}
        cells = zip(columns[nodes["feature_idx"]], *(nodes[name] for name in names), strict=True)
        rows = [[*split, (value,) if leaf else ()] for *split, value, leaf in cells]
        for at in np.flatnonzero(nodes["is_categorical"]):
            node, encoder = nodes[at], model._preprocessor.named_transformers_["encoder"]
            known = encoder.categories_[node["feature_idx"]].astype(int)
            size = _n_codes(estimator, native[node["feature_idx"]])
            sides[at] = np.full(size, not node["missing_go_to_left"])  # of codes that training never saw
            sides[at][known] = ~_bits(tree.raw_left_cat_bitsets[node["bitset_idx"]], len(known))
        trees.append({"rows": _by_sets(rows, sides), "targets": [target]})
    link = {"regression": "identity", "multiclass": "softmax"}.get(estimator.info["task"], "sigmoid")
    link = "exp" if type(model._loss.link).__name__ == "LogLink" else link
    return trees, model._baseline_prediction.astype(np.float64).reshape(-1), link


def _lightgbm(estimator) -> tuple:
    text, trees = estimator.model.booster_.model_to_string(), []
    head, *sections = text.partition("\nend of trees")[0].split("\nTree=")
    loss, *options = dict(line.partition("=")[::2] for line in head.splitlines())["objective"].split()
    options = dict(option.partition(":")[::2] for option in options)
    written = "sqrt" not in options and "\naverage_output" not in head and options.get("sigmoid", "1") == "1"
    n_targets = int(options.get("num_class", 1))
    for i, section in enumerate(sections):
        lines = dict(line.partition("=")[::2] for line in section.splitlines()[1:])
        whole = lambda name: np.array(lines.get(name, "").split(), np.int64)  # noqa: B023, E731
        kinds, features = whole("decision_type"), whole("split_feature")
        bounds, words = whole("cat_boundaries"), whole("cat_threshold")
        written &= lines.get("is_linear") != "1" and not (kinds >> 2 & 3 == 1).any()  # zero_as_missing
        cuts, n = np.array(lines.get("threshold", "").split(), np.float64), len(kinds)
        left, right = (np.where(one < 0, n + ~one, one) for one in map(whole, ("left_child", "right_child")))
        rows = [[*cells, 0, ()] for cells in zip(features, cuts, left, right, strict=True)]
        rows += [[0, 0, 0, 0, 0, (float(value),)] for value in lines["leaf_value"].split()]
        sets = {at: slice(*bounds[int(cuts[at]) :][:2]) for at in np.flatnonzero(kinds & 1)}
        sides = {at: ~_bits(words[one], _n_codes(estimator, features[at])) for at, one in sets.items()}
        trees.append({"rows": _by_sets(rows, sides), "targets": [i % n_targets]})
    return trees, np.zeros(n_targets), _link("LightGBM", loss, written)


def _xgboost(estimator) -> tuple:
    booster = estimator.model.get_booster()
    best = booster.attr("best_iteration")
    booster = booster[: int(best) + 1] if best else booster  # with which it predicts
    learner = json.loads(booster.save_raw("json"))["learner"]
    kind, made = learner["gradient_booster"]["name"], learner["gradient_booster"].get("model", {})
    written = kind == "gbtree" and np.isnan(estimator.model.missing)
    link, trees = _link("XGBoost", learner["objective"]["name"], written), []
    names = ("left_children", "right_children", "default_left")
    for target, tree in zip(made["tree_info"], made["trees"], strict=True):
        cuts, sides = np.array(tree["split_conditions"], np.float32), {}  # of a leaf its value
        cells = zip(tree["split_indices"], cuts, *(tree[name] for name in names), strict=True)
        rows = [[*row, (row[1],) if row[2] < 0 else ()] for row in cells]
        places = (tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"])
        for at, start, size in zip(*places, strict=True):
            sides[at] = np.zeros(_n_codes(estimator, tree["split_indices"][at]), bool)
            sides[at][tree["categories"][start : start + size]] = True
        trees.append({"rows": _by_sets(rows, sides), "targets": [target]})
    base = np.array(json.loads(learner["learner_model_param"]["base_score"]), np.float64).reshape(-1)
    base = {"sigmoid": lambda p: np.log(p / (1 - p)), "exp": np.log}.get(link, np.array)(base)
    return trees, np.broadcast_to(base, max(1, int(learner["learner_model_param"]["num_class"]))), link


def _catboost(estimator) -> tuple:
    loss, trees = estimator.model.get_all_params()["loss_function"].partition(":")[0], []
    with tempfile.TemporaryDirectory() as folder:
        estimator.model.save_model(f"{folder}/model.json", format="json")
        made = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))
    scale, bias = made["scale_and_bias"]
    link = _link("CatBoost", loss, "oblivious_trees" in made)
    features = [one["flat_feature_index"] for one in made["features_info"].get("float_features", ())]
    for tree in made["oblivious_trees"]:
        splits, rows = (tree["splits"] or [])[::-1], []  # the first split is the last bit of a leaf's number
        if any(one["split_type"] != "FloatFeature" for one in splits):
            advice = "use format=joblib, or train with model.categories=onehot"
            raise UserError(f"CatBoost's statistics of categories are not written: {advice}")
        for k, one in enumerate(splits):
            cut = [features[one["float_feature_index"]], one["border"]]
            level = range(2**k - 1, 2 ** (k + 1) - 1)
            rows += [[*cut, 2 * at + 1, 2 * at + 2, 0, ()] for at in level]
        values = scale * np.array(tree["leaf_values"]).reshape(2 ** len(splits), -1)
        rows += [[0, 0, 0, 0, 0, value] for value in values]
        trees.append({"rows": rows, "targets": range(len(bias))})
    return trees, np.array(bias, np.float64), link


READERS = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}

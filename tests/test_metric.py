"""Metrics equal scikit-learn's and torchmetrics', are nan where undefined; the deciding one is chosen."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sk

from src.metric import functions
from src.metric.choose import better, choose, compute, loss
from src.metric.functions import accuracy, auroc, average_precision, f1, f1_macro, log_loss, mcc, r2, spearman
from src.metric.words import METRICS, check_name
from src.system.errors import UserError

BINARY = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "f1": lambda y, p: sk.f1_score(y, p.argmax(1)),
    "f1_binary": lambda y, p: sk.f1_score(y, p.argmax(1)),
    "f1_macro": lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(1)),
    "auroc": lambda y, p: sk.roc_auc_score(y, p[:, 1]),
    "average_precision": lambda y, p: sk.average_precision_score(y, p[:, 1]),
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(p.shape[1])),
    "calibration_error": lambda y, p: torch_calibration_error(y, p),
}
MULTICLASS = {name: BINARY[name] for name in BINARY if name != "f1_binary"} | {
    "f1": BINARY["f1_macro"],
    "auroc": partial(sk.roc_auc_score, multi_class="ovr", average="macro"),
    "average_precision": partial(sk.average_precision_score, average="macro"),
}
REGRESSION = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
    "spearman": lambda y, p: scipy.stats.spearmanr(y, p).statistic,
}


def torch_calibration_error(y, p):
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    y, p = torch.from_numpy(y), torch.from_numpy(p)
    return float(multiclass_calibration_error(p, y, num_classes=p.shape[1], n_bins=15, norm="l1"))


def probabilities(n_classes: int, seed: int, ties: bool, n: int = 300):
    """y (n,) with every class in it, p (n, n_classes); with ties, p takes few values."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    scores = rng.random((n, n_classes)) + 0.4 * np.eye(n_classes)[y]
    scores = np.round(scores * 4) + 1 if ties else scores
    return y, scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BINARY)
def test_binary_equals_referee(name, seed, ties):
    y, p = probabilities(2, seed, ties)
    assert getattr(functions, name)(y, p) == pytest.approx(BINARY[name](y, p), rel=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MULTICLASS)
def test_multiclass_equals_referee(name, seed, ties):
    y, p = probabilities(5, seed, ties)
    assert getattr(functions, name)(y, p) == pytest.approx(MULTICLASS[name](y, p), rel=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_equals_referee(name, rounded):
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=200), rng.normal(size=200)
    y, p = (np.round(y), np.round(y + p)) if rounded else (y, y + p)
    assert getattr(functions, name)(y, p) == pytest.approx(REGRESSION[name](y, p), rel=1e-12)


def test_every_metric_has_a_referee():
    assert set(METRICS) == {*BINARY, *MULTICLASS, *REGRESSION}


@pytest.mark.parametrize(
    "name", ["accuracy", "balanced_accuracy", "f1_macro", "mcc", "log_loss", "calibration_error"]
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_class_absent_from_y(name):
    y, p = probabilities(3, 0, ties=False)
    p4 = np.column_stack([p * 0.9, np.full(len(p), 0.1)])  # class 3 occurs nowhere
    p4[:7] = [0.1, 0.1, 0.1, 0.7]  # but is predicted
    assert getattr(functions, name)(y, p4) == pytest.approx(MULTICLASS[name](y, p4), rel=1e-6)


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
def test_ranking_with_an_absent_class_is_nan(name):
    y, p = probabilities(3, 0, ties=False)
    y = np.where(y == 2, 1, y)
    assert math.isnan(getattr(functions, name)(y, p))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_auroc_average_precision_equal_torchmetrics(kind):
    import torch
    from torchmetrics.functional.classification import multiclass_auroc, multiclass_average_precision

    y, p = probabilities(4, 1, ties=True)
    y_torch, p_torch = torch.from_numpy(y), torch.from_numpy(p)
    assert auroc(y, p.astype(kind)) == pytest.approx(float(multiclass_auroc(p_torch, y_torch, 4)), rel=1e-5)
    expected = float(multiclass_average_precision(p_torch, y_torch, 4))
    assert average_precision(y, p.astype(kind)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_has_no_ranking(only):
    y, p = np.full(10, only), probabilities(2, 0, ties=False, n=10)[1]
    assert math.isnan(auroc(y, p))
    assert math.isnan(mcc(y, p))
    assert accuracy(y, p) == sk.accuracy_score(y, p.argmax(1))
    assert math.isnan(average_precision(y, p)) == (only == 0)


def test_mcc_of_constant_predictions_is_nan():
    assert math.isnan(mcc(np.array([0, 1, 1]), np.tile([0.2, 0.8], (3, 1))))


def test_f1_that_never_occurs_is_nan():
    y, p = np.zeros(4, int), np.tile([0.9, 0.1], (4, 1))
    assert math.isnan(f1(y, p))
    assert f1_macro(y, p) == 1.0


def test_f1_without_a_hit_is_zero():
    assert f1(np.array([1, 0]), np.array([[0.9, 0.1], [0.1, 0.9]])) == 0.0


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("error")
def test_no_rows_is_nan(name):
    p = np.zeros(0) if "regression" in METRICS[name]["tasks"] else np.zeros((0, 2))
    y = np.zeros(0) if p.ndim == 1 else np.zeros(0, int)
    assert math.isnan(getattr(functions, name)(y, p))


@pytest.mark.parametrize("constant", [3.0, 0.1])  # the mean of seven 0.1 is not 0.1
@pytest.mark.parametrize("name", ["r2", "spearman"])
def test_constant_target_is_nan(name, constant):
    assert math.isnan(getattr(functions, name)(np.full(7, constant), np.linspace(0, 1, 7)))


def test_constant_predictions():
    y = np.arange(5.0)
    assert math.isnan(spearman(y, np.full(5, 2.0)))
    assert r2(y, np.full(5, 2.0)) == 0.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_r2_of_years_is_computed_in_float64(kind):
    rng = np.random.default_rng(0)
    y = rng.normal(2000, 3, size=5000).astype(kind)
    p = (y + rng.normal(0, 1, size=5000)).astype(kind)
    assert r2(y, p) == pytest.approx(sk.r2_score(y.astype(np.float64), p.astype(np.float64)), abs=1e-12)


def test_log_loss_of_a_sure_mistake_is_finite():
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-15))


def test_log_loss_of_float32_rows():
    y, p = probabilities(3, 0, ties=False)
    assert log_loss(y, p.astype(np.float32)) == pytest.approx(log_loss(y, p), rel=1e-6)


@pytest.mark.parametrize("task,default,mode", [("binary", "accuracy", "max"), ("regression", "rmse", "min")])
def test_default_metric(task, default, mode):
    metric = choose(None, None, task)
    assert (metric["name"], metric["mode"]) == (default, mode)


@pytest.mark.parametrize(
    "name,mode,task,says",
    [
        ("acuracy", None, "binary", "acuracy is unknown: did you mean accuracy.; known: accuracy, "),
        ("rmse", None, "binary", "not a metric of a binary task; choose one of accuracy"),
        ("rmse", None, "classification", "not a metric of a classification task"),
        ("f1_binary", None, "multiclass", "not a metric of a multiclass task"),
        ("auroc", "min", "binary", "better when higher"),
        ("sklearn.metrics.accuracy_score", None, "binary", "own function: add metric_mode=max or"),
        ("sklearn.metrics.accuracy_score", "up", "binary", "own function: add metric_mode=max or"),
        ("sklearn.metrics.no_such_score", "max", "binary", "cannot be imported"),
        ("no_such_module.score", "max", "binary", "cannot be imported"),
        ("math.pi", "max", "binary", "is not a function"),
    ],
)
def test_choose_refuses(name, mode, task, says):
    with pytest.raises(UserError, match=says):
        check_name(name, mode, task)
        choose(name, mode, task)


def test_users_function_binary_gets_class_1():
    y, p = probabilities(2, 0, ties=False)
    metric = choose("sklearn.metrics.brier_score_loss", "min", "binary")
    values = compute("binary", metric, y, p)
    assert next(iter(values)) == metric["name"] == "brier_score_loss"
    assert values["brier_score_loss"] == sk.brier_score_loss(y, p[:, 1])
    assert set(values) == {"brier_score_loss", *BINARY}


def test_users_function_multiclass_gets_all_probabilities():
    y, p = probabilities(4, 0, ties=False)
    metric = choose("sklearn.metrics.top_k_accuracy_score", "max", "multiclass")
    assert metric["fn"](y, p) == sk.top_k_accuracy_score(y, p)


def test_users_function_regression():
    metric = choose("sklearn.metrics.median_absolute_error", "min", "regression")
    assert metric["fn"](np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.5, 9.0])) == 0.5


def test_users_function_named_as_a_metric_keeps_its_own_value():
    y, p = probabilities(2, 0, ties=False)
    metric = choose("sklearn.metrics.log_loss", "max", "binary")
    assert compute("binary", metric, y, p)["log_loss"] == sk.log_loss(y, p[:, 1])


def test_compute_is_nan_where_predictions_are():
    y, p = np.arange(3.0), np.array([0.0, math.nan, 2.0])
    values = compute("regression", choose(None, None, "regression"), y, p)
    assert set(values) == set(REGRESSION)
    assert all(math.isnan(value) for value in values.values())


def test_loss_is_comparable_between_families():
    y, p = np.array([1.0, 3.0]), np.array([2.0, 3.0])
    assert loss(y, p, {"task": "regression", "y_std": 2.0}) == 0.5 / 4
    y, p = probabilities(3, 0, ties=False)
    assert loss(y, p, {"task": "multiclass"}) == log_loss(y, p)
    assert math.isnan(loss(y, p * math.nan, {"task": "multiclass"}))


@pytest.mark.parametrize(
    "name,new,old,wins",
    [
        ("accuracy", (0.9, 1.0), (0.8, 0.1), True),
        ("accuracy", (0.8, 0.1), (0.9, 1.0), False),
        ("accuracy", (0.9, 0.1), (0.9, 0.2), True),  # equal: the smaller loss
        ("accuracy", (0.9, 0.2), (0.9, 0.1), False),
        ("accuracy", (0.9, 0.1), (0.9, 0.1), False),  # equal in both: the first stays
        ("accuracy", (math.nan, 0.0), (0.1, 1.0), False),
        ("log_loss", (0.1, 0.1), (0.2, 0.2), True),
        ("log_loss", (math.nan, 0.1), (0.2, 0.2), False),
    ],
)
def test_better(name, new, old, wins):
    new, old = ({f"val/{name}": score, "val/loss": loss} for score, loss in (new, old))
    assert better(new, old, choose(name, None, "binary")) is wins


def test_better_than_nothing():
    metric = choose("accuracy", None, "binary")
    assert better({"val/accuracy": 0.0, "val/loss": 1.0}, None, metric)
    assert not better({"val/accuracy": math.nan, "val/loss": 1.0}, None, metric)

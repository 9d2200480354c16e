"""Calibration and threshold: learned on val alone, saved in the run, used wherever it predicts.

python -m pytest -q tests/test_decision.py
"""

import sys
from types import ModuleType

import numpy as np
import pytest
from conftest import QUIET, tiny_table
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from src import fit, load
from src.metric.choose import compute
from src.metric.decision import calibrated, decided, learn
from src.metric.functions import f1, log_loss, mcc
from src.share.evaluation import evaluate
from src.system.errors import UserError

RNG = np.random.default_rng(0)


def sharp(n: int, n_classes: int, factor: float):
    """Return classes, and the probabilities that they were drawn with, made too sure by ``factor``."""
    logits = RNG.normal(size=(n, n_classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([RNG.choice(n_classes, p=row) for row in p])
    odds = p**factor
    return y, odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_what_made_probabilities_too_sure(n_classes, factor):
    y, p = sharp(4000, n_classes, factor)
    info = learn(y, p, {}, "temperature", None)
    assert info["calibration"]["temperature"] == pytest.approx(factor, rel=0.15)
    each = [{"calibration": {"temperature": t}} for t in np.geomspace(0.1, 10, 99)]
    tried = [log_loss(y, calibrated(p, one)) for one in each]
    q = calibrated(p, info)
    assert log_loss(y, q) <= min(tried) + 1e-6 and np.allclose(q.sum(1), 1)
    assert (q.argmax(1) == p.argmax(1)).all()


def test_isotonic_is_scikit_learns():
    y, p = sharp(500, 2, 3.0)
    least = 1 / 502
    wanted = IsotonicRegression(y_min=least, y_max=1 - least).fit(p[:, 1], y).predict(p[:, 1])
    q = calibrated(p, learn(y, p, {}, "isotonic", None))
    assert np.allclose(q[:, 1], wanted, atol=1e-6)
    y, p = sharp(500, 3, 3.0)
    q = calibrated(p, learn(y, p, {}, "isotonic", None))
    assert log_loss(y, q) < log_loss(y, p) and np.allclose(q.sum(1), 1) and q.min() > 0


def test_few_rows_without_an_error_do_not_make_every_prediction_sure():
    p = np.array([[0.4, 0.6]] * 5 + [[0.6, 0.4]] * 5)
    y = p.argmax(1)
    assert calibrated(p, learn(y, p, {}, "temperature", None)).max() < 0.9
    assert calibrated(p, learn(y, p, {}, "isotonic", None)).max() < 0.95


def test_a_metric_that_is_never_a_number_leaves_the_threshold_at_one_half():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    metric = {"name": "mcc", "mode": "max", "fn": mcc}
    assert learn(np.zeros(3, int), p, metric, None, "tuned") == {"threshold": 0.5}


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
@pytest.mark.parametrize("p", [[[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
def test_probabilities_without_doubt_or_without_order_stay_finite(kind, p):
    y, p = np.array([1, 0]), np.array(p)
    q = calibrated(p, learn(y, p, {}, kind, None))
    assert np.isfinite(q).all() and np.allclose(q.sum(1), 1)


def profit(y, p):
    return float(3 * ((p > 0.5) & (y == 1)).sum() - ((p > 0.5) & (y == 0)).sum())


@pytest.mark.parametrize("name", ["f1", "mcc", "profit"])
def test_the_tuned_threshold_is_the_best_there_is(name):
    y, p = sharp(150, 2, 2.0)
    fn = {"f1": f1, "mcc": mcc, "profit": lambda y, p: profit(y, p[:, 1])}[name]
    found = learn(y, p, {"name": name, "mode": "max", "fn": fn}, None, "tuned")["threshold"]
    plain = {"f1": metrics.f1_score, "mcc": metrics.matthews_corrcoef, "profit": profit}[name]
    best = max(plain(y, (p[:, 1] > t).astype(int)) for t in np.unique(p[:, 1]))
    assert plain(y, (p[:, 1] > found).astype(int)) == pytest.approx(best)


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.9])
def test_only_metrics_of_classes_depend_on_the_threshold(threshold):
    y, p = sharp(300, 2, 1.0)
    metric = {"name": "f1", "mode": "max", "fn": f1}
    plain, by_threshold = compute("binary", metric, y, p), compute("binary", metric, y, p, threshold)
    classes = (p[:, 1] > threshold).astype(int)
    assert by_threshold["accuracy"] == metrics.accuracy_score(y, classes)
    assert by_threshold["f1"] == pytest.approx(metrics.f1_score(y, classes))
    assert by_threshold["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, classes))
    for name in ("auroc", "average_precision", "log_loss", "calibration_error"):
        assert by_threshold[name] == plain[name]
    assert (decided(p, threshold)[:, 1].argsort() == p[:, 1].argsort()).all()


def rare(n: int = 240):
    """Return `tiny_table` in which the second class is rare, with its parts in a column."""
    frame = tiny_table("regression", n)
    frame["y"] = np.where(frame["y"] > frame["y"].quantile(0.85), "yes", "no")
    frame["part"] = "train"
    frame.loc[n // 2 :, "part"], frame.loc[3 * n // 4 :, "part"] = "val", "test"
    return frame


OPTIONS = ("dataset.target=y", "dataset.split=part", "metric=f1", *QUIET)


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_a_run_predicts_by_what_it_learned_on_val(outputs, model):
    words = (f"model={model}", "trainer.max_epochs=3", "calibrate=temperature", "threshold=tuned")
    frame = rare()
    run = load(fit(*words, *OPTIONS, data=frame).name)
    threshold, test = run.info["threshold"], frame[frame["part"] == "test"]
    p, predictions = run.arrays["test_p"], run.predict(test)
    assert np.allclose(run.predict_proba(test), p, atol=1e-6) and 0 < threshold < 1
    assert ((predictions["prediction"] == "yes") == (p[:, 1] > threshold)).all()
    wanted = metrics.f1_score(run.arrays["test_y"], p[:, 1] > threshold)
    assert run.report["metrics"]["test/f1"] == pytest.approx(wanted)
    path = outputs / "test.csv"
    test.to_csv(path, index=False)
    assert evaluate(run, str(path), True, None)[0]["f1"] == pytest.approx(wanted)
    bare = fit(*words[:2], *OPTIONS, data=frame)  # the same fit, without both
    val_y, val_p = bare.arrays["val_y"], bare.arrays["val_p"]
    assert run.info["calibration"] == learn(val_y, val_p, {}, "temperature", None)["calibration"]
    assert run.report["metrics"]["val/f1"] >= bare.report["metrics"]["val/f1"]


@pytest.mark.parametrize("calibrate", ["isotonic", pytest.param("temperature", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["linear", "mlp", pytest.param("hist_gb", marks=pytest.mark.slow)])
def test_held_out_rows_teach_nothing(outputs, model, calibrate):
    """Test rows with other targets and numbers, and training rows put elsewhere, change neither."""
    learned = []
    for poison in (False, True):
        frame = rare()
        test = frame["part"] == "test"
        if poison:
            frame.loc[test, "y"] = frame.loc[test, "y"].map({"yes": "no", "no": "yes"})
            frame.loc[test, ["a", "b", "c", "d"]] = 1e6
        words = (f"model={model}", "trainer.max_epochs=2", f"calibrate={calibrate}", "threshold=tuned")
        info = fit(*words, *OPTIONS, data=frame).info
        learned.append((info["calibration"], info["threshold"]))
    assert learned[0] == learned[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dataset=diabetes", "calibrate=isotonic"), "calibrate=isotonic is for classes; .* is a regression"),
        (("dataset=wine", "threshold=0.3"), "threshold=0.3 is for two classes; .* is a multiclass target"),
        (("dataset=breast_cancer", "threshold=tuned", "metric=auroc"), "auroc is the same for each"),
        (("dataset=wine", "threshold=1"), "threshold=1: should be a number above 0 and below 1 or tuned"),
        (("dataset=wine", "calibrate=isotonicc"), "calibrate=isotonicc.*did you mean isotonic"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_fit(outputs, words, sentence, monkeypatch):
    monkeypatch.setattr("src.trainer.estimator.fit", None)
    with pytest.raises(UserError, match=sentence):
        fit("model=linear", *QUIET, *words)


def test_a_users_own_metric_tunes_the_threshold(outputs, monkeypatch):
    module = ModuleType("my_profit")
    module.profit = profit
    monkeypatch.setitem(sys.modules, "my_profit", module)
    own = ("metric=my_profit.profit", "metric_mode=max")
    options = [word for word in OPTIONS if not word.startswith("metric")]
    plain = fit("model=linear", *options, *own, data=rare())
    tuned = fit("model=linear", *options, *own, "threshold=tuned", data=rare())
    assert tuned.report["metrics"]["val/profit"] > plain.report["metrics"]["val/profit"]
    assert tuned.info["threshold"] < 0.5

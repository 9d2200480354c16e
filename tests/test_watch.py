"""Stages of HistGradientBoosting by rows that are binned once have the bits of ``staged_predict``.

pytest tests/test_watch.py
"""

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from src import fit
from src.data.load import load_data
from src.metric.choose import loss
from src.model.estimator import staged_outputs
from src.run.folder import model_path
from src.trainer import estimator


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with missing numbers, a category (column 2) and values that only some seeds have."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 3)).astype(np.float32)
    x[:, 0] = x[:, 0].round(1)  # many values lie on thresholds
    x[random.random(n) < 0.1, 1] = np.nan
    x[:, 2] = random.integers(0, 5 + 4 * seed, n)  # the second part has categories that the fit never saw
    return x, x[:, 0] + np.nan_to_num(x[:, 1]) + (x[:, 2] % 3) + random.normal(size=n)


@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("shown", [[1, 2, 3, 4, 5, 6, 7], [3, 7]])
def test_binned_stages_have_the_bits_of_staged_predict(n_classes, shown):
    x, y = rows(400, seed=0)
    x_val, _ = rows(300, seed=1)
    options = {"max_iter": 7, "categorical_features": [2], "random_state": 0}
    if n_classes:
        model = HistGradientBoostingClassifier(**options).fit(x, np.digitize(y, [0, 1.5][: n_classes - 1]))
        staged = model.staged_predict_proba
    else:
        model = HistGradientBoostingRegressor(**options, loss="absolute_error").fit(x, y)
        staged = model.staged_predict
    for part in (x, x_val):
        expected = [output for stage, output in enumerate(staged(part), start=1) if stage in shown]
        outputs = [output.copy() for output in staged_outputs(model, part, shown)]
        assert len(outputs) == len(shown) and np.ptp(outputs[0]) > 0
        assert all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))


def test_positive_values_keep_their_link():
    x, y = rows(300, seed=0)
    model = HistGradientBoostingRegressor(max_iter=4, loss="gamma").fit(x, np.exp(y / 4))
    expected = list(model.staged_predict(x))
    found = staged_outputs(model, x, [1, 2, 3, 4])
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_other_boosters_are_asked_for_their_own_stages():
    x, y = rows(200, seed=0)
    x = np.nan_to_num(x)
    model = GradientBoostingClassifier(n_estimators=5).fit(x, y > 1)
    expected = list(model.staged_predict_proba(x))
    found = list(staged_outputs(model, x, [2, 5]))
    assert np.array_equal(found[0], expected[1]) and np.array_equal(found[1], expected[4])


@pytest.mark.parametrize(
    ("model", "dataset"), [("gradient_boosting", "wine"), ("random_forest", "diabetes"), ("sgd", "wine")]
)
def test_predictions_known_from_the_fit_are_those_of_the_saved_model(tmp_path, monkeypatch, model, dataset):
    """The last row of history has predicted val already; k-NN and forests are not asked again."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    run = fit(f"model={model}", f"dataset={dataset}", "trainer.max_epochs=4", "logger=csv", "pictures=false")
    section = run.cfg["model"]
    data = load_data(run.cfg["dataset"], scaler=section["scaler"], class_weight=None, seed=0)
    saved = estimator.load(model_path(run.folder, section), section, data.info)
    assert not estimator._known.get(saved)
    for part in ("val", "test"):
        expected = saved.predict(saved.matrix(data.parts[part]))
        assert np.array_equal(run.arrays[f"{part}_p"], expected)
    assert run.report["metrics"]["val/loss"] == loss(data.parts["val"]["y"], run.arrays["val_p"], data.info)

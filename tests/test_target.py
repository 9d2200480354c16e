"""The transform of a regression's target: learned on training rows, undone wherever a run predicts.

python -m pytest -q tests/test_target.py
"""

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table
from sklearn.preprocessing import QuantileTransformer

from src import fit, load
from src.data.target import fit_transform, target_info
from src.metric.functions import in_units, learned
from src.system.errors import UserError

RNG = np.random.default_rng(0)
PRICES = np.exp(RNG.normal(3, 2, 500))


def info_of(y, kind: str) -> dict:
    y = pd.Series(y, name="price")
    info = target_info(y, "regression", None)
    return info | {"y_transform": fit_transform(y, info, kind)}


@pytest.mark.parametrize("kind", ["log", "quantile"])
@pytest.mark.parametrize(
    "y", [PRICES, np.append(PRICES, 0.0), PRICES * 1e-6, np.arange(40.0), PRICES.round()]
)
def test_what_is_learned_is_about_normal_and_comes_back_in_its_units(kind, y):
    info = info_of(y, kind)
    z = learned(y, info)
    back = in_units(z, info)
    inner = (y > np.quantile(y, 0.01)) & (y < np.quantile(y, 0.99))
    assert np.allclose(back[inner], y[inner], rtol=0.02 if kind == "quantile" else 1e-9)
    assert abs(z.mean()) < 0.3 and 0.5 < z.std() < 1.5
    assert np.isfinite(in_units(np.array([-1e9, -30.0, 30.0, 1e9]), info)).all()


def test_transforms_are_those_of_numpy_and_scikit_learn():
    z = learned(PRICES, info_of(PRICES, "log"))
    assert np.allclose(z, (np.log(PRICES) - np.log(PRICES).mean()) / np.log(PRICES).std())
    theirs = QuantileTransformer(n_quantiles=500, output_distribution="normal").fit_transform(PRICES[:, None])
    inner = np.abs(theirs[:, 0]) < 3
    assert np.allclose(learned(PRICES, info_of(PRICES, "quantile"))[inner], theirs[inner, 0], atol=1e-6)


def skewed(n: int = 240) -> pd.DataFrame:
    frame = tiny_table("regression", n)
    frame["y"] = np.exp((frame["y"] - 2000) / 3)
    frame["part"] = np.where(frame.index < n // 2, "train", np.where(frame.index < 3 * n // 4, "val", "test"))
    return frame


OTHERS = [pytest.param(model, marks=pytest.mark.slow) for model in ("hist_gb", "lightgbm")]
OPTIONS = ("dataset.target=y", "dataset.split=part", *QUIET)


@pytest.mark.parametrize("model", ["linear", "mlp", *OTHERS])
def test_a_run_predicts_in_the_targets_own_units(outputs, model):
    few = ["trainer.max_epochs=5"] if model == "mlp" else []
    frame, words = skewed(), [f"model={model}", *few, *OPTIONS]
    run = load(fit(*words, "dataset.target_transform=log", data=frame).name)
    test = frame[frame["part"] == "test"]
    p = run.predict(test)["prediction"].to_numpy()
    assert np.allclose(p, run.arrays["test_p"], rtol=1e-5) and (p > 0).all()
    assert np.array_equal(run.arrays["test_y"], test["y"])
    wanted = np.sqrt(np.mean((test["y"].to_numpy() - p) ** 2))
    assert run.report["metrics"]["test/rmse"] == pytest.approx(wanted, rel=1e-5)
    if model == "linear":  # the logarithm is linear in the columns, and the value is not
        bare = fit(*words, data=frame)
        assert run.report["metrics"]["test/rmse"] < 0.5 * bare.report["metrics"]["test/rmse"]


@pytest.mark.parametrize("kind", ["log", "quantile"])
def test_held_out_targets_teach_nothing(outputs, kind):
    """Also where they are below all of training, and have no logarithm."""
    states, frame = [], skewed()
    for _ in range(2):
        states.append(fit("model=linear", *OPTIONS, f"dataset.target_transform={kind}", data=frame).info)
        frame = frame.copy()
        frame.loc[frame["part"] != "train", "y"] *= -1e3
    assert states[0] == states[1] | {"digest": states[0]["digest"], "etl_version": states[0]["etl_version"]}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dataset=wine", "dataset.target_transform=log"), "log is for a regression; .* classes"),
        (("dataset=diabetes", "dataset.target_transform=sqrt"), "=sqrt: should be log, quantile"),
    ],
)
def test_a_transform_that_does_not_fit_is_one_sentence(outputs, words, sentence):
    with pytest.raises(UserError, match=sentence):
        fit("model=linear", *QUIET, *words)


def test_a_logarithm_of_negative_values_is_one_sentence(outputs):
    frame = tiny_table("regression")
    frame["y"] -= 2000
    words = ("dataset.target=y", "dataset.target_transform=log", *QUIET)
    with pytest.raises(UserError, match=r"at least 0, but y holds -.*; quantile takes all"):
        fit("model=linear", *words, data=frame)

"""lightgbm, xgboost and catboost through the adapter of scikit-learn.

python -m pytest -q tests/test_boosting.py
"""

import importlib
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit
from src.run.folder import model_path
from src.system import code
from src.system.errors import UserError
from src.trainer.history import Pruned
from src.trainer.native import LIBRARIES, is_shown

SMALL = {
    "lightgbm": ["n_estimators=60", "learning_rate=0.2", "min_child_samples=5"],
    "xgboost": ["n_estimators=60", "learning_rate=0.2", "max_depth=3"],
    "catboost": ["n_estimators=60", "learning_rate=0.3", "depth=3"],
}
SLOW = partial(pytest.param, marks=pytest.mark.slow)  # the other values prove nearly as much
KIND = {"lightgbm": "LGBM", "xgboost": "XGB", "catboost": "CatBoost"}


def words(model: str, *more: str) -> list[str]:
    small = [f"model.arguments.{text}" for text in SMALL[model]]
    return [f"model={model}", *small, "dataset.target=y", *QUIET, "threads=1", *more]


@pytest.mark.parametrize("model", LIBRARIES)
@pytest.mark.parametrize("task", ["binary", SLOW("multiclass"), "regression"])
def test_watching_changes_no_bit_and_the_kept_iteration_predicts(outputs, model, task):
    """The run predicts what the library does after as many iterations, fitted without val and callbacks."""
    run = fit(*words(model, "model.patience=10"), data=tiny_table(task))
    kept, last = run.report["best_epoch"], run.rows[-1]["epoch"]
    assert kept <= last <= 60 and [row["epoch"] for row in run.rows] == list(range(1, last + 1))
    assert model == "catboost" or last <= kept + 10  # catboost stops by its own loss
    estimator = joblib.load(model_path(run.folder, run.cfg["model"]))
    kind = "Regressor" if task == "regression" else "Classifier"
    cls = getattr(importlib.import_module(model), KIND[model] + kind)
    options = estimator.model.get_params() | {"n_estimators": kept, "early_stopping_rounds": None}
    if model == "xgboost":
        del options["objective"]  # its fit has set it
    if model != "xgboost":
        del options["early_stopping_rounds"]
    part = run_part(run, estimator)
    names = {"categorical_feature": estimator.native} if model == "lightgbm" else {}
    bare = cls(**options).fit(part["x"], part["y"], **names)
    p = bare.predict(part["x_test"]) if task == "regression" else bare.predict_proba(part["x_test"])
    assert np.allclose(run.arrays["test_p"], estimator.predictions(p), rtol=0, atol=1e-6)
    assert estimator.native == [5]  # colour, after a to d and the flag of empty cells of c
    values = {row["epoch"]: row[f"val/{run.report['metric']['name']}"] for row in run.rows}
    assert values[kept] == (min if task == "regression" else max)(values.values())


def run_part(run, estimator) -> dict:
    """Return the arrays of the run's training and test rows, as the library gets them."""
    frame = tiny_table({1: "regression", 2: "binary", 3: "multiclass"}[run.info["n_outputs"]])
    held_out = [*run.arrays["val_id"], *run.arrays["test_id"]]
    from src.data.load import load_data

    data = load_data(run.cfg["dataset"], scaler="none", class_weight=None, seed=0, frame=frame)
    assert sorted([*data.parts["train"]["id"], *held_out]) == list(range(len(frame)))
    train, test = data.parts["train"], data.parts["test"]
    return {"x": estimator.matrix(train), "y": estimator.target(train), "x_test": estimator.matrix(test)}


@pytest.mark.parametrize("model", LIBRARIES)
def test_weights_of_rows_and_classes_count(outputs, model):
    frame = tiny_table("binary")
    plain, weighted = (
        fit(*words(model, f"class_weight={weight}"), data=frame) for weight in ("null", "{'yes': 50}")
    )
    share = [float((run.arrays["test_p"][:, 1] > 0.5).mean()) for run in (plain, weighted)]
    assert share[1] > share[0] + 0.05


@pytest.mark.parametrize("model", ["lightgbm", "xgboost"])
def test_a_search_may_end_a_fit_early(outputs, model):
    from src.config.compose import compose
    from src.run.job import run_job

    seen = []

    def watch(row):
        seen.append(row["epoch"])
        if row["epoch"] == 5:
            raise Pruned

    cfg = compose([word for word in words(model, "dataset=frame")])
    assert run_job(cfg, frame=tiny_table("binary"), watch=watch).status == "pruned"
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("model", LIBRARIES)
def test_a_category_means_itself_and_no_order(outputs, model):
    """Codes 2, 4, ... have one target, 3, 5, ... the other: numbers need a split for each, categories one."""
    rng = np.random.default_rng(0)
    letters = rng.choice(list("abcdefgh"), 400)
    frame = pd.DataFrame({"letter": letters, "noise": rng.normal(size=400)})
    frame["y"] = np.where(frame["letter"].isin(list("aceg")), "odd", "even")
    shallow = {"lightgbm": "num_leaves=2", "xgboost": "max_depth=1", "catboost": "depth=1"}[model]
    few = [f"model.arguments.{text}" for text in (shallow, "n_estimators=5", "learning_rate=0.5")]
    more = {"xgboost": ["max_cat_to_onehot=1"], "lightgbm": ["min_data_per_group=5"]}
    few += [f"+model.arguments.{text}" for text in more.get(model, ())]
    run = fit(*words(model, *few), data=frame)
    assert run.report["metrics"]["test/accuracy"] > 0.95


def test_rows_of_history_get_rarer():
    shown = [i for i in range(1, 1001) if is_shown(i)]
    assert shown[:64] == list(range(1, 65)) and shown[64:67] == [66, 68, 70]
    assert shown[-2:] == [976, 992] and len(shown) < 200


def test_native_is_refused_for_other_libraries(outputs):
    with pytest.raises(UserError, match="native is for lightgbm, xgboost, catboost: take once for Logistic"):
        fit("model=linear", "dataset=wine", "model.progress=native", *QUIET)


@pytest.mark.parametrize(
    ("model", "word", "sentence"),
    [
        ("lightgbm", "num_leaves=1", "LGBMClassifier refuses: .*num_leaves"),
        ("lightgbm", "learning_rate=0.0", "LGBMClassifier refuses: .*learning_rate"),
        ("xgboost", "max_depth=-3", "XGBClassifier refuses: .*max_depth"),
        ("catboost", "depth=50", "CatBoostClassifier refuses: .*depth"),
        ("catboost", "l2_leaf_reg=-1.0", "CatBoostClassifier refuses: .*L2Leaf"),
    ],
)
def test_arguments_that_a_library_refuses_are_one_sentence(outputs, model, word, sentence):
    with pytest.raises(UserError, match=sentence):
        fit(f"model={model}", "dataset=wine", f"model.arguments.{word}", *QUIET)


def test_a_library_that_is_missing_is_one_sentence(outputs, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(code.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"model=lightgbm needs lightgbm: pip install -e '.\[boosting\]'"):
        code.needed("lightgbm", "boosting", "model=lightgbm")

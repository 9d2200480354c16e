"""Check that every file in conf/model/ keeps the contract of checks.py on every kind of tiny data."""

import inspect
import logging
import subprocess
import sys
import tempfile
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from checks import CHECKS, KINDS, WITH_TEXT, Case, fit_again, part_of, untrained
from conftest import CHECKOUT, tiny_bert
from omegaconf import OmegaConf

from src import load
from src.config.compose import compose
from src.config.tree import CONF, choices
from src.data.load import load_data
from src.run.job import run_job

MODELS = choices("model")
FEW_TREES = ["arguments.n_estimators=20", "arguments.learning_rate=0.2", "tfidf.max_features=300"]
TINY = {  # overrides that make a fit small; a model that is not here is fitted as it is
    "mlp": ["net.d_hidden=32", "net.n_layers=1", "net.d_token=16"],
    "cnn": ["net.d_token=16", "net.n_filters=8"],
    "transformer": ["net.d_token=16", "net.n_blocks=1", "net.n_heads=2", "net.d_hidden=32"],
    "bilstm": ["net.d_token=16", "net.d_hidden=16", "net.dropout=0", "net.token_dropout=0"],
    "dna_cnn": ["net.n_filters=16", "net.d_place=4", "net.word_dropout=0", "schedule=constant"],
    "tabm": ["net.k=4", "net.d_hidden=32", "net.n_layers=2", "net.d_token=16"],
    "resnet": ["net.d_hidden=16", "net.n_layers=1", "net.d_token=16"],
    "pretrained": ["net.dropout=0", "schedule=constant"],
    "random_forest": ["arguments.n_estimators=20"],
    "gradient_boosting": ["arguments.n_estimators=30", "tfidf.max_features=300"],
    "sgd": ["regressor.eta0=0.05"],
    "lightgbm": [*FEW_TREES, "arguments.min_child_samples=5"],
    "xgboost": FEW_TREES,
    "catboost": FEW_TREES,
    "hist_gb": ["arguments.max_iter=30", "arguments.min_samples_leaf=5", "tfidf.max_features=300"],
}
TORCH = ["batch_size=32", "lr=0.02", "warmup=0"]
DRAWS_NOTHING = "its fit draws no random number, so a seed changes nothing"
# (model, kind, check) -> why it fails; if it passes, the test fails
KNOWN = {(m, k, "another_seed_differs"): DRAWS_NOTHING for m in ("linear", "knn", "hist_gb") for k in KINDS}


@cache
def config_of(model: str) -> dict:
    cfg = compose([f"model={model}", "dataset=frame", "dataset.target=y"])["model"]
    small = [f"model.{text}" for text in (*TINY.get(model, ()), *(TORCH if "net" in cfg else ()))]
    if model == "pretrained":
        small.append(f"model.net.path={tiny_bert(Path(tempfile.mkdtemp()))}")
    common = ("dataset=frame", "dataset.target=y", "logger=csv", "threads=1", "trainer.max_epochs=8")
    return compose([f"model={model}", *common, *small])


def is_torch(model: str) -> bool:
    return "net" in OmegaConf.load(CONF / f"model/{model}.yaml")


@pytest.fixture(scope="module")
def case_of(outputs, tmp_path_factory):
    """Return ``case_of("mlp", "dna")``, which fits each pair once."""
    logging.getLogger("reprise").setLevel(logging.INFO)

    @cache
    def make(model: str, kind: str) -> Case:
        make_frame, options = KINDS[kind]
        frame, cfg = make_frame(), config_of(model)
        cfg = cfg | {"dataset": cfg["dataset"] | options, "pictures": False}  # they take a second per run
        as_passed = frame.copy(deep=True)
        run = run_job(cfg, frame=frame)
        data = load_data(
            cfg["dataset"], scaler=cfg["model"]["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
            frame=frame,
        )  # fmt: skip
        arrays = deepcopy(data.parts)
        again, rows = fit_again(cfg, data, tmp_path_factory.mktemp("again"))
        make.made.append(Case(load(run.name), frame, as_passed, data, arrays, again, rows))
        return make.made[-1]

    make.made = []
    return make


LOADER = """
import sys, numpy as np, pandas as pd
from src import load
runs = [load(name) for name in sys.argv[2:]]
p = {}
for run in runs:
    rows = pd.read_pickle(f"{sys.argv[1]}/{run.name}")
    p[run.name] = run.predict_proba(rows) if run.info["classes"] else run.predict(rows)["prediction"]
np.savez(f"{sys.argv[1]}/p.npz", **p)
"""


@pytest.fixture(scope="module")
def fresh_of(case_of, tmp_path_factory):
    """Return a new process's predictions for a case's test rows; one process serves all runs that wait."""
    loaded = {}

    def predictions(case: Case) -> np.ndarray:
        if case.run.name not in loaded:
            folder = tmp_path_factory.mktemp("fresh")
            waiting = [other for other in case_of.made if other.run.name not in loaded]
            for other in waiting:
                other.frame.loc[other.run.arrays["test_id"]].to_pickle(folder / other.run.name)
            names = [other.run.name for other in waiting]
            command = [sys.executable, "-c", LOADER, folder, *names]  # no fork: it is about bits
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            loaded.update(np.load(folder / "p.npz"))
        return loaded[case.run.name]

    return predictions


def wanted():
    """Return (model, kind, check) of all checks; those that need a new process come last and share it."""
    asks = {name: inspect.signature(check).parameters for name, check in CHECKS.items()}
    params = []
    for model, kind, name in product(MODELS, KINDS, CHECKS):
        if ("net" not in asks[name] or is_torch(model)) and ("padded" not in asks[name] or kind in WITH_TEXT):
            known = KNOWN.get((model, kind, name))
            marks = [pytest.mark.xfail(reason=known, strict=True, raises=AssertionError)] if known else []
            params.append(pytest.param(model, kind, name, marks=marks, id=f"{model}-{kind}-{name}"))
    return sorted(params, key=lambda param: "fresh" in asks[param.values[2]])


@pytest.mark.parametrize(("model", "kind", "check"), wanted())
def test_contract(model, kind, check, case_of, fresh_of, tmp_path):
    case = case_of(model, kind)
    part = case.data.parts["test"]
    gives = {
        "case": lambda: case,
        "net": lambda: untrained(case.run.cfg["model"], case.data.info),
        "padded": lambda: part | {"input_ids": np.pad(part["input_ids"], ((0, 0), (0, 5)))},
        "fresh": lambda: fresh_of(case),
        "tmp_path": lambda: tmp_path,
    }
    CHECKS[check](**{name: gives[name]() for name in inspect.signature(CHECKS[check]).parameters})


def test_known_failures_are_of_what_there_is():
    assert KNOWN.keys() <= {param.values for param in wanted()}


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_tables_hold_empty_cells_and_categories_that_training_never_saw(case_of, kind):
    case = case_of("linear", kind)
    assert case.frame.isna().any().any()
    assert not (case.data.parts["train"]["x_cat"] == 0).any()
    assert all((case.data.parts[part]["x_cat"] == 0).any() for part in ("val", "test"))


@pytest.mark.parametrize("kind", KINDS)
def test_made_up_rows_have_the_arrays_of_real_ones(case_of, kind):
    """If `part_of` made other arrays, checks would pass on inputs that never occur."""
    data = case_of("linear", kind).data
    real, made = data.parts["train"], part_of(data.info, 10)
    assert made.keys() == real.keys() - {"id"}
    assert all(made[name].dtype == real[name].dtype and made[name].ndim == real[name].ndim for name in made)

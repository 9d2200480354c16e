"""``refit=true``: the model is that of one fit on train and val, for as long as val has chosen."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit, load
from src.config.check import check
from src.resume import resume
from src.run import job
from src.run.job import run_job
from src.run.table import table
from src.share.importance import _labelled
from src.system.errors import UserError

pytestmark = pytest.mark.usefixtures("compose_once")
PEAK = 3  # the epoch, or number of trees, with the best value of `peaked`
COUNTED = {
    "mlp": ("model.net.d_hidden=16", "model.schedule=cosine", "model.ema=0.9"), "tabm": ("model.net.k=2",),
    "sgd": (),
}  # fmt: skip
BOOSTING = dict.fromkeys(("lightgbm", "xgboost", "catboost"), ("model.patience=4",))
COUNTED |= BOOSTING
FIXED = {"gradient_boosting": ("model.arguments.n_estimators=20",), "linear": (), "knn": ()}
FIXED |= {"random_forest": ("model.arguments.n_estimators=5",)}


@pytest.fixture
def peaked(monkeypatch):
    """A metric of the user that is best the third time that it is asked, whatever was predicted."""
    calls = []

    def turn(y, p):
        calls.append(len(y))
        return -abs(len(calls) - PEAK)

    monkeypatch.setitem(sys.modules, "turns", ModuleType("turns"))
    monkeypatch.setattr(sys.modules["turns"], "turn", turn, raising=False)
    return calls


def parted(task: str = "binary", n: int = 240) -> pd.DataFrame:
    part = np.random.default_rng(1).choice(["train", "val", "test"], n, p=[0.6, 0.2, 0.2])
    return tiny_table(task, n).assign(part=part)


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with val as train, and the test rows once more as val: for a plain fit."""
    again = frame[frame["part"] == "test"].assign(part="val")
    return pd.concat([frame.assign(part=frame["part"].replace("val", "train")), again], ignore_index=True)


def trained(frame: pd.DataFrame, *words: str):
    return fit("dataset.target=y", "dataset.split=part", *words, *QUIET, data=frame)


@pytest.mark.parametrize("model", COUNTED)
def test_as_many_epochs_as_val_has_chosen_on_all_rows(outputs, peaked, model):
    frame, words = parted(), (f"model={model}", *COUNTED[model], "metric=turns.turn", "metric_mode=max")
    size = "model.arguments.n_estimators" if model in BOOSTING else "trainer.max_epochs"
    words += (f"{size}=6",)
    run = trained(frame, *words, "refit=true")
    assert run.report["best_epoch"] == PEAK and len(run.rows) > PEAK
    peaked.clear()
    words = (*words[:-1], f"{size}={PEAK}") if model in BOOSTING else words
    plain = trained(whole(frame), *words)
    assert plain.report["best_epoch"] == PEAK
    new = tiny_table("binary", 50, seed=3)
    assert np.array_equal(load(run.name).predict_proba(new), load(plain.name).predict_proba(new))
    assert np.array_equal(run.arrays["test_p"], plain.arrays["test_p"])


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_early_stopping_of_hist_gb_gives_the_number_of_trees(outputs, task):
    frame = parted(task)
    run = trained(frame, "model=hist_gb", "model.arguments.n_iter_no_change=3", "refit=true")
    n = run.report["best_epoch"]
    assert 3 < n < 200
    plain = trained(whole(frame), "model=hist_gb", f"model.arguments.max_iter={n}",
                    "model.arguments.early_stopping=false")  # fmt: skip
    assert np.array_equal(run.arrays["test_p"], plain.arrays["test_p"])


@pytest.mark.parametrize("model", FIXED)
def test_what_is_fitted_in_one_go_sees_more_rows(outputs, model):
    frame, words = parted("regression"), (f"model={model}", *FIXED[model])
    run, plain = trained(frame, *words, "refit=true"), trained(whole(frame), *words)
    assert np.allclose(run.arrays["test_p"], plain.arrays["test_p"], rtol=1e-12)


def test_the_run_keeps_the_val_scores_of_the_first_pass(outputs):
    """Calibration and threshold are learned in it, too; test is predicted once, by the model of the run."""
    words = ("model=mlp", "model.net.d_hidden=16", "trainer.max_epochs=5", "calibrate=temperature")
    words += ("metric=f1", "threshold=tuned")
    first, run = (trained(parted(), *words, *more) for more in ((), ("refit=true",)))
    assert np.array_equal(first.arrays["val_p"], run.arrays["val_p"]) and first.rows == run.rows
    for key in ("calibration", "threshold"):
        assert first.info[key] == run.info[key]
    assert "refitted on train and val: val is of the first fit" in table(run) and "refit" not in table(first)
    of_first, of_run = first.report["metrics"], run.report["metrics"]
    assert all(of_run[key] == of_first[key] for key in of_run if key[:4] != "test")
    assert of_run["test/loss"] != of_first["test/loss"]
    assert run.report["train_rows"] == [sum(parted()["part"] != "test")] * 2
    test = parted().query("part == 'test'")
    assert np.allclose(load(run.name).predict_proba(test), run.arrays["test_p"], atol=1e-6)
    assert _labelled(load(run.name), parted(), 9)[2] == "input"


@pytest.mark.parametrize("model", ["mlp", "hist_gb"])
def test_test_rows_teach_nothing(outputs, model):
    frame = parted()
    poisoned, test = frame.copy(), frame["part"] == "test"
    poisoned.loc[test, ["a", "b", "c", "d"]] = 1e9
    poisoned.loc[test, "colour"] = "poison"
    poisoned.loc[test, "y"] = frame.loc[test, "y"].map({"yes": "no", "no": "yes"}).to_numpy()
    words = (f"model={model}", "refit=true")
    words += ("model.net.d_hidden=16", "trainer.max_epochs=3") if model == "mlp" else ()
    clean, other = (trained(one, *words) for one in (frame, poisoned))
    new = tiny_table("binary", 50, seed=3)
    assert np.array_equal(load(clean.name).predict_proba(new), load(other.name).predict_proba(new))
    learned = [load(one.name)._predictor.transforms for one in (clean, other)]
    assert learned[0] == learned[1]
    changed = frame.assign(a=frame["a"] + (frame["part"] == "val"))  # val rows do teach
    assert load(trained(changed, *words).name)._predictor.transforms != learned[0]


def test_a_run_stopped_in_the_refit_ends_the_same(outputs, monkeypatch):
    words = ("model=mlp", "model.net.d_hidden=16", "trainer.max_epochs=4", "refit=true")
    straight = trained(parted(), *words)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "refit", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(parted(), *words)
    monkeypatch.undo()
    run = load("latest")
    assert run.status == "stopped"
    run = resume(run=run.name, data=parted())
    assert np.array_equal(run.arrays["test_p"], straight.arrays["test_p"])
    assert run.rows == straight.rows


def test_jobs_of_a_sweep_refit_from_the_table_that_they_share(outputs, tmp_path):
    parted().to_csv(outputs / "parted.csv", index=False)
    words = (f"dataset={outputs}/parted.csv", "dataset.target=y", "dataset.split=part", "model=linear")
    alone = fit(*words, "refit=true", *QUIET)
    for seed in (0, 1):
        run = run_job(alone.cfg | {"seed": seed}, shared=tmp_path)
        assert np.array_equal(run.arrays["test_p"], alone.arrays["test_p"])
    plain = run_job(alone.cfg | {"refit": False}, shared=tmp_path)
    assert not np.array_equal(plain.arrays["test_p"], alone.arrays["test_p"])
    assert _labelled(load(alone.name), None, 9)[2] == "test"


def test_where_it_makes_no_sense_it_is_refused(outputs, monkeypatch):
    for words in (["cv=kfold"], ["cv=loo"], ["cv=kfold", "cv.fold=1"], ["experiment=strong_tabular"]):
        with pytest.raises(UserError, match="refit=true trains on val rows, which each fold holds out"):
            check(["refit=true", *words])
    with pytest.raises(UserError, match="refit=1: should be true or false"):
        check(["refit=1"])
    monkeypatch.setattr(job.ranks, "launcher", lambda: "torchrun")
    with pytest.raises(UserError, match="torchrun starts the ranks of one fit: add refit=false"):
        trained(parted(), "model=linear", "refit=true")

"""Importances find the planted column and not the noise, for any model; partial dependence has its shape."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET

from src import ensemble_runs, fit, load
from src.config import shell
from src.explain import explain
from src.report import report
from src.share import importance
from src.share.evaluation import with_target
from src.share.importance import dependence
from src.system.errors import UserError

pytestmark = pytest.mark.usefixtures("compose_once")
SMALL = {"mlp": ("model.net.d_hidden=32", "model.lr=1e-2", "trainer.max_epochs=8")}
SMALL |= {"hist_gb": ("model.arguments.max_iter=30",)}


def planted(n: int = 500, seed: int = 0, task: str = "binary") -> pd.DataFrame:
    """Return numbers, a category and a date that decide in this order, and noise; a fifth of a is empty."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"noise": rng.normal(size=n), "a": rng.normal(size=n)})
    frame["colour"] = rng.choice(["red", "green", "blue"], n)
    days = rng.integers(0, 3000, n)
    frame["day"] = (pd.Timestamp("2015-01-01") + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d")
    score = 3 * frame["a"] + 1.5 * (frame["colour"] == "red") + days / 3000
    frame.loc[rng.choice(n, n // 5, replace=False), "a"] = np.nan
    frame["y"] = score if task == "regression" else np.where(score > score.median(), "yes", "no")
    return frame


@pytest.fixture(scope="module")
def runs(outputs):
    """Runs of two families, their ensemble, and a cross-validation."""
    planted().to_csv(outputs / "planted.csv", index=False)
    data = (f"dataset={outputs}/planted.csv", "dataset.target=y", *QUIET)
    found = {name: fit(f"model={name}", *SMALL[name], *data) for name in SMALL}
    found["ensemble"] = ensemble_runs(",".join(run.name for run in found.values()), "mean")
    return found | {"folds": fit("model=linear", "cv=kfold", "cv.n_folds=3", *data)}


@pytest.mark.parametrize("name", ["mlp", "hist_gb", "ensemble", "folds"])
def test_the_planted_column_is_first_and_noise_is_nothing(runs, name):
    run = runs[name]
    table = explain(run.name).set_index("column")
    assert {*table.index} == {"noise", "a", "colour", "day"} and table.index[0] == "a"
    assert table["importance"]["a"] > 0.15 > 0.06 > abs(table["importance"]["noise"])
    assert [*run.plots] == ["dependence", "importance"]
    stored = pd.read_csv(run.folder / "plots" / "importance.csv", index_col="column")
    assert np.allclose(stored[["importance", "sd"]], table)
    curves = pd.read_csv(run.folder / "plots" / "dependence.csv").groupby("column")
    a = curves.get_group("a")
    assert a["class"].unique() == ["yes"] and len(a) == 15
    x, p = a["cell"].astype(float), a["prediction"]
    assert x.is_monotonic_increasing and p.iloc[-1] - p.iloc[0] > 0.4
    colour = curves.get_group("colour").set_index("cell")["prediction"]
    assert {*colour.index} == {"red", "green", "blue"} and colour.idxmax() == "red"
    days = curves.get_group("day")["cell"].astype(float)  # since 1970
    assert days.between(16436, 16436 + 3000).all() and len(days) == 15


def test_val_rows_are_scored_unless_the_model_learned_from_them(runs, monkeypatch):
    """An importance is the difference of two scores of the run's own metric."""
    parts = {}
    for name, run in runs.items():
        frame, y, parts[name] = importance._labelled(load(run.name), None, 10_000)
        assert np.array_equal(y, run.arrays[f"{parts[name]}_y"])
    assert parts == {"mlp": "val", "hist_gb": "val", "ensemble": "test", "folds": "test"}
    run = load(runs["hist_gb"].name)
    frame, y, _ = importance._labelled(run, None, 10_000)
    table = importance.permuted(run, frame, y, ["a"], np.inf)
    order = [np.random.default_rng(0)]
    order = [order[0].permutation(len(y)) for _ in range(importance.REPEATS)]
    own = [run.predict(frame.assign(a=frame["a"].to_numpy()[one]))["prediction"] for one in order]
    truth = frame["y"].to_numpy()
    lost = run.report["metrics"]["val/accuracy"] - np.mean([(one.to_numpy() == truth).mean() for one in own])
    assert table["importance"][0] == pytest.approx(lost)


def test_a_curve_is_the_mean_prediction_with_one_value(runs):
    run = load(runs["hist_gb"].name)
    frame = planted(40, seed=1)
    curves = dependence(run, frame, ["colour", "a"])
    red = curves.query("column == 'colour' and cell == 'red'")["prediction"].item()
    assert red == pytest.approx(run.predict_proba(frame.assign(colour="red"))[:, 1].mean())
    one = curves.query("column == 'a'").iloc[3]
    assert one["prediction"] == pytest.approx(run.predict_proba(frame.assign(a=one["cell"]))[:, 1].mean())


@pytest.mark.parametrize("target", ["regression", "multiclass"])
def test_values_and_several_classes(outputs, target):
    frame = planted(300, task="regression")
    if target == "multiclass":
        frame["y"] = pd.qcut(frame["y"], 3, labels=["low", "mid", "high"]).astype(str)
    run = fit("model=linear", "dataset.target=y", *QUIET, data=frame)
    with pytest.raises(UserError, match="was trained on a frame in memory: name rows with input="):
        explain(run.name)
    table = explain(run.name, input=planted(200, 1, "regression").assign(y=frame["y"][:200]))
    curves = pd.read_csv(run.folder / "plots" / "dependence.csv")
    if target == "multiclass":
        assert {*curves["class"]} == {"low", "mid", "high"}
        sums = curves.groupby(["column", "cell"])["prediction"].sum()
        assert np.allclose(sums, 1)
    else:  # in units of the target; rmse falls, so what is lost is positive
        ends = curves.query("column == 'a'")["prediction"]
        assert ends.max() - ends.min() > 4 and {*curves["class"]} == {"value"}
        own = explain(run.name, input=frame)
        assert own["column"][0] == "a" and own["importance"][0] > 1
    assert len(table) == 4


def test_rows_without_a_target_are_left_out(runs):
    frame = planted(60, seed=2)
    frame.loc[:19, "y"] = None
    some, y = with_target(load(runs["hist_gb"].name), frame)
    assert len(some) == len(y) == 40 and y.tolist() == (frame["y"][20:] == "yes").astype(int).tolist()
    for rows in (frame[:20], frame.drop(columns="y")):
        with pytest.raises(UserError, match=r"no row has a target|lack the target y"):
            explain(runs["hist_gb"].name, input=rows)


def test_a_report_computes_what_takes_seconds_and_says_what_does_not(runs, monkeypatch, caplog):
    path = runs["mlp"].cfg["dataset"]["path"]
    run = fit("model=linear", f"dataset={path}", "dataset.target=y", *QUIET)
    monkeypatch.setattr(importance, "SECONDS", 0)
    with caplog.at_level("WARNING", "reprise"):
        assert "importance" not in report(run=run.name).read_text()
    said = rf"the report has no importances: they take about \d s: python -m src.explain run={run.name}\n"
    assert re.search(said, caplog.text)
    monkeypatch.setattr(importance, "SECONDS", 60)
    assert "<h3>importance</h3>" in report(run=run.name).read_text()
    assert [*run.plots] == ["importance"]
    stored = run.folder / "plots" / "importance.csv"
    written = stored.stat().st_mtime_ns
    report(run=run.name)
    assert stored.stat().st_mtime_ns == written


def test_shap_is_an_extra(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(UserError, match=r"needs shap: pip install -e '\.\[shap\]' -c constraints.txt"):
        explain(runs["hist_gb"].name, by="shap")


@pytest.mark.slow
def test_shap_finds_the_planted_column_and_its_values_add_up(runs, monkeypatch):
    """With the base value they sum up to the prediction of each row."""
    import shap

    seen, own, run = [], shap.PermutationExplainer.__call__, load(runs["hist_gb"].name)

    def call(*args, **options):
        seen.append(own(*args, **options))
        return seen[-1]

    monkeypatch.setattr(shap.PermutationExplainer, "__call__", call)
    frame = planted(12, seed=3)
    table = explain(run.name, input=frame, by="shap").set_index("column")["importance"]
    assert table.index[0] == "a" and table["noise"] < table["a"] / 4 and "shap" in run.plots
    assert np.allclose(seen[0].values.sum(1) + seen[0].base_values, run.predict_proba(frame), atol=1e-6)
    sizes = pd.Series(np.abs(seen[0].values).mean((0, 2)), ["noise", "a", "day", "colour"])
    assert np.allclose(table, sizes[table.index])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"by": "gini"}, "by=gini: should be permutation, shap or, of a sequence, mutation, occlusion"),
        ({"by": "mutation"}, "reads no text and no sequence"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(runs, words, sentence):
    with pytest.raises(UserError, match=sentence):
        explain(runs["hist_gb"].name, **words)
    assert shell.read(explain, ["run=t1", "by=permutation", "n=50"]).arguments["n"] == 50

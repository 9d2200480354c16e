"""Nested cross-validation: inner folds choose, the rows of an outer fold only score what was chosen."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table
from sklearn import model_selection as sk
from test_folds import cv, dataset

from src import ensemble_runs, fit, load, run_sweep
from src.config.check import check
from src.data.prepare import cut
from src.run.rows import rows_of
from src.study import nested
from src.system.errors import UserError

pytestmark = pytest.mark.usefixtures("compose_once")
INNER = ("cv.n_folds=2", "cv.n_outer=2")


@pytest.mark.parametrize("name", ["kfold", "stratified", "repeated"])
def test_outer_folds_part_the_rows_and_inner_folds_stay_within(name):
    frame = tiny_table("binary", n=120)
    plain, seen = cut(frame, dataset(), 5), []
    rows = np.sort(np.concatenate([plain["train"], plain["val"]]))
    y = frame["y"].to_numpy()[rows]
    kind = sk.KFold if name == "kfold" else sk.StratifiedKFold
    if name == "repeated":
        outer = sk.RepeatedStratifiedKFold(n_splits=4, n_repeats=1, random_state=5)
    else:
        outer = kind(4, shuffle=True, random_state=5)
    for k, (rest, held) in enumerate(outer.split(rows, y)):
        inner = cut(frame, dataset(), 5, cv(name, n_folds=3, n_outer=4, outer=k))
        assert len(inner) == (9 if name == "repeated" else 3)
        for one in inner:
            assert np.array_equal(one["test"], rows[held])
            both = np.concatenate([one["train"], one["val"]])
            assert np.array_equal(np.sort(both), rows[rest])
        seen += [*rows[held]]
    assert sorted(seen) == rows.tolist()


def test_outer_folds_keep_groups_and_time_apart():
    frame = tiny_table("regression", n=120).assign(g=np.arange(120) % 12, t=np.repeat(np.arange(60), 2))
    for k in range(3):
        for one in cut(frame, dataset(group="g"), 0, cv("group", n_folds=2, n_outer=3, outer=k)):
            groups = [set(frame["g"].iloc[rows]) for rows in one.values()]
            assert sum(map(len, groups)) == len(set.union(*groups))
        for one in cut(frame, dataset(time="t"), 0, cv("time", n_folds=2, n_outer=3, outer=k)):
            train, val, test = (frame["t"].iloc[one[part]] for part in ("train", "val", "test"))
            assert train.max() < val.min() and val.max() < test.min()


@pytest.fixture(scope="module")
def runs(outputs) -> dict:
    """{(neighbours, outer fold): run} of two settings; one neighbour is the worse."""
    tiny_table("binary").to_csv(outputs / "table.csv", index=False)
    found = {}
    for n in (1, 15):
        for outer in (0, 1):
            words = (f"model.arguments.n_neighbors={n}", f"cv.outer={outer}", f"dataset={outputs}/table.csv")
            found[n, outer] = fit("model=knn", "cv=stratified", *INNER, "dataset.target=y", *words, *QUIET)
    return found


def test_the_inner_folds_choose_and_the_outer_one_scores(runs, outputs):
    metrics = {key: run.report["metrics"] for key, run in runs.items()}
    best = {k: max((1, 15), key=lambda n: metrics[n, k]["val/accuracy"]) for k in (0, 1)}
    table = nested.choices([*runs.values()])
    assert table["fold"].tolist() == [0, 1]
    assert table["run"].tolist() == [runs[best[k], k].name for k in (0, 1)]
    assert table["setting"].tolist() == [f"knn model.arguments.n_neighbors={best[k]}" for k in (0, 1)]
    assert table["inner"].tolist() == [metrics[best[k], k]["val/accuracy"] for k in (0, 1)]
    assert table["outer"].tolist() == [metrics[best[k], k]["test/accuracy"] for k in (0, 1)]
    folder = outputs / "sweeps" / "s9"
    folder.mkdir(parents=True)
    lines = [{"job": i, "run": run.name, "status": "done"} for i, run in enumerate(runs.values())]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = nested.told(folder)
    assert f"accuracy {table['outer'].mean():.4f} ± {table['outer'].std():.4f} on rows that chose" in text
    assert pd.read_csv(folder / "nested.csv")["run"].tolist() == table["run"].tolist()
    (folder / "jobs.jsonl").write_text("")
    assert nested.told(folder) == ""


def test_test_rows_are_those_of_the_outer_fold(runs):
    run = load(runs[15, 1].name)
    rows = rows_of(run, "test")
    assert rows["y"].tolist() == [run.info["classes"][k] for k in run.arrays["test_y"]]
    assert np.allclose(run.predict_proba(rows), run.arrays["test_p"])
    with pytest.raises(UserError, match="holds out an outer fold as test: combine runs without"):
        ensemble_runs(f"{run.name},{runs[1, 1].name}", "mean")


def test_rows_of_the_outer_fold_and_of_test_teach_nothing(runs, outputs):
    frame, run = tiny_table("binary"), runs[15, 0]
    used = np.concatenate([run.arrays["val_id"], run.arrays["test_id"]])
    poisoned, held = frame.copy(), np.setdiff1d(np.arange(240), run.arrays["val_id"])
    assert len(used) == 192 and len(held) == 48 + len(run.arrays["test_id"])
    poisoned.loc[held, ["a", "b", "c", "d"]] = 1e9
    poisoned.loc[held, "colour"] = "poison"
    words = ("model.arguments.n_neighbors=15", "cv.outer=0", "dataset.target=y")
    other = fit("model=knn", "cv=stratified", *INNER, *words, *QUIET, data=poisoned)
    assert np.array_equal(other.arrays["val_p"], run.arrays["val_p"]) and other.objective == run.objective
    new = tiny_table("binary", 50, seed=3)
    assert np.array_equal(load(other.name).predict_proba(new), load(run.name).predict_proba(new))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cv=stratified", "cv.n_outer=2", "cv.outer=2"], r"cv.outer=2: there are 2 outer folds, from 0"),
        (["cv=loo", "cv.outer=192"], "cv.outer=192: there are 192 outer folds"),
        (["cv=kfold", "cv.n_outer=500", "cv.outer=0"], "take fewer folds"),
    ],
)
def test_outer_folds_that_cannot_be_cut_are_one_sentence(outputs, words, sentence):
    with pytest.raises(UserError, match=sentence):
        fit("model=linear", "dataset.target=y", *words, *QUIET, data=tiny_table("binary"))


def test_wrong_overrides_are_refused():
    with pytest.raises(UserError, match=r"search with one cv.outer"):
        check(["sweep=random", "cv=kfold", "cv.outer=0,1", "model.lr=interval(1e-4,1e-2)"], multirun=True)
    with pytest.raises(UserError, match=r"cv.outer=0 needs folds: add cv=kfold"):
        check(["cv.outer=0"])
    with pytest.raises(UserError, match="a whole number, at least 2"):
        check(["cv=kfold", "cv.n_outer=1"])


@pytest.mark.slow
def test_a_sweep_over_outer_folds_ends_with_the_choices(runs, outputs, capfd):
    words = ("cv=stratified", *INNER, "cv.outer=0,1", "model.arguments.n_neighbors=1,15", "pictures=false")
    table = run_sweep("model=knn", f"dataset={outputs}/table.csv", "dataset.target=y", *words, "logger=csv")
    said = capfd.readouterr().out
    assert len(table) == 4 and "nested folds" in said
    own = nested.choices([*runs.values()])
    path = max(outputs.glob("sweeps/*/nested.csv"), key=lambda path: path.stat().st_mtime)
    assert np.allclose(pd.read_csv(path)[["inner", "outer"]], own[["inner", "outer"]])

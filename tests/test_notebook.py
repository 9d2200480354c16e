"""The notebook: ``fit``, ``load`` and ``runs`` with overrides, on a DataFrame; mistakes are one sentence."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text

from src import fit, load, runs
from src.run.folder import runs_folder
from src.system.errors import UserError
from src.system.paths import versions_in

OVERRIDES = ("dataset.target=y", *QUIET, "trainer.max_epochs=3")
FAMILIES = ("mlp", "hist_gb")


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, outputs):
    """Train on the binary table, once with each family."""
    return fit(f"model={request.param}", *OVERRIDES, data=tiny_table("binary"))


def of_part(run, frame: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the rows of ``frame`` that are in a part of the run, in its order."""
    return frame.loc[run.arrays[f"{part}_id"]]


def test_the_run_shows_itself(run):
    assert repr(run).startswith(f"{run.name}: {run.cfg['model']['name']} on frame, done, val/accuracy 0.")


def test_fit_touches_neither_frame_nor_loaded_rows(outputs):
    frame = tiny_table("binary")
    run = fit("model=linear", *OVERRIDES, data=frame)
    load(run.name).predict(frame)
    pd.testing.assert_frame_equal(frame, tiny_table("binary"))


@pytest.mark.parametrize(
    ("task", "kind"), [("binary", str), ("multiclass", np.integer), ("regression", np.floating)]
)
@pytest.mark.parametrize("model", FAMILIES)
def test_labels_come_back_as_the_user_wrote_them(outputs, model, task, kind):
    frame = tiny_table(task)
    labels = load(fit(f"model={model}", *OVERRIDES, data=frame).name).predict(frame)["prediction"]
    assert labels.shape == (len(frame),) and isinstance(labels[0], kind)
    if task != "regression":
        assert set(labels) <= set(frame["y"])
    else:
        assert abs(labels.mean() - frame["y"].mean()) < 3 * frame["y"].std()


def test_true_and_false_come_back_as_booleans(outputs):
    frame = tiny_table("binary").assign(y=lambda table: table["y"] == "yes")
    labels = fit("model=linear", *OVERRIDES, data=frame).predict(frame)["prediction"]
    assert labels.dtype == bool and (labels == frame["y"]).mean() > 0.8


def test_probabilities_sum_to_one_and_name_the_label(run):
    frame = tiny_table("binary")
    p = run.predict_proba(frame)
    assert p.shape == (len(frame), 2) and np.allclose(p.sum(1), 1) and (p >= 0).all()
    assert np.array_equal(run.predict(frame)["prediction"], np.array(run.info["classes"])[p.argmax(1)])


def test_a_loaded_run_gives_the_recorded_predictions(run):
    for part in ("val", "test"):
        rows = of_part(run, tiny_table("binary"), part)
        assert np.array_equal(load(run.name).predict_proba(rows), run.arrays[f"{part}_p"])


def test_a_forest_on_two_threads_gives_its_recorded_predictions(outputs):
    """If threads added the trees in varying order, sums would differ in the last bit."""
    frame = tiny_table("regression", n=2000)
    overrides = ("model=random_forest", "model.regressor.n_estimators=50", "++model.regressor.n_jobs=2")
    run = fit(*overrides, *OVERRIDES, data=frame)
    rows = of_part(run, frame, "test")
    found = [load(run.name).predict(rows)["prediction"] for _ in range(3)]
    assert all(np.array_equal(p, run.arrays["test_p"]) for p in found)


def test_a_prediction_does_not_depend_on_the_other_rows(run):
    frame = tiny_table("binary")
    whole, reverse = run.predict_proba(frame), run.predict_proba(frame[::-1])
    assert np.allclose(whole[::-1], reverse, atol=1e-6)
    assert np.allclose(run.predict_proba(frame.iloc[[7]]), whole[[7]], atol=1e-6)


def test_new_rows_may_hold_what_training_never_saw(run):
    frame = tiny_table("binary", seed=9).head(5).drop(columns="y")
    frame["colour"] = ["mauve", None, "red", "red", "red"]
    frame.loc[2, ["a", "b"]] = np.nan  # columns that were never empty
    frame.loc[3, "c"] = 1e30
    frame.insert(0, "unheard_of", "x")
    p = run.predict_proba(frame)
    assert p.shape == (5, 2) and np.isfinite(p).all()


def test_a_missing_column_is_named(run):
    with pytest.raises(UserError, match="missing column: colour"):
        run.predict(tiny_table("binary").drop(columns="colour"))
    with pytest.raises(UserError, match="'heavy'"):
        run.predict(tiny_table("binary").assign(a="heavy"))


@pytest.mark.slow  # tests/test_common.py does it on other data for every model
def test_a_fresh_process_predicts_the_same(outputs, tmp_path):
    """One child process predicts with a run of each kind."""
    text = tiny_text()
    named = [fit(f"model={model}", *OVERRIDES, data=tiny_table("binary")).name for model in FAMILIES]
    overrides = ("dataset.target=label", "dataset.text=[sentence]", *QUIET, "trainer.max_epochs=2")
    named += [fit(f"model={model}", *overrides, data=text).name for model in ("cnn", "linear")]
    tiny_table("binary").to_pickle(tmp_path / "table")
    text.to_pickle(tmp_path / "text")
    code = f"""import numpy as np, pandas as pd; from src import load
for name, data in zip({named}, ["table"] * 2 + ["text"] * 2):
    np.save(f"{tmp_path}/{{name}}", load(name).predict_proba(pd.read_pickle(f"{tmp_path}/{{data}}")))"""
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, timeout=200)
    for name, frame in zip(named, [tiny_table("binary")] * 2 + [text] * 2, strict=True):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), load(name).predict_proba(frame)), name


def test_runs_is_a_frame_with_a_row_a_run(outputs):
    before = runs()
    run = fit("model=linear", "dataset=wine", *QUIET, "seed=3", "dataset.split_seed=4")
    after = runs()
    assert isinstance(after, pd.DataFrame) and list(after.index) == [*before.index, run.name]
    row = after.loc[run.name]
    assert (row["status"], row["model"], row["dataset"]) == ("done", "linear", "wine")
    assert (row["seed"], row["split_seed"], row["best_epoch"]) == (3, 4, 1)
    assert row["test/accuracy"] == run.report["metrics"]["test/accuracy"] and row["seconds"] > 0


def test_runs_of_an_empty_place_is_an_empty_frame(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    assert isinstance(runs(), pd.DataFrame) and len(runs()) == 0
    with pytest.raises(UserError, match="none yet"):
        load("t1")


def test_the_same_overrides_give_the_same_bits_and_another_seed_others(outputs):
    frame = tiny_table("binary")
    for model in FAMILIES:
        made = (fit(f"model={model}", *OVERRIDES, f"seed={seed}", data=frame) for seed in (0, 0, 1))
        once, again, other = (run.arrays for run in made)
        assert all(np.array_equal(once[key], again[key]) for key in once)
        assert np.array_equal(once["test_id"], other["test_id"]), "seed does not cut the test part"
        assert not np.array_equal(once["val_id"], other["val_id"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model=mpl"], "did you mean mlp"),
        (["model.lrr=1"], "did you mean model.lr"),
        (["++model.lrr=1"], "did you mean model.lr"),
        (["model.lr=abc"], "a number"),
        (["seed=-1"], "seed=-1"),
        (["seed=0,1"], "several"),
        (["dataset=csv", "dataset.target=y"], "dataset.path is required"),
        (["just overrides"], "key=value"),
        (["logger=tensorboard"], "there are: all"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(outputs, overrides, sentence):
    before = versions_in(runs_folder(), "t")
    with pytest.raises(UserError) as caught:
        fit(*QUIET, *overrides)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert versions_in(runs_folder(), "t") == before, "nothing was claimed"


@pytest.mark.parametrize(
    ("data", "overrides", "sentence"),
    [
        ([[1, 2]], ["dataset.target=y"], "DataFrame"),
        (None, ["dataset=frame", "dataset.target=y"], "data=df"),
        (tiny_table("binary"), [], "dataset.target is required"),
        (tiny_table("binary"), ["dataset.target=z"], "no such column"),
        (tiny_table("binary").assign(y=1), ["dataset.target=y"], "nothing to learn"),
        (tiny_table("binary").iloc[:0], ["dataset.target=y"], "no rows"),
    ],
    ids=["a list", "no frame", "no target", "unknown target", "one class", "no rows"],
)
def test_mistakes_in_the_data_are_one_sentence(outputs, data, overrides, sentence):
    with pytest.raises(UserError) as caught:
        fit("model=linear", *QUIET, *overrides, data=data)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_without_a_model_says_what_to_do(outputs):
    with pytest.raises(UserError):
        fit("model=knn", "dataset=wine", "class_weight=balanced", *QUIET)
    with pytest.raises(UserError, match="is failed and has no model"):
        load(runs().index[-1]).predict(tiny_table("binary"))


def test_a_regression_has_no_probabilities(outputs):
    run = fit("model=linear", "dataset=diabetes", *QUIET)
    with pytest.raises(UserError, match="regression"):
        run.predict_proba(tiny_table("regression"))


def test_overrides_may_be_a_list(outputs):
    assert fit(["model=linear", "dataset=wine", *QUIET]).status == "done"


def test_what_cannot_be_overrides_is_one_sentence(outputs, tmp_path):
    from src import run_etl

    before = len(runs())
    with pytest.raises(UserError, match="7 is not an override: write each as a string"):
        fit("model=linear", 7)
    with pytest.raises(UserError, match="dataset=wine and data= are two datasets"):
        fit("model=linear", "dataset=wine", "dataset.target=y", data=tiny_table("binary"))
    with pytest.raises(UserError, match="cannot name an ETL"):
        run_etl("../elsewhere", lambda df: df, data=tiny_table("binary"))
    assert len(runs()) == before and not (outputs / "elsewhere").exists()


# -- what a run shows


def test_history_predictions_and_pictures_are_shown(outputs):
    run = load(fit("model=linear", "dataset=wine", "logger=csv").name)
    assert run.history.index.name == "epoch" and run.history["val/loss"].tolist() == [run.rows[0]["val/loss"]]
    found = run.predictions
    assert list(found.columns[:4]) == ["part", "id", "y", "prediction"] and len(found.columns) == 7
    assert found["part"].value_counts().to_dict() == {"test": 37, "val": 21}
    test = found[found["part"] == "test"]
    assert test["id"].tolist() == run.arrays["test_id"].tolist()
    assert np.array_equal(test.iloc[:, 4:], run.arrays["test_p"])
    assert (test["y"] == test["prediction"]).mean() == pytest.approx(run.report["metrics"]["test/accuracy"])
    assert run.plots["test"].is_file() and run.plots._repr_html_().count("<img alt=") == len(run.plots) == 1


def test_predictions_of_a_regression_are_in_its_units(outputs):
    run = fit("model=linear", "dataset=diabetes", *QUIET)
    assert list(run.predictions.columns) == ["part", "id", "y", "prediction"]
    val = run.predictions.query("part == 'val'")
    assert np.array_equal(val["prediction"], run.arrays["val_p"])
    assert np.array_equal(val["y"], run.arrays["val_y"])
    assert len(run.plots) == 0 and run.plots._repr_html_() == ""


def test_dir_names_what_a_user_may_use(outputs):
    run = fit("model=linear", "dataset=wine", *QUIET)
    assert dir(run) == sorted(
        "name folder status report cfg info history predictions plots objective predict predict_proba".split()
    )
    assert all(getattr(run, name) is not None for name in dir(run)) and not hasattr(run, "resume")


def test_the_newest_run_and_a_number_open(outputs):
    before, run = (fit("model=linear", "dataset=wine", f"seed={seed}", *QUIET) for seed in (1, 0))
    number = int(run.name[1:])
    names = [load(name).name for name in ("latest", -1, number, str(number), np.int64(number), run.name)]
    assert set(names) == {run.name} and load(-2).name == before.name
    for wrong in (10**6, -(10**6), "newest", 0, "t0"):
        with pytest.raises(UserError, match=r"no run .* in .*: there are t1 to t"):
            load(wrong)


def test_a_stopped_run_says_that_it_has_no_predictions(outputs):
    with pytest.raises(UserError):
        fit("model=knn", "dataset=wine", "class_weight=balanced", *QUIET)
    with pytest.raises(UserError, match="is failed and has no predictions"):
        _ = load(-1).predictions

"""Pruning: a search ends a run early; what the run keeps, and that watching a fit does not change it."""

import logging

import numpy as np
import pytest
from checks import load_model
from conftest import QUIET, tiny_table

from src import load, runs
from src.config.compose import compose
from src.logger.csv import read
from src.resume import resume
from src.run.folder import find, model_path
from src.run.job import run_job
from src.system.errors import UserError
from src.trainer.family import family
from src.trainer.history import Pruned

WINE = ("dataset=wine", "threads=1", *QUIET)
HIST = ("model=hist_gb", "model.arguments.max_iter=60")
EARLY = (*HIST, "model.arguments.learning_rate=0.5", "model.arguments.n_iter_no_change=4")


@pytest.fixture(autouse=True)
def _told(caplog):
    caplog.set_level(logging.INFO, "reprise")


def train(*words: str, watch=None, frame=None):
    return run_job(compose([*WINE, *words]), watch=watch, frame=frame)


def after(epoch: int):
    """Return a watch that prunes a run after ``epoch``."""

    def watch(row: dict) -> None:
        if row["epoch"] >= epoch:
            raise Pruned

    return watch


def equal(run, other) -> bool:
    return all(np.array_equal(array, other.arrays[name]) for name, array in run.arrays.items())


# -- a pruned run


@pytest.mark.parametrize(("words", "epochs", "epoch"), [
    (("model=mlp", "model.net.d_hidden=8", "trainer.max_epochs=6"), [1, 2, 3], 3),
    (("model=mlp", "model.net.d_hidden=8", "trainer.max_epochs=6"), [1], 1),
    (HIST, [10], 1), (HIST, [10, 30], 30),
    (("model=gradient_boosting", "model.arguments.n_estimators=40"), [10, 30], 11),
    (("model=random_forest", "model.arguments.n_estimators=31"), [10], 10),
    (("model=sgd", "trainer.max_epochs=5"), [1, 2], 2),
])  # fmt: skip
def test_a_pruned_run_keeps_its_history_and_goes_on_as_if_never_pruned(outputs, words, epochs, epoch):
    run = train(*words, watch=after(epoch))
    assert run.status == load(run.name).status == runs().loc[run.name, "status"] == "pruned"
    assert [row["epoch"] for row in run.rows] == epochs
    assert repr(read(run.folder / "metrics.csv")) == repr(run.rows)  # as text: nan is not nan
    assert f"{run.name} pruned after epoch {epochs[-1]}" in (run.folder / "log.txt").read_text()
    for name in ("DONE", "predictions.npz", "model"):
        assert not (run.folder / name).exists()
    assert "error" not in run.report and run.report["metrics"] == {} and np.isnan(run.objective)
    with pytest.raises(UserError, match=f"{run.name} is pruned and has no model yet"):
        run.predict([])
    whole, again = train(*words), resume(run.name)
    assert again.status == "done" and equal(whole, again) and repr(again.rows) == repr(whole.rows)
    if words[0] == "model=mlp":
        files = [model_path(one.folder, one.cfg["model"]) for one in (again, whole)]
        assert family(again.cfg["model"]).difference(*files) == 0


def test_a_pruned_net_is_finished_with_its_best_epoch_so_far(outputs):
    words = ("model=mlp", "model.net.d_hidden=8")
    run = train(*words, "trainer.max_epochs=9", watch=after(4))
    kept = resume(run.name, finish=True)
    assert equal(kept, train(*words, "trainer.max_epochs=3")), "the last checkpoint is that of epoch 3"


def test_the_watch_sees_each_row_after_it_is_recorded(outputs):
    seen = []

    def watch(row: dict) -> None:
        assert repr(read(find("latest") / "metrics.csv")[-1]) == repr(row)
        seen.append(row)

    run = train("model=sgd", "trainer.max_epochs=4", watch=watch)
    assert seen == run.rows and [row["epoch"] for row in seen] == [1, 2, 3, 4]


def test_an_error_of_the_watch_is_an_error_of_the_run(outputs):
    def watch(row: dict) -> None:
        raise RuntimeError("the study is gone")

    with pytest.raises(RuntimeError, match="the study is gone") as found:
        train("model=mlp", "model.net.d_hidden=8", watch=watch)
    assert load(found.value.run).status == "failed"


@pytest.mark.slow
def test_two_ranks_end_together(outputs):
    words = ("model=mlp", "model.net.d_hidden=8", "trainer.max_epochs=40", "model.patience=null")
    words = (*words, "trainer.devices=2", "trainer.accelerator=cpu")
    run = train(*words, watch=after(2))
    assert run.status == "pruned" and [row["epoch"] for row in run.rows] == [1, 2]
    assert not (run.folder / "checkpoints" / "ranks").exists()


def test_its_curve_is_drawn(outputs):
    cfg = compose([*WINE, "model=sgd", "trainer.max_epochs=4", "pictures=true"])
    run = run_job(cfg, watch=after(3))
    assert list(run.plots) == ["learning_curves"]
    assert list(resume(run.name).plots) == ["learning_curves", "test"]


# -- watching changes nothing


TASKS = ("binary", "multiclass", "regression")
WATCHED = [
    HIST, EARLY, (*HIST, "model.arguments.early_stopping=false", "+model.arguments.max_features=0.5"),
    (*EARLY, "model.pass_val=false"), (*EARLY, "model.pass_val=false", "+model.arguments.scoring=r2"),
    (*EARLY, "model.pass_val=false", "+model.arguments.validation_fraction=null"),
    ("model=gradient_boosting", "model.arguments.n_estimators=33", "model.arguments.subsample=0.6"),
    ("model=random_forest", "model.arguments.n_estimators=33"),
    ("model=sgd", "trainer.max_epochs=5"),
]  # fmt: skip
PAIRS = [
    pytest.param(words, task, id=f"{task} {' '.join(words)}", marks=() if i % 3 == j else pytest.mark.slow)
    for i, words in enumerate(WATCHED)
    for j, task in enumerate(TASKS)
]


@pytest.mark.parametrize(("words", "task"), PAIRS)
def test_a_watched_fit_is_the_fit(outputs, words, task):
    if "+model.arguments.scoring=r2" in words and task != "regression":
        words = (*words[:-1], "+model.arguments.scoring=balanced_accuracy")
    frame = tiny_table(task).assign(w=np.random.default_rng(0).uniform(0.2, 3, 240))
    data = ("dataset=frame", "dataset.target=y", "dataset.weight=w", *words)
    plain, watched = (train(*data, frame=frame, watch=watch) for watch in (None, lambda row: None))
    assert equal(plain, watched) and plain.report["metrics"] == watched.report["metrics"]
    assert plain.rows[-1] == watched.rows[-1] and plain.report["best_epoch"] == watched.report["best_epoch"]
    if "hist_gb" in words[0] or "boosting" in words[0]:
        ours, theirs = (load_model(run).model for run in (plain, watched))
        assert ours.get_params() == theirs.get_params()
        assert np.array_equal(ours.train_score_, theirs.train_score_)


@pytest.mark.parametrize(("words", "name"), [
    (("model=linear",), "LogisticRegression"),
    (("model=sklearn.ensemble.AdaBoostClassifier", "model.progress=staged"), "AdaBoostClassifier"),
    (("model=gradient_boosting", "+model.arguments.n_iter_no_change=3"), "GradientBoostingClassifier"),
    (("model=hist_gb", "model.progress=once"), "HistGradientBoostingClassifier"),
])  # fmt: skip
def test_a_fit_in_one_go_is_not_pruned_and_says_so(outputs, words, name, caplog):
    run = train(*words, watch=after(1))
    assert run.status == "done" and equal(run, train(*words))
    assert caplog.text.count(f"this run cannot be pruned: {name} is fitted in one go") == 1

"""Pruning: a search ends a run early; what the run keeps, and that watching a fit does not change it."""

import logging
import math
import random
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from checks import load_model
from conftest import CHECKOUT, QUIET, tiny_table, until
from optuna.trial import TrialState

from src import load, runs, sweep
from src.config.check import check
from src.config.compose import compose
from src.logger.csv import read
from src.resume import resume
from src.run.folder import find, model_path
from src.run.job import run_job
from src.study.jobs import rows
from src.study.search import open_study, watch
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

    def look(row: dict) -> None:
        if row["epoch"] >= epoch:
            raise Pruned

    return look


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
    shown = []

    def look(row: dict) -> None:
        assert repr(read(find("latest") / "metrics.csv")[-1]) == repr(row)
        shown.append(row)

    run = train("model=sgd", "trainer.max_epochs=4", watch=look)
    assert shown == run.rows and [row["epoch"] for row in shown] == [1, 2, 3, 4]


def test_an_error_of_the_watch_is_an_error_of_the_run(outputs):
    def look(row: dict) -> None:
        raise RuntimeError("the study is gone")

    with pytest.raises(RuntimeError, match="the study is gone") as found:
        train("model=mlp", "model.net.d_hidden=8", watch=look)
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
    plain, watched = (train(*data, frame=frame, watch=look) for look in (None, lambda row: None))
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


# -- a search that prunes


WORDS = ("-m", "sweep=random", "sweep.n_trials=9", "sweep.pruner=median", "sweep.n_startup_trials=2")
WORDS += ("sweep.n_warmup_epochs=2", "model.arguments.alpha=tag(log,interval(1e-6,1e2))", "model=sgd", *WINE)
WORDS += ("trainer.max_epochs=6", "metric=log_loss")


def states(study) -> dict[int, str]:
    """{number of a trial: how it ended}, in the words of runs."""
    words = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}
    return {trial.number: words[trial.state] for trial in study.trials}


def test_a_search_ends_bad_trials_early(outputs, shell):
    done = shell("train", *WORDS)
    assert done.returncode == 0, done.stderr
    table, study = sweep("s1"), open_study(outputs / "sweeps/s1", {"study": None, "storage": None})
    ends = dict(zip(table["job"], table["status"], strict=True))
    assert ends == states(study) == {row["job"]: row["status"] for row in rows(outputs / "sweeps/s1")}
    n_pruned = (table["status"] == "pruned").sum()
    assert 2 <= n_pruned <= 6 and list(table["status"][:2]) == ["done"] * 2
    assert f"s1   {9 - n_pruned} of 9 jobs done, {n_pruned} pruned   best" in done.stdout
    assert (table["val/log_loss"].isna() == (table["status"] == "pruned")).all()
    for run, trial in zip(map(load, table["run"]), study.trials, strict=True):
        logged = {row["epoch"]: row["val/log_loss"] for row in run.rows}
        assert trial.intermediate_values == logged and len(logged) >= 3
    n = len(runs())
    again = shell("train", "sweep_resume=s1")
    assert again.returncode == 0 and len(runs()) == n and sweep("s1").equals(table)


@pytest.fixture
def section(outputs, tmp_path):
    """Return the options of a search, and make its study in ``tmp_path``, with trials 0 to 4 at their end."""
    options = {"study": None, "storage": None, "trial": 5, "pruner": "median", "n_startup_trials": 5,
               "n_warmup_epochs": 0, "min_epochs": 1, "max_epochs": None}  # fmt: skip
    study = open_study(tmp_path, options, directions=lambda: ["maximize"])
    study.set_metric_names(["val/f1"])
    for score in range(5):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(score * epoch, epoch)
        study.tell(trial, score)
    study.ask()
    return options


def seen(look, *values: float, begin: int = 1) -> list[int]:
    """Return the epochs that a watch saw until it pruned."""
    for epoch, value in enumerate(values, begin):
        try:
            look({"epoch": epoch, "val/f1": value})
        except Pruned:
            return [*range(begin, epoch + 1)]
    return []


def test_the_median_decides(section, tmp_path):
    """After epochs 1, 2, 3 the medians are 2, 4, 6; the best value so far counts."""
    assert seen(watch(tmp_path, section, 3), 2.5, 3.9, 1) == [1, 2]
    assert open_study(tmp_path, section).trials[5].intermediate_values == {1: 2.5, 2: 3.9}


def test_no_row_is_reported_twice(section, tmp_path):
    """A run that was killed after epoch 2 goes on from its checkpoint of epoch 1."""
    assert seen(watch(tmp_path, section, 3), 2.5, 4.5) == []
    assert seen(watch(tmp_path, section, 3), 0, 4.5, 5.9) == [1, 2, 3]
    assert open_study(tmp_path, section).trials[5].intermediate_values == {1: 2.5, 2: 4.5, 3: 5.9}


def test_a_decision_that_a_kill_has_lost_is_taken_again(section, tmp_path):
    assert seen(watch(tmp_path, section, 3), 1) == [1] == seen(watch(tmp_path, section, 3), 1)


@pytest.mark.parametrize(("change", "values", "end"), [
    ({"n_startup_trials": 6}, (0, 0, 0), []), ({"n_warmup_epochs": 2}, (0, 0, 0), [1, 2, 3]),
    ({"pruner": None}, None, None), ({}, (math.nan, 9, math.nan), []), ({}, (math.nan, 1), [1, 2]),
])  # fmt: skip
def test_options_of_median(section, tmp_path, change, values, end):
    """A metric may not be a number in the first epochs: such a row decides nothing."""
    look = watch(tmp_path, section | change, 3)
    assert look is None if values is None else seen(look, *values) == end


@pytest.mark.parametrize(("words", "said"), [
    (["model=mlp,cnn"], "sweep.pruner compares epochs of one model"),
    (["sweep.metric=[accuracy,seconds]"], "sweep.pruner compares one metric"),
    (["sweep.metric=seconds"], "sweep.pruner compares a metric of each epoch"),
    (["model=linear"], "sweep.pruner finds model=linear fitted in one go"),
    (["model=hist_gb", "model.progress=once"], "sweep.pruner finds model=hist_gb fitted in one go"),
    (["sweep.min_epochs=4", "sweep.max_epochs=3"], "needs sweep.min_epochs below sweep.max_epochs"),
    (["sweep.n_startup_trials=-1"], "sweep.n_startup_trials=-1: should be a whole number"),
    (["sweep.pruner=hyperban"], "did you mean hyperband"),
])  # fmt: skip
def test_what_cannot_be_pruned_is_refused_before_it_starts(words, said):
    with pytest.raises(UserError, match=re.escape(said)):
        check(["sweep=optuna", "sweep.pruner=hyperband", "seed=1,2,3", *words], True)


@pytest.mark.slow
def test_a_killed_search_prunes_as_an_undisturbed_one(outputs, shell):
    words = (*WORDS, "sweep=optuna", "sweep.n_trials=14", "dataset=digits")  # the later override counts
    assert shell("train", *words).returncode == 0
    whole = runs().iloc[-1]["sweep"]
    name = f"s{int(whole[1:]) + 1}"
    folder, command = outputs / "sweeps" / name, [*words]
    for n in (3, 6, 9, 12):
        child = subprocess.Popen([sys.executable, "-m", "src.train", *command], cwd=CHECKOUT,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        until(lambda n=n: len(rows(folder)) >= n)
        time.sleep(random.Random(n).uniform(0, 0.3))
        child.kill()
        child.wait()
        command = [f"sweep_resume={name}"]
    done = shell("train", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = sweep(name), sweep(whole)
    columns = ["job", "status", "model.arguments.alpha", "val/log_loss"]
    assert ours[columns].equals(theirs[columns]) and {"done", "pruned"} == {*ours["status"]}
    for run, other in zip(map(load, ours["run"]), map(load, theirs["run"]), strict=True):
        assert repr(run.rows) == repr(other.rows)
    options = {"study": None, "storage": None}
    assert states(open_study(folder, options)) == dict(zip(theirs["job"], theirs["status"], strict=True))

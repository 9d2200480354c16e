"""``cv=kfold``: folds are runs of one parent, cut once, trained once, and learn nothing of held-out rows."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, assert_same, tiny_table, until
from omegaconf import OmegaConf
from sklearn import model_selection as sk
from test_common import MODELS, config_of

from src import fit, load, run_sweep
from src.config.check import check
from src.config.compose import compose
from src.config.tree import CONF
from src.data import load as data_load
from src.data import prepare
from src.data.prepare import cut
from src.dataset import wine
from src.metric.functions import rmse
from src.pack import pack
from src.replay import replay
from src.resume import resume
from src.run.folder import run_names
from src.run.job import run_job
from src.run.members import leaves, node_of
from src.run.remove import remove_run
from src.study import folds as study_folds
from src.study.experiment import write_experiment
from src.study.folds import folds_of
from src.study.leaderboard import leaderboards
from src.study.run import run_config
from src.system.errors import UserError
from src.unpack import unpack

pytestmark = pytest.mark.usefixtures("compose_once")
LINEAR = ("model=linear", "dataset=frame", "dataset.target=y", *QUIET)


def dataset(**keys) -> dict:
    return config_of("linear")["dataset"] | keys


def cv(name: str, **keys) -> dict:
    """Return the section of cv=name, without a compose."""
    files = [OmegaConf.to_container(OmegaConf.load(CONF / f"cv/{one}.yaml")) for one in ("_base", name)]
    files[1].pop("defaults")
    return files[0] | files[1] | keys


@pytest.fixture(scope="module")
def parent(outputs):
    """A cross-validation of five folds on `tiny_table`."""
    return fit(*LINEAR, "cv=kfold", data=tiny_table("binary"))


# -- the cut


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", ["kfold", "stratified", "repeated", "loo"])
def test_folds_are_those_of_scikit_learn(name, task):
    frame = tiny_table(task, n=60)
    section = cv(name, **({"n_folds": 3} if name != "loo" else {}))
    if (name, task) == ("stratified", "regression"):
        with pytest.raises(UserError, match="take cv=kfold"):
            cut(frame, dataset(), 5, section)
        return
    plain, found = cut(frame, dataset(), 5), cut(frame, dataset(), 5, section)
    rows = np.sort(np.concatenate([plain["train"], plain["val"]]))
    y = frame["y"].astype(str).to_numpy()[rows]
    classes = task != "regression"
    splitter = {
        "kfold": sk.KFold(3, shuffle=True, random_state=5),
        "stratified": sk.StratifiedKFold(3, shuffle=True, random_state=5),
        "repeated": (sk.RepeatedStratifiedKFold if classes else sk.RepeatedKFold)(
            n_splits=3, n_repeats=3, random_state=5
        ),
        "loo": sk.LeaveOneOut(),
    }[name]
    wanted = [*splitter.split(rows, y)]
    assert len(found) == len(wanted) == {"repeated": 9, "loo": len(rows)}.get(name, 3)
    for one, (train, val) in zip(found, wanted, strict=True):
        assert np.array_equal(one["train"], rows[train]) and np.array_equal(one["val"], rows[val])
        assert np.array_equal(one["test"], plain["test"])


def test_folds_keep_groups_and_time_apart():
    frame = tiny_table("regression", n=90).assign(g=np.arange(90) % 9, t=np.repeat(np.arange(30), 3))
    for one in cut(frame, dataset(group="g"), 0, cv("group", n_folds=4)):
        groups = [set(frame["g"].iloc[rows]) for rows in one.values()]
        assert sum(map(len, groups)) == 9 == len(set.union(*groups))
    several = cut(frame, dataset(time="t"), 0, cv("time", n_folds=4))
    ends = [frame["t"].iloc[one["val"]].max() for one in several]
    assert ends == sorted(ends) and len(several) == 4
    for one in several:
        train, val, test = (frame["t"].iloc[rows] for rows in one.values())
        assert train.max() < val.min() and val.max() < test.min()


def test_similar_sequences_stay_in_one_fold():
    rng = np.random.default_rng(0)
    stems = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(12)]
    frame = pd.DataFrame({"s": [stem[:-1] + end for stem in stems for end in "ACGT"], "y": np.arange(48) / 2})
    keys = {"text": ["s"], "split_by": "similarity", "alphabet": "dna"}
    for one in cut(frame, dataset(**keys), 0, cv("group", n_folds=3)):
        train, val, _ = ({i // 4 for i in rows} for rows in one.values())
        assert not train & val


N = np.arange(240)
NOT_TEST = np.where(N % 5 == 1, "test", "train")
RARE = {"y": np.where(N < 4, "rare", ["yes", "no"] * 120)}
ALONE = {"y": np.where(N < 1, "alone", ["yes", "no"] * 120)}


@pytest.mark.parametrize(
    ("words", "columns", "sentence"),
    [
        (["cv=stratified", "cv.n_folds=9"], RARE, "least populated class in y has only 3 members"),
        (["cv=repeated", "cv.n_folds=4"], RARE, "less than n_splits=4: take fewer folds"),
        (["cv=loo"], ALONE, r"trains on no row of class 'alone' \(1 not in test\)"),
        (["cv=kfold", "cv.n_folds=193"], {}, "n_samples=192: take fewer folds"),
        (["cv=kfold", "dataset.group=g"], {"g": N}, "take cv=group"),
        (["cv=group", "dataset.group=g", "cv.n_folds=4"], {"g": N % 4}, "number of groups: 3: take fewer"),
        (["cv=stratified", "dataset.time=g"], {"g": N}, "take cv=time"),
        (["cv=time", "dataset.time=g", "cv.n_folds=7"], {"g": N % 9}, "number of samples=7: take fewer"),
        (["cv=group"], {}, "cv=group needs dataset.group=column"),
        (["cv=time"], {}, "cv=time needs dataset.time=column"),
        (["cv=kfold", "cv.fold=5"], {}, "cv.fold=5: there are 5 folds, from 0 to 4"),
    ],
)
def test_folds_that_cannot_be_cut_are_one_sentence(words, columns, sentence, outputs):
    frame = tiny_table("binary").assign(part=NOT_TEST, **columns)
    part = [] if "g" in columns or not columns else ["dataset.split=part"]
    typed = dict(word.split("=") for word in (*words, *part))
    keys = {key[3:]: int(value) for key, value in typed.items() if key.startswith("cv.")}
    cfg = config_of("linear") | {"cv": cv(typed["cv"], **keys), "pictures": False}
    cfg["dataset"] = dataset(**{key[8:]: value for key, value in typed.items() if key.startswith("dataset.")})
    with pytest.raises(UserError, match=sentence) as found:
        run_config(cfg, frame=frame)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cv.n_folds=3"], "cv.n_folds=3 needs folds: add cv=kfold"),
        (["cv=kfold", "cv.n_folds=1"], "a whole number, at least 2"),
        (["cv=kfolds"], "did you mean kfold"),
        (["cv=loo", "cv.n_folds=3"], "cv.n_folds is unknown"),
        (["cv=kfold", "cv.n_jobs=0"], "a whole number, at least 1"),
        (["cv=kfold", "cv.name=loo"], "names are not set"),
    ],
)
def test_wrong_overrides_of_folds_are_refused(words, sentence):
    with pytest.raises(UserError, match=sentence):
        check(words)


# -- the parent


def test_a_parent_holds_what_its_folds_predicted(parent):
    frame, children = tiny_table("binary"), folds_of(parent.name)
    assert sorted(children) == [0, 1, 2, 3, 4] and parent.status == "done"
    arrays, of_folds = parent.arrays, [children[fold].arrays for fold in range(5)]
    held = {i: p for one in of_folds for i, p in zip(one["val_id"], one["val_p"], strict=True)}
    assert np.array_equal(arrays["val_id"], sorted(held)) and len(held) == 240 - len(arrays["test_id"])
    assert np.array_equal(arrays["val_p"], [held[i] for i in arrays["val_id"]])
    assert np.array_equal(arrays["test_p"], np.mean([one["test_p"] for one in of_folds], 0))
    scores = [children[fold].report["metrics"]["val/accuracy"] for fold in range(5)]
    assert parent.objective == pytest.approx(np.mean(scores))
    assert parent.report["sd"]["val/accuracy"] == pytest.approx(np.std(scores, ddof=1))
    assert [row["val/accuracy"] for row in parent.rows] == scores
    test = (arrays["test_p"].argmax(1) == arrays["test_y"]).mean()
    assert parent.report["metrics"]["test/accuracy"] == test
    assert [fold["run"] for fold in parent.report["folds"]] == [children[fold].name for fold in range(5)]
    rows = frame.drop(columns="y").iloc[arrays["test_id"]]
    assert np.array_equal(load(parent.name).predict_proba(rows), arrays["test_p"])
    log = (parent.folder / "log.txt").read_text()
    assert re.search(rf"mean .* {np.mean(scores):.4f} .*\n.*std .* {np.std(scores, ddof=1):.4f} ", log)


def test_each_fold_is_a_run_that_can_be_replayed_and_trained_alone(parent):
    frame, children = tiny_table("binary"), folds_of(parent.name)
    alone = fit(*LINEAR, "cv=kfold", "cv.fold=2", data=frame)
    assert alone.cfg == children[2].cfg | {"pictures": False} and "cv_of" not in alone.report
    assert np.array_equal(alone.arrays["val_p"], children[2].arrays["val_p"])
    assert children[3].report["overrides"][-1] == "cv.fold=3" and children[3].report["cv_of"] == parent.name


def test_the_mean_of_repeated_folds():
    frame = tiny_table("regression", n=80)
    run = fit(*LINEAR, "cv=repeated", "cv.n_folds=2", "cv.n_repeats=3", data=frame)
    of_folds = [one.arrays for one in folds_of(run.name).values()]
    assert len(of_folds) == 6
    for i, p in zip(run.arrays["val_id"][:9], run.arrays["val_p"], strict=False):
        each = [one["val_p"][one["val_id"] == i][0] for one in of_folds if i in one["val_id"]]
        assert len(each) == 3 and p == pytest.approx(np.mean(each), rel=1e-12)


def test_leave_one_out_is_judged_by_all_rows_together(outputs):
    run = fit(*LINEAR, "cv=loo", data=tiny_table("regression", n=15))
    assert len(run.report["folds"]) == len(run.arrays["val_y"]) == 12
    assert run.objective == pytest.approx(rmse(run.arrays["val_y"], run.arrays["val_p"]))


def test_the_table_is_read_and_cut_once(outputs, monkeypatch):
    calls = {"read": 0, "cut": 0}

    def counted(name, function):
        def call(*args, **options):
            calls[name] += 1
            return function(*args, **options)

        return call

    read = counted("read", data_load.read_dataset)
    monkeypatch.setattr(data_load, "read_dataset", read)
    for module in (data_load, study_folds):
        monkeypatch.setattr(module, "cut", counted("cut", prepare.cut))
    fit("model=linear", "dataset=wine", "cv=kfold", *QUIET)
    assert calls == {"read": 1, "cut": 1}


def test_folds_side_by_side_are_the_same(parent):
    words = (*LINEAR, "cv=kfold", "cv.n_folds=2", "threads=1")
    run = fit(*words, "cv.n_jobs=2", data=tiny_table("binary"))
    serial = fit(*words, data=tiny_table("binary"))
    assert all(np.array_equal(run.arrays[key], serial.arrays[key]) for key in run.arrays)
    assert run.rows == serial.rows and {one.cfg["cv"]["n_jobs"] for one in folds_of(run.name).values()} == {2}


def test_a_parent_predicts_without_its_folds_and_is_packed(outputs, tmp_path):
    run, rows = fit("model=linear", "dataset=wine", "cv=stratified", "cv.n_folds=3", *QUIET), wine.read({})
    before = run.predict_proba(rows)
    assert len(leaves(node_of(run))) == 3
    for one in folds_of(run.name).values():
        remove_run(one.name)
    assert np.array_equal(load(run.name).predict_proba(rows), before)
    pack(run.name, str(tmp_path / "p.zip"))
    with pytest.raises(UserError, match="trust=true"):
        unpack(str(tmp_path / "p.zip")).predict(rows)
    there = unpack(str(tmp_path / "p.zip"), trust=True)
    assert np.array_equal(load(there.name).predict_proba(rows), before)


@pytest.mark.slow
def test_a_parent_is_replayed_identical(outputs):
    run = fit("model=mlp", "dataset=wine", "cv=stratified", "cv.n_folds=3", "trainer.max_epochs=2", *QUIET)
    found = replay(run.name)
    assert found["identical"] and found["weights"] == 0.0 and len(folds_of(found["run"])) == 3
    assert not replay(run.name, "seed=1")["identical"]


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_cross_validation_that_is_killed_at_random_ends_like_one_that_is_not(outputs, n_jobs):
    """Bit for bit; no fold that was done is trained again."""
    words = ["model=mlp", "dataset=digits", "cv=kfold", f"cv.n_jobs={n_jobs}", "threads=1", *QUIET]
    words += ["trainer.max_epochs=12", "model.net.d_hidden=256"]
    whole, rng, done = fit(*words), random.Random(n_jobs), {}
    children, known = folds_of(whole.name), set(run_names())
    name, command = None, ["-m", "src.train", *words]
    for n_kills in range(7):
        process = subprocess.Popen([sys.executable, *command], cwd=CHECKOUT, start_new_session=True)
        name = name or until(lambda: next((one for one in run_names() if one not in known), None))
        command = ["-m", "src.resume", f"run={name}"]
        n = rng.randrange(1, 5)
        until(lambda p=process, n=n, of=name: p.poll() is not None or len(folds_of(of)) >= n)
        time.sleep(rng.uniform(0, 2))
        if n_kills < 6:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {fold: one.name for fold, one in folds_of(name).items() if one.status == "done"}
        assert now.items() >= done.items(), "a fold that was done is trained again"
        done = now
    for fold, one in folds_of(name).items():
        assert_same(one, children[fold])
    run = load(name)
    assert run.rows == whole.rows and run.report["metrics"] == whole.report["metrics"]
    assert all(np.array_equal(run.arrays[key], whole.arrays[key]) for key in whole.arrays)


def test_a_fold_that_is_done_is_never_trained_again(outputs, monkeypatch):
    from src.trainer import estimator

    fits, original = [], estimator.fit

    def limited(*args, **options):
        fits.append(1)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(estimator, "fit", limited)
    with pytest.raises(KeyboardInterrupt):
        fit("model=linear", "dataset=wine", "cv=kfold", *QUIET)
    name = f"t{max(int(path.name[1:]) for path in (outputs / 'runs').glob('t*')) - 3}"
    assert load(name).status == "stopped"
    done = {fold: run.name for fold, run in folds_of(name).items() if run.status == "done"}
    assert sorted(done) == [0, 1]
    run = resume(name)
    assert run.status == "done" and len(fits) == 3 + 3
    assert {fold: folds_of(name)[fold].name for fold in done} == done
    whole = fit("model=linear", "dataset=wine", "cv=kfold", *QUIET)
    assert all(np.array_equal(run.arrays[key], whole.arrays[key]) for key in whole.arrays)
    with pytest.raises(UserError, match="made of folds"):
        resume(name, max_epochs=200)


def test_a_fold_that_fails_is_named(outputs):
    frame = tiny_table("binary")
    with pytest.raises(UserError, match=r"fold 0, t\d+: .*n_neighbors") as found:
        fit("model=knn", *LINEAR[1:], "cv=kfold", "model.arguments.n_neighbors=1000", data=frame)
    assert load(found.value.run).status == "failed"


def test_the_leaderboard_counts_folds_as_seeds(parent):
    other = fit(*LINEAR, "cv=kfold", "model.classifier.C=1e-4", data=tiny_table("binary"))
    board = next(one for one in leaderboards() if parent.name in ",".join(one["runs"]).split(","))
    named = [runs.split(",") for runs in board["runs"]]
    mine, theirs = (next(names for names in named if one.name in names) for one in (parent, other))
    assert mine != theirs and board["seeds"].iloc[named.index(theirs)] == 5 * len(theirs)
    assert board["val"].iloc[named.index(theirs)] == pytest.approx(other.objective)
    children = {one.name for name in (parent.name, other.name) for one in folds_of(name).values()}
    assert not children & {name for names in named for name in names}


SLOW = ("bilstm", "cnn", "dna_cnn", "pretrained", "transformer", "catboost", "tabm", "resnet", "xgboost")


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=[pytest.mark.slow] * (model in SLOW)) for model in MODELS]
)
def test_no_fold_learns_from_the_rows_that_it_holds_out(outputs, model):
    """Other values in a fold's val and test rows change nothing but what val chooses: an epoch."""
    frame, cfg = tiny_table("regression", n=120), config_of(model)
    cfg = cfg | {"cv": cv("kfold", n_folds=3, fold=1), "pictures": False}  # a new dict: others use it, too
    cfg |= {"trainer": cfg["trainer"] | {"max_epochs": 1}}
    if cfg["model"].get("pass_val"):
        cfg["model"] = cfg["model"] | {"regressor": cfg["model"]["regressor"] | {"early_stopping": False}}
    if cfg["model"].get("progress") == "native":  # the best of its iterations on val is kept
        counts = dict.fromkeys({"n_estimators", "iterations"} & cfg["model"]["arguments"].keys(), 1)
        cfg["model"] = cfg["model"] | {"arguments": cfg["model"]["arguments"] | counts}
    clean = run_job(cfg, frame=frame)
    held = np.concatenate([clean.arrays["val_id"], clean.arrays["test_id"]])
    poisoned = frame.copy()
    poisoned.loc[held, ["a", "b"]] = 1e6
    poisoned.loc[held, "colour"] = "poison"
    poisoned.loc[held, "y"] = -1e6
    again, aside = run_job(cfg, frame=poisoned), {"digest": 0, "etl_version": 0}
    assert load(clean.name).info | aside == load(again.name).info | aside
    first, second = (load(run.name).predict(frame)["prediction"] for run in (clean, again))
    assert np.array_equal(first, second)


@pytest.mark.slow
def test_folds_are_below_their_parent_in_the_trackers(outputs):
    """Of a sweep whose jobs are the parents: nested in MLflow, a finished run each, grouped in W&B."""
    from mlflow import MlflowClient

    from src.logger.mlflow import uri
    from src.logger.wandb import records

    words = ("cv=kfold", "cv.n_folds=2", "model=linear,knn", "dataset=wine", "logger.wait=300")
    table = run_sweep(*words, "pictures=false")
    assert list(table["status"]) == ["done"] * 2
    client = MlflowClient(tracking_uri=uri())
    for parent in map(load, table["run"]):
        assert parent.report["sweep"] and len(folds_of(parent.name)) == 2
        for run in (parent, *folds_of(parent.name).values()):
            stored = client.get_run(run.trackers["mlflow"]["run_id"])
            above = parent.trackers["mlflow"]["run_id"] if run is not parent else parent.report["parent"]
            assert stored.data.tags["mlflow.parentRunId"] == above and stored.info.status == "FINISHED"
            value = run.report["metrics"]["val/accuracy"]
            assert stored.data.metrics["best/val/accuracy"] == pytest.approx(value)
            found = records(Path(run.trackers["wandb"]["folders"][-1]))
            group = parent.report["sweep"] if run is parent else parent.name
            assert found["run"][0].run_group == group and len(found["exit"]) == 1


def test_presets_and_experiments_take_folds(outputs):
    """debug=... leaves cv=... as it is; the experiment that a leaderboard writes has the folds in it."""
    fast = compose(["model=linear", "debug=fast", "cv=repeated", "cv.n_repeats=2"])
    assert fast["cv"] == cv("repeated", n_repeats=2) and fast["trainer"]["max_epochs"] == 1
    fit("model=linear", "dataset=iris", "cv=repeated", "cv.n_folds=2", "cv.n_repeats=2", *QUIET)
    path = write_experiment("folds_of_iris", leaderboards(dataset="iris"))
    try:
        assert compose(["experiment=folds_of_iris"])["cv"] == cv("repeated", n_folds=2, n_repeats=2)
    finally:
        path.unlink()


def test_a_pruner_and_folds_cannot_meet():
    words = ["sweep=optuna", "sweep.pruner=median", "model=mlp", "model.lr=interval(1e-4,1e-1)", "cv=kfold"]
    with pytest.raises(UserError, match=r"sweep.pruner compares epochs of one fit.*leave cv out"):
        check(words, multirun=True)

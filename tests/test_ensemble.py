"""``python -m src.ensemble``: runs of any models become one run, of which test rows choose nothing."""

import re

import numpy as np
import pytest
from conftest import CHECKOUT, QUIET, tiny_table
from sklearn import model_selection
from sklearn.model_selection import KFold

from src import fit, load
from src.clean import clean
from src.config.check import check
from src.config.shell import read
from src.config.tree import choices
from src.ensemble import ensemble
from src.pack import pack
from src.replay import replay
from src.run.members import combine, leaves, node_of
from src.run.remove import remove_run
from src.study import ensemble as study_ensemble
from src.study.ensemble import greedy, weighted
from src.study.folds import folds_of
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.unpack import unpack

pytestmark = pytest.mark.usefixtures("compose_once")
WORDS = ("dataset=frame", "dataset.target=y", *QUIET)
METHODS = ("mean", "weighted", "greedy", "stack")
N_FOLDS = study_ensemble.N_FOLDS


@pytest.fixture(scope="module", autouse=True)
def few_folds():
    """Fewer folds of val, for fewer seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_ensemble, "N_FOLDS", 3)
        yield


@pytest.fixture(scope="module")
def members(outputs):
    """Names of a cross-validation of two models on each task: {"binary": ["t1", "t7"], ...}."""
    found = {}
    for task in ("binary", "multiclass", "regression"):
        words = (*WORDS, "cv=kfold", "cv.n_folds=2")
        runs = [fit(f"model={model}", *words, data=tiny_table(task)) for model in ("linear", "knn")]
        found[task] = [run.name for run in runs]
    return found


@pytest.fixture(scope="module")
def made(members):
    """``made("binary", "stack")`` combines once."""
    known = {}

    def make(task: str, method: str):
        if (task, method) not in known:
            known[task, method] = ensemble(",".join(members[task]), method)
        return known[task, method]

    return make


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_predicts_new_rows_as_it_was_recorded(made, task, method):
    run, frame = made(task, method), tiny_table(task)
    arrays = load(run.name).arrays
    rows = frame.drop(columns="y").iloc[arrays["test_id"]]
    if task == "regression":
        assert np.array_equal(load(run.name).predict(rows)["prediction"], arrays["test_p"])
    else:
        assert np.array_equal(load(run.name).predict_proba(rows), arrays["test_p"])
    assert run.status == "done"
    assert (run.folder / "DONE").is_file() and run.report["baseline"] and run.report["data_digest"]
    assert np.isfinite(arrays["val_p"]).all() and len(arrays["val_p"]) == len(arrays["val_y"])


def test_the_mean_and_its_table(made, members):
    run, each = made("binary", "mean"), [load(name) for name in members["binary"]]
    assert np.array_equal(run.arrays["test_p"], np.mean([one.arrays["test_p"] for one in each], 0))
    hits = lambda p: (p.argmax(1) == run.arrays["val_y"]).mean()  # noqa: E731
    for i, member in enumerate(run.report["members"]):
        own, other = (one.arrays["val_p"] for one in (each[i], each[1 - i]))
        assert member["val/accuracy"] == hits(own) and member["weight"] == 0.5
        assert member["brought"] == pytest.approx(hits((own + other) / 2) - hits(other))
    assert [member["run"] for member in run.report["members"]] == members["binary"]


@pytest.mark.parametrize("method", ["weighted", "greedy"])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_weights_are_fitted_on_a_part_of_val_to_predict_the_rest(made, members, task, method):
    run, each = made(task, method), [load(name) for name in members[task]]
    function, y = {"weighted": weighted, "greedy": greedy}[method], run.arrays["val_y"]
    if task == "binary":
        key = lambda y, p: ((p.argmax(1) == y).mean(), np.log(p[np.arange(len(y)), y].clip(1e-15)).mean())  # noqa: E731
    else:
        key = lambda y, p: (-np.sqrt(np.mean((y - p) ** 2)), -np.mean((y - p) ** 2))  # noqa: E731
    val = [one.arrays["val_p"] for one in each]
    for others, held in KFold(3, shuffle=True, random_state=0).split(y):
        weights = function([p[others] for p in val], y[others], key)
        wanted = combine([p[held] for p in val], weights)
        np.testing.assert_allclose(run.arrays["val_p"][held], wanted, rtol=1e-3, atol=1e-3)
    weights = [member["weight"] for member in run.report["members"]]
    assert sum(weights) == pytest.approx(1) and min(weights) >= 0
    kept = [one.name for one, weight in zip(each, weights, strict=True) if weight]
    assert {leaf["run"] for leaf in leaves(node_of(run))} == {
        fold.name for name in kept for fold in folds_of(name).values()
    }


def test_weights_that_are_known():
    """The least squares of two noisy copies weigh them by their precision; greedy comes near."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=20_000)
    each = [y + rng.normal(scale=scale, size=len(y)) for scale in (1, 2, 30)]
    key = lambda y, p: (-np.mean((y - p) ** 2),) * 2  # noqa: E731
    np.testing.assert_allclose(weighted(each, y, key), [0.8, 0.2, 0], atol=0.01)
    np.testing.assert_allclose(greedy(each, y, key), [0.8, 0.2, 0], atol=0.02)
    assert greedy(each[::-1], y, key)[::-1] == greedy(each, y, key)


def test_a_stack_is_trained_on_val_alone(made, members):
    run = made("binary", "stack")
    stack = load(next(leaf["run"] for leaf in leaves(node_of(run))[::-1]))
    parent = load(stack.report["cv_of"])
    assert parent.report["stack_of"] == run.name and len(parent.report["folds"]) == 3
    n_val = len(run.arrays["val_y"])
    assert np.array_equal(parent.arrays["val_id"], np.arange(n_val))
    assert np.array_equal(parent.arrays["val_p"], run.arrays["val_p"])


@pytest.mark.parametrize("method", METHODS)
def test_held_out_rows_choose_nothing(members, method):
    """Predictions for test and its targets that are nonsense leave weights, stack and val as they were."""
    before = ensemble(",".join(members["regression"]), method)
    paths = [load(name).folder / "predictions.npz" for name in members["regression"]]
    known = [path.read_bytes() for path in paths]
    try:
        for path in paths:
            arrays = dict(np.load(path))
            arrays |= {"test_y": arrays["test_y"] * 0 + 1e6, "test_p": -1e6 * arrays["test_p"]}
            np.savez(path, **arrays)
        after = ensemble(",".join(members["regression"]), method)
    finally:
        for path, content in zip(paths, known, strict=True):
            path.write_bytes(content)
    assert np.array_equal(after.arrays["val_p"], before.arrays["val_p"])
    weights = [[member.get("weight") for member in run.report["members"]] for run in (before, after)]
    assert weights[0] == weights[1]
    rows = tiny_table("regression").drop(columns="y")
    assert np.array_equal(after.predict(rows)["prediction"], before.predict(rows)["prediction"])


def test_layers(made, members):
    """An ensemble is a member like any other run."""
    first, second = made("binary", "mean"), made("binary", "stack")
    run = ensemble(f"{first.name},{second.name}", "mean")
    wanted = (first.arrays["test_p"] + second.arrays["test_p"]) / 2
    rows = tiny_table("binary").drop(columns="y").iloc[run.arrays["test_id"]]
    assert np.array_equal(run.arrays["test_p"], wanted) and np.array_equal(run.predict_proba(rows), wanted)


def test_a_pack_holds_all_that_it_needs(made, members, tmp_path):
    run, rows = made("multiclass", "stack"), tiny_table("multiclass").drop(columns="y")
    before = run.predict_proba(rows)
    path = pack(run.name, str(tmp_path / "e.zip"))
    there = unpack(str(path), trust=True)
    assert np.array_equal(load(there.name).predict_proba(rows), before) and "members" not in there.report
    with pytest.raises(UserError, match="trust=true"):
        load(unpack(str(path)).name).predict(rows)
    content = read_json(there.folder / "model/members.json")
    content["stack"]["members"][0]["file"] = "_99.joblib"
    write_json(there.folder / "model/members.json", content)
    with pytest.raises(UserError, match=r"its files do not fit together|not a readable model"):
        load(there.name, trust=True).predict(rows)


def test_a_member_that_is_removed_breaks_nothing(outputs):
    frame = tiny_table("binary", seed=5)
    names = [fit(f"model={model}", *WORDS, data=frame).name for model in ("linear", "knn")]
    run = ensemble(",".join(names), "mean")
    before = run.predict_proba(frame)
    clean(remove=",".join(names))
    assert np.array_equal(load(run.name).predict_proba(frame), before)
    with pytest.raises(UserError, match=f"no run {names[0]}"):
        ensemble(",".join(names))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["greedy", "stack"])
def test_an_ensemble_is_replayed_identical(members, method, monkeypatch):
    monkeypatch.setattr(study_ensemble, "N_FOLDS", N_FOLDS)  # as in the process of the replay
    run = ensemble(",".join(members["binary"]), method)
    assert replay(run.name, data=tiny_table("binary"))["identical"]


def test_runs_that_do_not_fit_are_named(members, outputs):
    frame, linear = tiny_table("binary"), ("model=linear", *WORDS)
    first = members["binary"][0]
    changed, words = frame.assign(a=frame["a"] + 1), (*linear, "cv=kfold", "cv.n_folds=2")
    others = {
        r"has other val rows than {} \([0-9]+ and 192\): train both with the same": fit(*linear, data=frame),
        "was trained on other data than {}": fit(*words, data=changed),
        "has another target than {}": fit(*words, data=tiny_table("regression")),
        "has other test rows than {}": fit(*words, "dataset.split_seed=1", data=frame),
    }
    for text, run in others.items():
        with pytest.raises(UserError, match=f"^{run.name} {text.replace('{}', first)}"):
            ensemble(f"{first},{run.name}")
    with pytest.raises(UserError, match="two runs or more"):
        ensemble(first)
    with pytest.raises(UserError, match="did you mean stack"):
        ensemble(",".join(members["binary"]), "stak")
    with pytest.raises(UserError, match="model=lineare is unknown"):
        ensemble(",".join(members["binary"]), "stack", "lineare")
    remove_run(run.name)


@pytest.mark.parametrize("part_of_gain", ["val", "both"])
def test_a_gain_on_val_that_is_none_on_test_is_told(outputs, caplog, part_of_gain):
    """Two members that are right on every second row; on test, also by the mean, or both on all rows."""
    frame = tiny_table("binary", seed=3)
    names = [fit(f"model={model}", *WORDS, data=frame).name for model in ("linear", "knn")]
    for i, run in enumerate(map(load, names)):
        arrays = run.arrays
        for part in ("val", "test"):
            y = arrays[f"{part}_y"]
            right = np.where(np.arange(len(y)) % 2 == i, 0.9, 0.4)
            right = np.full(len(y), 0.9) if (part, part_of_gain) == ("test", "val") else right
            arrays[f"{part}_p"] = np.where(np.eye(2)[y] == 1, right[:, None], 1 - right[:, None])
        np.savez(run.folder / "predictions.npz", **arrays)
    with caplog.at_level("WARNING", "reprise"):
        run = ensemble(",".join(names), "mean")
    assert run.report["metrics"]["val/accuracy"] == 1 > run.report["members"][0]["val/accuracy"]
    assert ("no gain on test: it may have overfitted val" in caplog.text) == (part_of_gain == "val")


def test_commands_of_the_page_are_right(outputs):
    """Those of train compose, those of ensemble name its options; the tables name what there is."""
    text = (CHECKOUT / "docs/folds.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m src\.(\w+) (.*)$", text, re.M)
    assert len(commands) == 11
    for verb, words in commands:
        if verb == "train":
            check([word for word in words.split() if word != "--multirun"], "--multirun" in words)
        else:
            read(ensemble, words.split())
    named = re.search(r"\| `method=`.*?\n\n", text, re.S)[0]
    assert tuple(re.findall(r"^\| `(\w+)` ", named, re.M)) == METHODS == tuple(study_ensemble.METHODS)
    of_folds = dict(re.findall(r"^\| `(\w+)` \| .* \| `(\w+)`", text, re.M))
    assert sorted(of_folds) == choices("cv")
    assert all(hasattr(model_selection, name) for name in of_folds.values())

"""Several models in one ONNX file: folds, ensembles, stacks, each model with its own preprocessing inside."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from conftest import QUIET, tiny_table, tiny_text

from src import fit, load
from src.ensemble import ensemble
from src.export import export
from src.format import estimators, together
from src.format.load import exported
from src.predict import predict
from src.serving.loaded import _predictor
from src.study import ensemble as study_ensemble
from src.system.errors import UserError

pytestmark = pytest.mark.usefixtures("compose_once")
FAST = ("cv=kfold", "cv.n_folds=2", "trainer.max_epochs=2", *QUIET)
MODELS = {
    "linear": (), "hist_gb": ("model.arguments.max_iter=8",),
    "mlp": ("model.net.d_hidden=8", "model.scaler=quantile"),
}  # fmt: skip


def table(task: str, n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Return rows with numbers, empty cells, categories and dates."""
    frame = tiny_table(task, n, seed)
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n) * 37 % 900, unit="D")
    frame["colour"] = frame["colour"].where(np.arange(n) % 50 > 0, f"only {seed}")  # not in every fold
    return frame


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """Fewer folds of val; exports are proven within this process, which has the libraries."""
    from src.format import export as module
    from src.format.proof import prove

    def proven(run, path, y, form):
        found = {"file": path.name} | prove(path, run.info, form)
        (path.parent / "p.npy").unlink()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_ensemble, "N_FOLDS", 2)
        patch.setattr(module, "_proven", proven)
        yield


@pytest.fixture(scope="module")
def members(outputs):
    """``members("binary")`` trains once: a run of folds for each model."""
    known = {}

    def make(task: str) -> list[str]:
        if task not in known:
            table(task).to_csv(outputs / f"{task}.csv", index=False)
            data = (f"dataset={outputs}/{task}.csv", "dataset.target=y", *FAST)
            more = () if task == "regression" else ("calibrate=temperature",)
            known[task] = [fit(f"model={name}", *words, *data, *more).name for name, words in MODELS.items()]
        return known[task]

    return make


def gap(name: str, frame: pd.DataFrame) -> float:
    """Return the largest difference of a run and its export on rows, in deviations of the target."""
    run = load(name)
    ours, theirs = (one.output(one.prepared(frame)[1]) for one in (run._predictor, exported(run, "onnx")))
    assert np.ptp(ours) > 0.01
    return np.abs(ours - theirs).max() / run.info["y_std"]


@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("binary", "stack"), pytest.param("multiclass", "greedy", marks=pytest.mark.slow),
        pytest.param("regression", "stack", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_an_ensemble_of_folds_is_one_file(members, tmp_path, task, method):
    name = ensemble(",".join(members(task)), method).name
    report = export(name, "onnx")
    assert report["difference"] < 1e-6 and report["inputs"] == ["x_num", "x_cat"]
    new = table(task, 300, seed=1).drop(columns="y")
    new.loc[::9, ["a", "day", "colour"]] = None
    assert gap(name, new) < 1e-6
    folder = load(name).folder / "exports/onnx"
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json", ".json", ".onnx"]
    new.to_csv(tmp_path / "new.csv", index=False)
    predict(name, str(tmp_path / "new.csv"), str(tmp_path / "p.csv"), format="onnx")
    assert pd.read_csv(tmp_path / "p.csv")["id"].tolist() == list(range(300))
    assert _predictor(load(name))[0] == "onnx", "the server takes it"
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert {one.name: one.type for one in session.get_inputs()}["x_num"] == "tensor(double)"


def test_folds_alone_are_one_file(members):
    for name in members("binary")[1:]:
        assert export(name, "onnx")["difference"] < 1e-6
        assert gap(name, table("binary", 50, seed=2)) < 1e-6


def test_curves_of_a_calibration(outputs, members):
    members("binary")
    words = (f"dataset={outputs}/binary.csv", "dataset.target=y", "calibrate=isotonic", *FAST)
    name = fit("model=linear", *words).name
    assert export(name, "onnx")["difference"] < 1e-6 and gap(name, table("binary", 200, seed=2)) < 1e-6


def test_texts_of_other_vocabularies(outputs):
    """Folds of few rows know other words, and cut rows at their own longest."""
    tiny_text(60).to_csv(outputs / "s.csv", index=False)
    runs = [
        fit(f"model={name}", f"dataset={outputs}/s.csv", "dataset.target=label", *words, *FAST).name
        for name, words in (("linear", ()), ("cnn", ("model.net.d_token=8", "model.net.n_filters=8")))
    ]
    name = ensemble(",".join(runs), "mean").name
    assert export(name, "onnx")["difference"] < 1e-6
    new = pd.DataFrame({"sentence": [*tiny_text(40, 1)["sentence"], "", "of another word the film dull"]})
    assert gap(name, new) < 1e-6
    with pytest.raises(UserError, match=r"its models cut texts .* in different ways"):
        words = ("dataset.tokenizer=char", "dataset.target=label", *FAST)
        other = fit("model=linear", f"dataset={outputs}/s.csv", *words).name
        export(ensemble(f"{runs[0]},{other}", "mean").name, "onnx")


def test_what_cannot_be_written_is_named_before_anything_is(members, monkeypatch):
    name = ensemble(",".join(members("binary")[:2]), "mean").name
    monkeypatch.setattr(estimators.trees, "refusal", lambda estimator: "its trees are odd")
    sentence = rf"{name} cannot be written as onnx: t\d+ \(hist_gb\): its trees are odd"
    with pytest.raises(UserError, match=sentence):
        export(name, "onnx")
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"format=skops holds no model as t\d+ has: onnx"):
        export(name, "skops")
    with pytest.raises(UserError, match="there is int8 alone, for format=onnx of nets"):
        export(name, "onnx", quantize="int8")
    monkeypatch.setattr(estimators, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"holds at most 0.0 GB"):
        export(name, "onnx")
    assert not (load(name).folder / "exports").exists() or not list((load(name).folder / "exports").iterdir())


def test_two_strands_are_refused():
    leaf = {"info": {"complements": [0, 1]}, "model": {"net": {}}}
    assert "reverse_complement is not written for several" in together.refusal(leaf, None, "onnx")


def test_a_column_that_is_read_in_two_ways_is_refused():
    columns = [{"a": {"kind": {"kind": kind}}} for kind in ("number", "money")]
    each = [
        {"transforms": {"roles": {"numeric": ["a"]}, "categories": {}, "numeric": {"columns": one}}}
        for one in columns
    ]
    with pytest.raises(UserError, match="column a is read in two ways by its models"):
        together.shared({"members": each})


@pytest.mark.slow
def test_the_whole_team_is_one_file(outputs):
    """Seven families of models, folds each, of a table of numbers, empty cells, dates and categories."""
    table("binary", 400).to_csv(outputs / "team.csv", index=False)
    words = (f"dataset={outputs}/team.csv", "dataset.target=y", "trainer.max_epochs=2", "budget=500", *FAST)
    run = fit("experiment=strong_tabular", *words)
    names = {load(one["run"]).report["model"] for one in run.report["members"]}
    assert names == {"lightgbm", "hist_gb", "catboost", "xgboost", "linear", "mlp", "tabm"}
    whole = ensemble(",".join(one["run"] for one in run.report["members"]), "mean").name
    for name in (run.name, whole):
        assert export(name, "onnx")["difference"] < 1e-6
        assert gap(name, table("binary", 300, seed=1)) < 1e-6

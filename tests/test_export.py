"""An export predicts what the run predicts: every model, every format that takes it, any number of rows."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text
from omegaconf import OmegaConf

from src import fit, load
from src.export import export
from src.format import estimators, nets, objects, trees
from src.format import load as files
from src.format.load import FILES, exported
from src.model.build import build
from src.model.estimator import Estimator
from src.predict import predict
from src.system.errors import UserError
from src.system.files import read_json

CARDINALITIES = [4, 300, 9]  # the second has more values than HistGradientBoosting takes as categories
TASKS = {"binary": 2, "multiclass": 3, "regression": 1}
DATA = ("table", "text", "both")
TORCH = ("mlp", "tabm", "transformer", "cnn", "bilstm", "dna_cnn")
SKLEARN = ("linear", "random_forest", "gradient_boosting", "hist_gb", "sgd", "knn")


def made(task: str, data: str, n: int = 400, seed: int = 0, shortest: int = 1) -> tuple[dict, dict]:
    """Return ``info`` and a part of ``n`` rows with a target that they explain; lengths from 1 to 12."""
    rng, part = np.random.default_rng(seed), {}
    score = rng.normal(scale=0.3, size=n)
    if data != "text":
        part["x_num"] = rng.normal(size=(n, 3)).round(1).astype(np.float32)  # equal to many thresholds
        part["x_cat"] = np.stack([rng.integers(1, size, n) for size in CARDINALITIES], 1)
        score += part["x_num"][:, 0] + part["x_cat"][:, 0] + 2 * np.isin(part["x_cat"][:, 2], [2, 5, 7])
    if data != "table":
        lengths = part["lengths"] = rng.integers(shortest, 13, n)
        part["input_ids"] = rng.integers(1, 30, (n, 12)).astype(np.uint8) * (np.arange(12) < lengths[:, None])
        score += (part["input_ids"] == 5).sum(1)
    if task == "regression":
        part["y"] = score * 70 + 2000
    else:
        part["y"] = np.searchsorted(np.quantile(score, [0.5] if task == "binary" else [0.3, 0.7]), score)
    info = {"task": task, "n_outputs": TASKS[task], "classes": [str(k) for k in range(TASKS[task])]}
    info |= {"n_num_features": 3 * (data != "text"), "cat_cardinalities": CARDINALITIES * (data != "text")}
    info |= {"vocab_size": 30 * (data != "table"), "max_len": 12 * (data != "table"), "target": "y"}
    regression = task == "regression"
    return info | {"y_mean": 2000.0 * regression, "y_std": 70.0 if regression else 1.0}, part


def config(model: str) -> dict:
    base = "_torch" if model in TORCH else "_sklearn"
    both = [OmegaConf.load(CHECKOUT / f"conf/model/{name}.yaml") for name in (base, model)]
    return OmegaConf.to_container(OmegaConf.merge(*both))


def fitted(model: str, info: dict, part: dict, **arguments) -> Estimator:
    cfg = config(model) | {"pass_val": False}
    cfg["arguments"] |= arguments
    if model == "hist_gb":  # its dense trees take seconds for a thousand columns
        cfg["tfidf"]["max_features"] = 150
    estimator = Estimator(cfg, info, seed=0)
    estimator.model.fit(estimator.matrix(part, learn=True), estimator.target(part))
    return estimator


def apart(part: dict, seed: int) -> dict:
    """Return inputs of which no two rows are at the same distance from a third."""
    rng, n = np.random.default_rng(seed), len(part["y"])
    if "x_num" in part:
        return {"x_num": rng.normal(size=(n, 3)).astype(np.float32)}
    lengths = rng.integers(7, 13, n)
    ids = rng.integers(1, 30, (n, 12)) * (np.arange(12) < lengths[:, None])
    return {"input_ids": ids, "lengths": lengths}


FAST = {"hist_gb": {"max_iter": 12, "early_stopping": False}, "random_forest": {"n_estimators": 12}}
FAST["gradient_boosting"] = {"n_estimators": 12}


def written(module, model, info: dict, part: dict, form: str, folder):
    """Write a model in a format and return the function that the file gives."""
    path = folder / FILES[form]
    shortest = part["lengths"].argsort()[:3] if "lengths" in part else slice(3)
    few = files.plain(files.trimmed(part, shortest))
    assert module.refusal(model, form) is None
    module.write(model, info, few, form, path, 18)
    return files.load(path)


def gap(model, info: dict, part: dict, wanted) -> float:
    """Return the largest difference over batches of 1, 3 and 257 rows, each cut to its own length."""
    gaps = []
    for rows in (slice(0, 1), slice(5, 8), slice(0, 257), slice(0, None)):
        some = files.trimmed(part, rows)
        gaps.append(np.abs(files.predict(model, some, info) - wanted[rows]).max() / info["y_std"])
    return max(gaps)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", SKLEARN)
def test_an_estimator_in_onnx(tmp_path, model, data):
    """Rows that it was fitted on, whose neighbours are at 0, and others, with categories never seen.

    Of neighbours at the same distance, any may count: here no two are.
    """
    for task in TASKS if model == "hist_gb" else [list(TASKS)[(SKLEARN.index(model) + len(data)) % 3]]:
        (info, train), (_, new) = made(task, data), made(task, data, seed=1)
        if "x_cat" in new:
            new["x_cat"][::7] = 0
        if model == "knn":
            for part, seed in ((train, 2), (new, 3)):
                part |= apart(part, seed)
        estimator = fitted(model, info, train, **FAST.get(model, {}))
        session = written(estimators, estimator, info, train, "onnx", tmp_path)
        for part in (train, new):
            assert gap(session, info, part, estimator.predict(estimator.matrix(part))) < 2e-6, task


BOOSTED = {"lightgbm": {}, "xgboost": {"disable_default_eval_metric": False}, "catboost": {"thread_count": 1}}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", BOOSTED)
def test_boosted_trees_of_other_libraries_in_onnx(tmp_path, model, task):
    """Sets of 300 codes, codes never seen, cells equal to thresholds; zeros that are empty cells."""
    for data in ("both", "table")[: 1 if model == "catboost" else 2]:
        (info, train), (_, new) = made(task, data), made(task, data, seed=1)
        new["x_cat"][::7] = 0
        estimator = fitted(model, info, train, n_estimators=12, **BOOSTED[model])
        session = written(estimators, estimator, info, train, "onnx", tmp_path)
        for part in (train, new):
            assert gap(session, info, part, estimator.predict(estimator.matrix(part))) < 2e-6, data


def test_losses_of_boosting(tmp_path):
    """Counts have a logarithm as link; what is not written is refused by name."""
    info, part = made("regression", "table")
    info |= {"y_mean": 0.0, "y_std": 1.0}
    part["y"] = np.random.default_rng(0).poisson(np.exp(part["x_num"][:, 0])).astype(float)
    losses = {"lightgbm": "poisson", "xgboost": "count:poisson"}
    for model, objective in losses.items():
        estimator = fitted(model, info, part, n_estimators=12, objective=objective, **BOOSTED[model])
        session = written(estimators, estimator, info, part, "onnx", tmp_path)
        assert gap(session, info, part, estimator.predict(estimator.matrix(part))) < 1e-5
    for arguments in ({"linear_tree": True}, {"boosting_type": "rf"}, {"zero_as_missing": True}):
        estimator = fitted("lightgbm", info, part, n_estimators=2, **arguments)
        assert "is not written: use format=joblib" in estimators.refusal(estimator, "onnx"), arguments
    estimator = fitted("xgboost", info, part, n_estimators=2, booster="dart", **BOOSTED["xgboost"])
    sentence = "XGBoost's reg:squarederror, with its options, is not written"
    assert sentence in estimators.refusal(estimator, "onnx")


def test_letters_by_place_in_onnx(tmp_path):
    """Shorter and longer rows than those of training have no letter at a place, or are cut."""
    info, train = made("multiclass", "both", shortest=12)
    info |= {"sequence_as": "onehot"}
    new = made("multiclass", "both", seed=1)[1]
    new |= {"input_ids": np.repeat(new["input_ids"], 2, axis=1), "lengths": 2 * new["lengths"]}
    estimator = fitted("linear", info, train)
    session = written(estimators, estimator, info, train, "onnx", tmp_path)
    for part in (train, new):
        assert gap(session, info, part, estimator.predict(estimator.matrix(part))) < 1e-6


def test_categories_of_all_sizes_go_to_the_side_that_the_trees_send_them(tmp_path):
    """Sets of up to 250 categories, in trees of many leaves; every code alone, and the unseen one."""
    info, part = made("regression", "table", 3000)
    rng = np.random.default_rng(0)
    info["cat_cardinalities"] = [252, 2, 40]
    part["x_cat"] = np.stack([rng.integers(low, n, 3000) for low, n in ((1, 252), (1, 2), (5, 40))], 1)
    part["y"] = rng.normal(size=252)[part["x_cat"][:, 0]] * 70 + 2000
    estimator = fitted("hist_gb", info, part, max_iter=30, early_stopping=False, min_samples_leaf=2)
    session = written(estimators, estimator, info, part, "onnx", tmp_path)
    every = {name: array[:252].copy() for name, array in part.items()}
    for column, size in enumerate(info["cat_cardinalities"]):
        every["x_cat"][:, column] = np.arange(252) % size
    assert gap(session, info, every, estimator.predict(estimator.matrix(every))) < 1e-6


@pytest.mark.parametrize("model", SKLEARN)
def test_skops_gives_the_same_bits(tmp_path, model):
    info, part = made("multiclass", "table")
    estimator = fitted(model, info, part, **FAST.get(model, {}))
    opened = written(objects, estimator, info, part, "skops", tmp_path)
    assert gap(opened, info, part, estimator.predict(estimator.matrix(part))) == 0


def test_skops_builds_nothing_else(tmp_path):
    import skops.io

    skops.io.dump({"a": pytest.approx(1)}, tmp_path / "model.skops")
    with pytest.raises(Exception, match="ntrusted"):
        files.load(tmp_path / "model.skops")
    info, part = made("binary", "table")
    estimator = fitted("linear", info, part)
    estimator.note = pytest.approx(1)
    assert "loading it would build _pytest.approx.ApproxScalar" in objects.refusal(estimator, "skops")


def net_gap(tmp_path, model: str, data: str, task: str, form: str, **arguments) -> float:
    info, part = made(task, data)
    torch.manual_seed(0)
    net = build(config(model)["net"] | arguments, info).eval()
    reader = written(nets, net, info, part, form, tmp_path)
    arrays = [torch.from_numpy(array) for array in files.plain(part).values()]
    with torch.inference_mode():
        wanted = nets.Whole(net, info, list(files.plain(part)))(*arrays).numpy()
    return gap(reader, info, part, wanted)


@pytest.mark.parametrize(
    ("model", "data", "task", "form"),
    [
        ("mlp", "both", "multiclass", "onnx"), ("bilstm", "text", "binary", "onnx"),
        ("mlp", "both", "regression", "torch_export"), ("cnn", "text", "regression", "torchscript"),
    ],
)  # fmt: skip
def test_a_net_for_any_number_of_rows_and_tokens(tmp_path, model, data, task, form):
    assert net_gap(tmp_path, model, data, task, form) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export", "torchscript"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", TORCH)
def test_every_net_in_every_format(tmp_path, model, data, form):
    if (model, form) != ("bilstm", "torch_export"):  # which is refused, see below
        assert net_gap(tmp_path, model, data, "multiclass", form) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("mlp", {"by_place": True}), ("mlp", {"numeric": "periodic"}), ("tabm", {"numeric": "quantiles"}),
        ("transformer", {"rotary": True}), ("transformer", {"learned": True}), ("mlp", {"n_layers": 0}),
    ],
)  # fmt: skip
def test_nets_with_other_arguments(tmp_path, model, arguments):
    for form in ("onnx", "torch_export"):
        assert net_gap(tmp_path, model, "both", "binary", form, **arguments) < 1e-6


def test_what_a_format_cannot_hold_is_said():
    info, part = made("binary", "table")
    net = build(config("bilstm")["net"], info)
    assert "packed sequences" in nets.refusal(net, "torch_export") and not nets.refusal(net, "torchscript")
    assert "short numbers" in nets.refusal(net.bfloat16(), "onnx")
    estimator = fitted("knn", info, part)
    estimator.model.effective_metric_ = "manhattan"
    assert "Euclidean" in estimators.refusal(estimator, "onnx")
    estimator = fitted("sgd", info, part)
    estimator.model.loss = "hinge"
    assert "predict_proba" in estimators.refusal(estimator, "onnx")
    estimator.model = type("Mine", (), {"predict_proba": None})()
    assert "skl2onnx does not know Mine" in estimators.refusal(estimator, "onnx")


# -- the verb


@pytest.fixture(scope="module")
def run(outputs):
    tiny_table("binary").to_csv(outputs / "t.csv", index=False)
    name = fit("model=hist_gb", f"dataset={outputs}/t.csv", "dataset.target=y", *QUIET).name
    return load(name)


@pytest.fixture
def here(monkeypatch):
    """Prove within this process, which has the libraries."""
    from src.format import export as module
    from src.format.proof import prove

    def proven(run, path, y, form):
        found = {"file": path.name} | prove(path, run.info, form)
        (path.parent / "p.npy").unlink()
        return found

    monkeypatch.setattr(module, "_proven", proven)


def test_an_export_is_proven_in_a_process_of_its_own_and_predicts(run, tmp_path, capsys):
    report = export(run.name, "onnx")
    folder = run.folder / "exports/onnx"
    assert report["difference"] < 1e-6 and report["rows"] == 48 and len(report["ms_per_row"]) == 3
    assert report["accuracy"] == run.report["metrics"]["test/accuracy"] and not report["pickle"]
    assert read_json(folder / "export.json") == report and f"{folder}/model.onnx" in capsys.readouterr().out
    names = ["export.json", "info.json", "model.onnx", "transforms.json"]
    assert sorted(path.name for path in folder.iterdir()) == names, "and no rows of the data"
    assert [path.name for path in folder.parent.iterdir()] == ["onnx"]
    frame = tiny_table("binary", 50, seed=3)
    frame.to_csv(tmp_path / "new.csv", index=False)
    predict(run.name, str(tmp_path / "new.csv"), str(tmp_path / "p.csv"), format="onnx")
    found, wanted = pd.read_csv(tmp_path / "p.csv"), run.predict(frame)
    assert found["prediction"].tolist() == wanted["prediction"].tolist()
    assert 0 < np.abs(found["p_yes"] - wanted["p_yes"]).max() < 1e-6


def test_a_standalone_file_needs_no_code_of_ours(run, here):
    export(run.name, "onnx")
    session = onnxruntime.InferenceSession(str(run.folder / "exports/onnx/model.onnx"))
    inputs = {"x_num": np.zeros((2, 5), np.float32), "x_cat": np.ones((2, 1), np.int64)}
    (p,) = session.run(["p"], inputs)
    assert p.shape == (2, 2) and np.allclose(p.sum(1), 1)


def test_other_predictions_are_not_kept(run, here, monkeypatch):
    export(run.name, "onnx")
    before = (run.folder / "exports/onnx/export.json").read_bytes()
    read = trees._hist_gb
    monkeypatch.setattr(trees, "_hist_gb", lambda one: (read(one)[0], read(one)[1] + 1, read(one)[2]))
    with pytest.raises(UserError, match=r"onnx export of t\d+ is not kept: its predictions differ .* by "):
        export(run.name, "onnx")
    assert (run.folder / "exports/onnx/export.json").read_bytes() == before
    assert [path.name for path in (run.folder / "exports").iterdir()] == ["onnx"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"format": "torchscript"}, "format=torchscript holds no model as t.* has: onnx, skops, joblib do"),
        ({"format": "tflite"}, "format=tflite is unknown.*; known: onnx, torch_export"),
        ({"format": "onx"}, "format=onx is unknown: did you mean onnx"),
        ({"format": "Skops"}, "did you mean skops"),
        ({"format": "onnx", "quantize": "int8"}, "there is int8 alone, for format=onnx of nets"),
        ({"format": "onnx", "opset": 9}, "opset=9: should be 18, 19 or 20"),
        ({"format": "onnx", "input": "nothing.csv"}, "no file nothing.csv"),
    ],
)
def test_mistakes_are_one_sentence(run, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        export(run.name, **arguments)


def test_a_pickle_is_opened_only_when_trusted(run, here):
    assert export(run.name, "joblib")["pickle"] is True
    with pytest.raises(UserError, match="holds a pickle, which can run anything: add trust=true"):
        exported(run, "joblib")
    frame = tiny_table("binary", 20)
    assert exported(load(run.name, trust=True), "joblib").predict(frame).equals(run.predict(frame))
    with pytest.raises(UserError, match=f"no skops export: python -m src.export run={run.name} format="):
        exported(run, "skops")


def test_int8_is_measured(outputs, here):
    tiny_text().to_csv(outputs / "s.csv", index=False)
    words = ("dataset.target=label", "trainer.max_epochs=1", "model.net.d_hidden=16", *QUIET)
    run = fit("model=mlp", f"dataset={outputs}/s.csv", *words)
    report = export(run.name, "onnx", quantize="int8")
    names = ("model_int8.onnx", "model.onnx")
    sizes = [(run.folder / "exports/onnx" / name).stat().st_size for name in names]
    assert report["difference"] < 1e-6 < report["int8"]["difference"] < 0.05 and sizes[0] < sizes[1]
    assert len(report["lengths"]) > 3 and report["int8"]["lengths"] == report["lengths"]

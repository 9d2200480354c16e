"""Training as a user sees it: the shell's run, its record and refusals, then options that change a fit."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from checks import load_model
from conftest import QUIET, tiny_table

from src import fit
from src.config import tree
from src.config.compose import compose
from src.config.tree import CONF
from src.metric.choose import choose, compute
from src.run.folder import Run
from src.run.overview import runs
from src.system.errors import UserError
from src.system.files import read_json

FILES = [
    "config.yaml", "config.json", "env.json", "code.zip", "metrics.csv", "predictions.npz", "report.json",
    "info.json", "transforms.json", "log.txt", "DONE",
]  # fmt: skip
SHORT = (*QUIET, "model.patience=null", "trainer.max_epochs=4")


@pytest.fixture(scope="module")
def default_run(shell):
    """The output and the run of ``python -m src.train`` without overrides."""
    done = shell("train", "logger.wait=300")
    assert done.returncode == 0, done.stderr
    return done.stdout, Run.open(runs().index[-1])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "tiny.csv"
    tiny_table("binary").to_csv(path, index=False)
    return ("dataset=csv", f"dataset.path={path}", "dataset.target=y")


def brier(y_true, y_score) -> float:
    """A user's metric; "yes" scores (n,) for two classes."""
    return float(np.mean((y_score - y_true) ** 2))


def refused(*words: str, **more) -> str:
    """Return the one sentence that refuses these overrides; a run begun for them is marked failed."""
    before = set(runs().index)
    with pytest.raises(UserError) as caught:
        fit(*QUIET, *words, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 500
    for name in set(runs().index) - before:
        run = Run.open(name)
        assert run.status == "failed" and run.report["error"] == sentence
        assert not (run.folder / "DONE").exists()
    return sentence


# -- the shell


def test_the_default_run_prints_its_table_and_where_it_lies(default_run):
    text, run = default_run
    for part in ("train", "val", "test"):
        assert part in text
    row = next(line.split() for line in text.splitlines() if line.startswith("accuracy *"))
    assert row[3:5] == [f"{run.report['metrics'][f'{part}/accuracy']:.4f}" for part in ("val", "test")]
    assert str(run.folder) in text and "mlflow ui --backend-store-uri" in text and "wandb sync" in text
    line = next(line for line in text.splitlines() if line.startswith("seconds"))
    timings = {stage: f"{stage} {seconds:.1f}" for stage, seconds in run.report["timings"].items()}
    assert {*timings} >= {"start", "data", "fit", "evaluate", "record"} and len(line) <= 80
    assert line == "seconds   " + ", ".join(one for one in timings.values() if not one.endswith(" 0.0"))
    fits = [line for line in text.splitlines() if re.match(r"epoch|\S+ [* ]+-?\d+\.\d{4}|baseline|\*", line)]
    assert len(fits) > 10 and max(map(len, fits)) <= 80


def test_the_folder_of_the_default_run_is_complete(default_run):
    _, run = default_run
    assert [name for name in FILES if not (run.folder / name).is_file()] == []
    assert [path.name for path in (run.folder / "model").iterdir()] == [f"model_{run.name}.pt"]
    assert {"src/train.py", "conf/train.yaml"} <= set(zipfile.ZipFile(run.folder / "code.zip").namelist())
    assert run.status == "done" and "error" not in run.report
    newest = max((run.folder / name).stat().st_mtime_ns for name in FILES)
    assert (run.folder / "DONE").stat().st_mtime_ns == newest
    assert "epoch" in (run.folder / "log.txt").read_text()


def test_predictions_need_no_pickle_and_give_the_reported_metrics(default_run):
    _, run = default_run
    with np.load(run.folder / "predictions.npz", allow_pickle=False) as file:
        saved = dict(file)
    assert not set(saved["val_id"]) & set(saved["test_id"])
    chosen = choose(None, None, "binary")
    for part in ("val", "test"):
        values = compute("binary", chosen, saved[f"{part}_y"], saved[f"{part}_p"])
        assert values == {name: run.report["metrics"][f"{part}/{name}"] for name in values}


def test_the_recorded_config_is_the_composed_one(default_run):
    _, run = default_run
    composed = json.loads(json.dumps(compose(["logger.wait=300"])))
    assert composed["pictures"] is None  # drawn by a run, not by the jobs of a sweep
    assert run.cfg == composed | {"pictures": True}


def test_a_typo_exits_2_and_claims_nothing(shell, outputs):
    before = sorted((outputs / "runs").iterdir()) if (outputs / "runs").exists() else []
    done = shell("train", "model.net.d_hiden=3")
    assert done.returncode == 2
    assert re.search(r"d_hiden.* did you mean \S*d_hidden", done.stderr) and done.stderr.count("\n") == 1
    assert (sorted((outputs / "runs").iterdir()) if (outputs / "runs").exists() else []) == before


def test_a_missing_file_exits_1_with_one_sentence(shell, default_run):
    done = shell("train", "dataset=csv", "dataset.path=nowhere.csv", "dataset.target=y", *QUIET)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "nowhere.csv" in line]
    assert len(said) == 1 and said[0].startswith("error:") and "Traceback" not in done.stderr + done.stdout
    run = Run.open(runs().index[-1])
    assert run.status == "failed" and "nowhere.csv" in run.report["error"]
    assert not (run.folder / "DONE").exists()


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--cfg", "all", "--resolve"]], ids=" ".join)
def test_looking_at_the_config_claims_nothing(shell, outputs, default_run, flags):
    before = sorted((outputs / "runs").iterdir())
    done = shell("train", "model=hist_gb", *flags)
    assert done.returncode == 0 and "hist_gb" in done.stdout
    assert sorted((outputs / "runs").iterdir()) == before


# -- metrics that decide


@pytest.mark.parametrize("model", ["mlp", "sgd"])
def test_a_metric_of_the_users_decides_for_both_families(outputs, model):
    run = fit(*SHORT, f"model={model}", "metric=test_train.brier", "metric_mode=min")
    assert run.report["metric"] == {"name": "brier", "mode": "min"}
    assert run.report["best_epoch"] == min(run.rows, key=lambda row: row["val/brier"])["epoch"]
    saved = run.arrays
    assert run.report["metrics"]["test/brier"] == brier(saved["test_y"], saved["test_p"][:, 1])


def test_f1_decides_which_epoch_is_kept(outputs, table):
    words = (*table, *QUIET, "metric=f1", "model.patience=null", "trainer.max_epochs=25", "model.lr=0.03")
    run = fit(*words)
    best = max(run.rows, key=lambda row: (row["val/f1"], -row["val/loss"]))
    assert run.report["best_epoch"] == best["epoch"] < 25, "an epoch before the last should be the best here"
    on_val = {name: value for name, value in best.items() if name.startswith("val/")}
    assert {name: run.report["metrics"][name] for name in on_val} == pytest.approx(on_val, abs=1e-6)


def test_a_metric_of_another_task_is_refused_by_name(outputs):
    assert "f1_binary" in refused("dataset=wine", "metric=f1_binary")
    assert "metric_mode" in refused("metric=test_train.brier")


# -- weights, loss, schedules


@pytest.mark.parametrize("model", ["mlp", "hist_gb", "linear"])
def test_row_and_class_weights_change_the_fit_and_agree(outputs, model):
    frame = tiny_table("binary")
    frame["w"] = np.where(frame["y"] == "yes", 10.0, 1.0)
    words = (*SHORT, f"model={model}", "dataset.target=y")
    plain = fit(*words, "dataset.ignore=[w]", data=frame).arrays["val_p"]
    by_row = fit(*words, "dataset.weight=w", data=frame).arrays["val_p"]
    by_class = fit(*words, "dataset.ignore=[w]", "class_weight={yes: 10}", data=frame).arrays["val_p"]
    assert by_row[:, 1].mean() > plain[:, 1].mean() + 0.02
    assert np.array_equal(by_row, by_class)


def test_knn_refuses_weights_by_name(outputs):
    assert "KNeighborsClassifier" in refused("model=knn", "dataset=wine", "class_weight=balanced")


def test_label_smoothing_changes_the_training_loss(outputs):
    plain, smooth = (fit(*SHORT, "dataset=wine", f"model.label_smoothing={x}") for x in (0.0, 0.3))
    assert plain.rows[-1]["train/loss"] != smooth.rows[-1]["train/loss"]
    assert plain.rows[-1]["val/calibration_error"] != smooth.rows[-1]["val/calibration_error"]


@pytest.mark.parametrize("model", ["mlp", "sgd"])
def test_training_stops_when_patience_ends(outputs, table, model):
    run = fit(*table, f"model={model}", *QUIET, "model.patience=2", "trainer.max_epochs=200", "metric=auroc")
    assert run.rows[-1]["epoch"] - run.report["best_epoch"] == 2
    assert len(run.rows) < 200


def test_every_schedule_ends_with_other_weights(outputs):
    from src.model.words import SCHEDULES

    words = (*SHORT, "dataset=wine", "model.batch_size=32")
    last = {name: fit(*words, f"model.schedule={name}").rows[-1]["val/loss"] for name in SCHEDULES}
    last["warm"] = fit(*words, "model.warmup=0.5").rows[-1]["val/loss"]
    assert len(set(last.values())) == len(SCHEDULES) + 1, last


# -- options of Lightning's Trainer


def test_fast_dev_run_takes_one_step(outputs):
    run = fit("dataset=wine", *QUIET, "trainer.fast_dev_run=true", "model.batch_size=8")
    assert run.status == "done" and len(run.rows) <= 1
    assert len(run.arrays["test_p"]) == 37


def test_clipped_gradients_hardly_move_the_weights(outputs):
    words = (*SHORT, "dataset=wine", "model.optimizer.class=torch.optim.SGD", "model.lr=0.1")
    words = (*words, "model.weight_decay=0")
    free, clipped = (fit(*words, f"trainer.gradient_clip_val={x}") for x in ("null", "1e-9"))
    falls = [run.rows[0]["val/loss"] - run.rows[-1]["val/loss"] for run in (free, clipped)]
    assert falls[0] > 0.01 > 1e-4 > abs(falls[1])


def test_accumulating_two_batches_equals_batches_twice_as_large(outputs):
    frame = tiny_table("binary")
    frame["part"] = np.repeat(["train", "val", "test"], [128, 56, 56])
    words = (*SHORT, "dataset.target=y", "dataset.split=part", "model.net.dropout=0")
    half = (*words, "model.batch_size=32")
    large = fit(*words, "model.batch_size=64", data=frame).arrays["test_p"]
    halves = fit(*half, "trainer.accumulate_grad_batches=2", data=frame).arrays["test_p"]
    small = fit(*half, data=frame).arrays["test_p"]
    assert np.abs(halves - large).max() < 1e-4 < np.abs(small - large).max()


def test_a_diverging_loss_is_refused_in_one_sentence(outputs):
    assert "model.lr" in refused("dataset=diabetes", "model.lr=1e15", "trainer.max_epochs=3")


@pytest.mark.parametrize("word", ["accelerator=abacus", "strategy=abacus", "max_time=abacus"])
def test_what_lightning_refuses_is_one_sentence(outputs, word):
    assert "abacus" in refused("dataset=wine", f"trainer.{word}")


# -- estimators


def test_a_null_regressor_is_refused(outputs):
    sentence = refused("model=hist_gb", "dataset=diabetes", "model.regressor=null")
    assert "hist_gb" in sentence and "regressor" in sentence


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+model.classifier.n_estimatrs=3", "n_estimators"),
        ("model.classifier.n_estimators=-3", "-3"),
        ("model.classifier.class=sklearn.ensemble.NoSuch", "NoSuch"),
        ("model.classifier.class=no.Such", "no.Such"),
    ],
)
def test_a_bad_estimator_argument_is_named(outputs, word, said):
    assert said in refused("model=random_forest", "dataset=wine", word)


def test_another_class_with_the_same_arguments(outputs):
    words = ("model=random_forest", "dataset=wine", *QUIET, "model.classifier.n_estimators=20")
    run = fit(*words, "model.classifier.class=sklearn.ensemble.ExtraTreesClassifier")
    assert run.report["metrics"]["test/accuracy"] > 0.9
    assert type(load_model(run).model).__name__ == "ExtraTreesClassifier"


def test_one_yaml_makes_any_estimator_a_model(outputs, tmp_path, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.setattr(tree, "CONF", tmp_path / "conf")
    text = "# Naive Bayes\ndefaults: [_sklearn, _self_]\nname: bayes\nprogress: once\nregressor: null\n"
    text += "classifier: {class: sklearn.naive_bayes.GaussianNB}\n"
    (tmp_path / "conf" / "model" / "bayes.yaml").write_text(text)
    run = fit("model=bayes", "dataset=wine", *QUIET)
    assert len(run.rows) == 1 and run.report["metrics"]["test/accuracy"] > 0.9
    assert "bayes" in refused("model=bayes", "dataset=diabetes")


SMALL = {
    "random_forest": ["n_estimators=30"],
    "gradient_boosting": ["n_estimators=30", "subsample=0.7"],
    "hist_gb": ["max_iter=40"],
}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("model", SMALL)
def test_watching_is_free(outputs, model, task):
    """Predictions of a watched fit equal those of a plain fit, bit for bit."""
    from src.data.load import load_data
    from src.model.estimator import Estimator

    kind = "regressor" if task == "regression" else "classifier"
    words = ["dataset=frame", "dataset.target=y", f"model={model}", *QUIET]
    words += [f"model.arguments.{word}" for word in SMALL[model]]
    if model == "random_forest":  # threads must not add up the trees in the order in which they end
        words.append(f"model.{kind}.n_jobs=2")
    frame = tiny_table(task)
    run = fit(*words, data=frame)
    cfg = run.cfg
    data = load_data(
        cfg["dataset"], scaler=cfg["model"]["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
        frame=frame,
    )  # fmt: skip
    plain = Estimator(run.cfg["model"], data.info, run.cfg["seed"])
    x, y = plain.matrix(data.parts["train"], learn=True), plain.target(data.parts["train"])
    held = (plain.matrix(data.parts["val"]), plain.target(data.parts["val"]))
    plain.model.fit(x, y, **(dict(zip(("X_val", "y_val"), held, strict=True)) if model == "hist_gb" else {}))
    assert len(run.rows) > 1
    for part in ("val", "test"):
        assert np.array_equal(plain.predict(plain.matrix(data.parts[part])), run.arrays[f"{part}_p"])


def test_at_most_a_hundred_rows_are_logged(outputs):
    run = fit("dataset=wine", "model=gradient_boosting", *QUIET, "model.classifier.n_estimators=150")
    assert 50 <= len(run.rows) <= 100 and run.rows[-1]["epoch"] == 150
    assert read_json(run.folder / "report.json")["best_epoch"] == 150


@pytest.mark.parametrize(("dataset", "expected"), [("wine", 3), ("diabetes", 1)])
def test_a_net_with_logits_of_another_shape_is_refused_before_it_trains(
    outputs, monkeypatch, tmp_path, dataset, expected
):
    (tmp_path / "wide.py").write_text(
        "from src.model.mlp import MLP\nclass Wide(MLP):\n"
        "    def __init__(self, info, **words):\n        super().__init__(info | {'n_outputs': 5}, **words)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"Wide returns shape \(4, 5\) for 4 rows, .* be \(4, {expected}\)"):
        fit(f"dataset={dataset}", "model=mlp", "model.net.class=wide.Wide", *QUIET)

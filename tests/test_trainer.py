"""Averaged weights, history and the epoch kept, a user's net and LightningModule, arguments of estimators."""

import doctest
import importlib
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CHECKOUT, QUIET, assert_same, tiny_table

from src import fit, load, replay_train, runs
from src.config.compose import compose
from src.config.tree import CONF, choices
from src.model.estimator import Estimator
from src.model.lit import LitModel
from src.model.mlp import MLP
from src.resume import resume
from src.system.errors import UserError
from src.trainer.history import History

INFO = {"target": "y", "vocab_size": 0, "n_num_features": 3, "cat_cardinalities": []}
WINE = ("dataset=wine", "model=mlp", "model.net.d_hidden=16", "threads=1", *QUIET)
EXAMPLES = [path for path in (CHECKOUT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_examples_in_docstrings_run(path):
    name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_net_has_an_example():
    nets = {name for name in choices("model") if "net:" in (CONF / f"model/{name}.yaml").read_text()}
    nets -= {"pretrained", "resnet"}  # needs an encoder's folder; is an mlp of residual blocks
    assert nets | {"embed"} <= {path.stem for path in EXAMPLES if path.parent.name == "model"}


# -- the average of the weights


class Recorded(LitModel):
    """Keeps the net's and the average's weights after each optimizer step."""

    steps: list = []  # noqa: RUF012

    def update_average(self):
        super().update_average()
        flat = torch.nn.utils.parameters_to_vector
        self.steps.append((flat(self.net.parameters()).detach(), flat(self.average.parameters())))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_average_is_bias_corrected_by_updates(outputs, monkeypatch, accumulate):
    """After k updates of weights w: (1 - d) (w_k + d w_(k-1) + ... + d^(k-1) w_1) / (1 - d^k)."""
    monkeypatch.setattr(Recorded, "steps", [])
    fit(
        *WINE, "trainer.max_epochs=3", "model.batch_size=8", "model.ema=0.998",
        "model.lit=test_trainer.Recorded", f"trainer.accumulate_grad_batches={accumulate}",
        "trainer.accelerator=cpu",
    )  # fmt: skip
    assert len(Recorded.steps) == 3 * math.ceil(15 / accumulate)  # 120 rows
    first, average = Recorded.steps[0]
    assert torch.equal(first, average)
    weights = torch.stack([net for net, _ in Recorded.steps]).double()  # (k, all weights)
    shares = 0.998 ** torch.arange(len(weights) - 1, -1, -1, dtype=torch.float64)
    mean = (shares[:, None] * weights).sum(0) / shares.sum()
    assert (Recorded.steps[-1][1] - mean).abs().max() < 1e-6 < (first - mean).abs().max()


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_resumed_average_equals_the_straight_one(outputs, accumulate):
    words = (*WINE, "model.ema=0.99", "model.batch_size=16", f"trainer.accumulate_grad_batches={accumulate}")
    words = (*words, "model.patience=null")
    straight, short = (fit(*words, f"trainer.max_epochs={n}") for n in (6, 3))
    last = short.folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["n_seen"] == 3 * 8 and checkpoint["n_updates"] == 3 * 8 // accumulate
    if accumulate == 1:  # as older runs stored it
        del checkpoint["n_updates"]
        torch.save(checkpoint, last)
    assert_same(straight, resume(short.name, 6))


# -- history and the kept epoch


def test_history_knows_its_best_row():
    history = History({"name": "f1", "mode": "max"})
    assert history.kept is None
    for epoch, (f1, loss) in enumerate([(0.5, 1.0), (0.7, 1.0), (0.7, 0.9), (math.nan, 0.1)], start=1):
        history.append({"epoch": epoch, "val/f1": f1, "val/loss": loss})
    assert history.best is history[2] and history.since == 1 and history.kept == 3 and len(history) == 4


def test_without_a_number_the_last_epoch_is_kept(caplog):
    caplog.set_level(logging.WARNING, "reprise")
    history = History({"name": "f1", "mode": "max"})
    for epoch in (2, 4):
        history.append({"epoch": epoch, "val/f1": math.nan, "val/loss": 1.0})
    assert history.best is None and history.kept == 4
    assert "f1 on val was never a number: the last epoch is kept" in caplog.text


@pytest.mark.parametrize(("model", "words"), [
    ("random_forest", ["model.arguments.n_estimators=8"]),
    ("gradient_boosting", ["model.arguments.n_estimators=8"]),
    ("linear", []), ("sgd", ["trainer.max_epochs=8"]),
])  # fmt: skip
def test_estimators_keep_their_last_stage_and_partial_fit_its_best(outputs, model, words):
    run = fit(f"model={model}", "dataset=wine", *QUIET, *words)
    best = min(run.rows, key=lambda row: (-row["val/accuracy"], row["val/loss"]))
    kept = best if model == "sgd" else run.rows[-1]
    assert run.report["best_epoch"] == kept["epoch"]
    assert run.report["metrics"]["val/loss"] == pytest.approx(kept["val/loss"])


def test_epochs_without_validation_have_no_row(outputs):
    run = fit(*WINE, "trainer.max_epochs=5", "trainer.check_val_every_n_epoch=2")
    assert [row["epoch"] for row in run.rows] == [2, 4] and run.report["best_epoch"] in (2, 4)
    never = fit(*WINE, "trainer.max_epochs=2", "trainer.limit_val_batches=0")
    assert never.status == "done" and never.rows == [] and never.report["best_epoch"] is None


def test_partial_fit_needs_a_number_of_passes(outputs):
    with pytest.raises(UserError, match=r"trainer\.max_epochs=100"):
        fit("model=sgd", "dataset=wine", *QUIET, "trainer.max_epochs=null")


# -- a user's net, a user's LightningModule


class WithMatrix(MLP):
    """A net with the name of an estimator's method."""

    def __init__(self, info, **options):
        super().__init__(info, **options)
        self.matrix = torch.nn.Linear(2, 2)


def test_a_net_with_an_attribute_matrix_is_a_net(outputs):
    frame = tiny_table("binary")
    words = ("model=mlp", "dataset.target=y", "trainer.max_epochs=2", *QUIET)
    run = fit(*words, "model.net.class=test_trainer.WithMatrix", data=frame)
    again = load(run.name).predict_proba(frame.loc[run.arrays["test_id"]])
    assert np.array_equal(again, run.arrays["test_p"])
    assert (run.folder / "model" / f"model_{run.name}.pt").is_file()


MINE = '''
from torch.nn import functional as F
from src.model.mlp import MLP
from src.model.lit import LitModel


class Mine(MLP):
    pass


class LitMine(LitModel):
    def loss(self, batch):
        """Predict every class alike."""
        logits = self.net(x_num=batch["x_num"])
        return -F.log_softmax(logits, 1).mean()
'''


def test_a_lightning_module_of_the_users_trains_and_replays(
    outputs, shell, forked_replays, monkeypatch, tmp_path
):
    (tmp_path / "mine_lit.py").write_text(MINE)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        words = ("model.net.class=mine_lit.Mine", "model.lit=mine_lit.LitMine", "model.lr=0.01")
        done = shell("train", *WINE, *words, "model.batch_size=16", "trainer.max_epochs=60")
    assert done.returncode == 0, done.stderr
    run = load(runs().index[-1])
    assert run.cfg["model"]["lit"] == "mine_lit.LitMine"
    assert run.rows[-1]["train/loss"] == pytest.approx(math.log(3), abs=0.01)  # -log(1/3)
    (tmp_path / "mine_lit.py").unlink()  # the run's code.zip holds it
    assert replay_train(run.name)["identical"]


@pytest.mark.parametrize(("lit", "said"), [
    ("test_trainer.Recordd", "Recordd"),
    ("test_trainer.WithMatrix", "subclass of src.model.lit.LitModel"),
])  # fmt: skip
def test_a_wrong_lightning_module_is_named(outputs, lit, said):
    with pytest.raises(UserError, match=said):
        fit(*WINE, f"model.lit={lit}")


# -- arguments that both kinds of an estimator share


def made(overrides, task: str):
    model = compose(["model=hist_gb", "dataset=wine", *overrides])["model"]
    return Estimator(model, INFO | {"task": task}, seed=0, n_threads=3).model


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_arguments_go_to_both_kinds_and_one_kind_may_differ(task):
    assert made(["model.arguments.max_iter=7"], task).max_iter == 7
    one = made(["model.arguments.max_iter=7", "model.classifier.max_iter=3"], task)
    assert one.max_iter == (7 if task == "regression" else 3)
    assert made(["+model.arguments.max_bins=40"], task).max_bins == 40
    assert made(["model=knn"], task).n_jobs == 3  # its n_jobs is null: the run's number of threads


def test_a_config_of_an_older_run_has_no_shared_arguments(outputs):
    model = compose(["model=hist_gb", "dataset=wine"])["model"]
    kinds = ("classifier", "regressor")
    old = {key: value for key, value in model.items() if key != "arguments"}
    old |= {kind: model["arguments"] | model[kind] for kind in kinds}
    info = INFO | {"task": "multiclass"}
    assert Estimator(old, info, 0).model.get_params() == Estimator(model, info, 0).model.get_params()


@pytest.mark.parametrize(("word", "said"), [
    ("model.max_iter=3", "model.arguments.max_iter"),
    ("model.arguments.max_itr=3", "model.arguments.max_iter"),
    ("model.classifier.max_itr=3", "model.classifier.max_iter"),
    ("+model.arguments.max_itr=3", "max_iter"),
    ("model.classifier.max_iter=abc", "number"),
])  # fmt: skip
def test_a_wrong_argument_is_named_with_the_right_one(word, said):
    with pytest.raises(UserError, match=said):
        compose(["model=hist_gb", "dataset=wine", word])


def test_lightning_loads_without_scipy_signal_which_loads_later_as_always():
    """It is a fifth of a second or more of every torch run; the module in its place is gone afterwards."""
    code = "import sys; from src.trainer.family import family; family({'net': {}}); "
    code += "assert 'lightning' in sys.modules and 'scipy.signal' not in sys.modules; "
    code += "import scipy.signal; print(scipy.signal.firwin.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT)
    assert done.stdout.startswith("scipy.signal"), done.stderr

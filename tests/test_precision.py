"""Nets in other dtypes than float32 predict after a load, bit for bit, what they predicted after the fit."""

from itertools import product

import numpy as np
import pytest
import torch
from conftest import QUIET, assert_same, tiny_table, tiny_text
from torch import nn

from src import fit, load
from src.data.prepare import apply_transforms
from src.model.build import build
from src.resume import resume
from src.run.folder import model_path
from src.system.errors import UserError
from src.system.files import read_json
from src.trainer import net
from src.trainer.dtype import dtype_of

DTYPES = {
    "32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16,
    "bf16-mixed": torch.float32, "16-mixed": torch.float32, "64": torch.float64, "16": torch.float32,
}  # fmt: skip
CPU = ("trainer.accelerator=cpu", "trainer.max_epochs=2", *QUIET)


def weights(run) -> dict:
    return torch.load(model_path(run.folder, run.cfg["model"]), weights_only=True)


def loaded(run, frame) -> np.ndarray:
    """Return the test predictions of the saved net, loaded anew."""
    rows = frame.iloc[run.arrays["test_id"]]
    made = net.load(model_path(run.folder, run.cfg["model"]), run.cfg["model"], run.info)
    part = apply_transforms(read_json(run.folder / "transforms.json"), rows)
    return net.predict(made, part, run.info)


QUICK = (("64-true", "multiclass"), ("bf16-true", "regression"), ("16-true", "multiclass"))
PAIRS = [
    pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
    for pair in product(DTYPES, ("multiclass", "regression"))
]


@pytest.mark.parametrize(("precision", "task"), PAIRS)
def test_a_loaded_net_predicts_what_was_recorded(outputs, task, precision):
    """Numbers, categories and a weighted loss, in the dtype that the run was trained in."""
    frame = tiny_table(task, n=120).assign(w=np.arange(120) % 3 + 1.0)
    words = ("model=mlp", "dataset.target=y", "dataset.weight=w", "model.ema=0.9")
    run = load(fit(*words, f"trainer.precision={precision}", *CPU, data=frame).name)
    assert dtype_of(weights(run).values()) == DTYPES[precision]
    found = loaded(run, frame)
    assert np.array_equal(found, run.arrays["test_p"]) and len(found) == 24 and found.dtype == np.float64
    assert torch.get_default_dtype() == torch.float32
    if precision.endswith("-true"):  # under autocast, val is computed in training only
        assert run.rows[run.report["best_epoch"] - 1]["val/loss"] == run.report["metrics"]["val/loss"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
@pytest.mark.parametrize("model", ["cnn", "transformer"])
def test_texts_too(outputs, model, precision):
    frame = tiny_text(n=80)
    words = (f"model={model}", "dataset.target=label", f"trainer.precision={precision}")
    run = load(fit(*words, *CPU, data=frame).name)
    assert np.array_equal(loaded(run, frame), run.arrays["test_p"])


def test_the_dtypes_are_not_all_the_same_run(outputs):
    """Else the equalities above would mean nothing."""
    losses = set()
    for precision in ("32-true", "64-true", "bf16-true"):
        run = fit("model=mlp", "dataset=wine", f"trainer.precision={precision}", *CPU)
        losses.add(run.rows[0]["val/loss"])
    assert len(losses) == 3


@pytest.mark.parametrize("precision", ["64-true", pytest.param("bf16-true", marks=pytest.mark.slow)])
def test_a_resumed_run_ends_like_the_straight_one(outputs, precision):
    words = ("model=mlp", "dataset=wine", "model.patience=null", "model.net.dropout=0.2")
    words += (f"trainer.precision={precision}",)
    straight = fit(*words, *CPU, "trainer.max_epochs=4")
    run = fit(*words, *CPU)
    resume(run.name, max_epochs=4)
    assert_same(load(run.name), straight)


class Inverse(nn.Module):
    """A net with an operation that torch has for float32 and float64 only, and with a tensor of its own."""

    def __init__(self, info: dict, **_of_mlp):
        super().__init__()
        self.head = nn.Linear(info["n_num_features"], info["n_outputs"])

    def forward(self, x_num):
        eye = torch.eye(x_num.shape[1]) * 2
        return self.head(x_num @ torch.linalg.inv(eye))


@pytest.mark.parametrize("precision", ["16-true", "64-true"])
def test_what_torch_cannot_do_is_one_sentence(outputs, precision):
    words = ("model=mlp", "dataset=wine", "model.net={class: test_precision.Inverse}")
    words += (f"trainer.precision={precision}",)
    if precision == "64-true":
        run = load(fit(*words, *CPU).name)
        assert dtype_of(weights(run).values()) == torch.float64 and run.status == "done"
    else:
        with pytest.raises(UserError, match=rf"refuses trainer\.precision={precision}: .*Half"):
            fit(*words, *CPU)


def test_a_loss_that_overflows_names_the_other_half(outputs):
    words = ("model=mlp", "dataset=wine", "trainer.precision=16-true", "model.lr=1e3")
    with pytest.raises(UserError, match=r"lower model\.lr=1000\.0, or take trainer\.precision=bf16-true"):
        fit(*words, "trainer.accelerator=cpu", "model.patience=null", *QUIET)


def test_a_net_of_several_dtypes_keeps_them(tmp_path):
    spec = {"net": {"class": "test_precision.Two"}}
    made = build(spec["net"], {})
    net.save(made, tmp_path / "two.pt")
    found = net.load(tmp_path / "two.pt", spec, {})
    dtypes = [parameter.dtype for parameter in found.parameters()]
    assert dtypes == [torch.float64] * 2 + [torch.float32] * 2


class Two(nn.Module):
    def __init__(self, info: dict):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2).double(), nn.Linear(2, 1)

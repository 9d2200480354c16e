"""Nets for tables against their authors' packages, and what they learn from the training rows.

python -m pytest -q tests/test_tables.py
"""

import re

import numpy as np
import pytest
import rtdl_num_embeddings as rtdl
import tabm
import torch
from conftest import CHECKOUT, QUIET, tiny_table

from src import fit
from src.config.check import check
from src.config.typed import spelled
from src.data.prepare import Data
from src.model.build import is_own_net
from src.model.lit import LitModel
from src.model.mlp import MLP
from src.model.numeric import Periodic, PiecewiseLinear, embed_numbers, splits
from src.model.tabm import LitTabM, TabM
from src.system.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3)).astype(np.float32)
X[:, 1] = np.round(X[:, 1])  # few values
Y = (X[:, 0] ** 2 + 0.1 * RNG.normal(size=300)).astype(np.float64)
INFO = {"n_num_features": 3, "cat_cardinalities": [], "vocab_size": 0, "n_outputs": 1, "task": "regression"}


def with_bins(numeric: str, x=X, y=Y, n_bins=8, task="regression") -> PiecewiseLinear:
    torch.manual_seed(0)
    info = INFO | {"n_num_features": x.shape[1], "task": task}
    embedding = embed_numbers(info, numeric, 5, n_bins, 4, 1.0)
    embedding.start_from(Data({"train": {"x_num": x, "y": y}}, info, {}))
    return embedding


def test_periodic_numbers_are_those_of_the_authors():
    ours = Periodic(3, 5, 7, sigma=0.5)
    theirs = rtdl.PeriodicEmbeddings(
        3, 5, n_frequencies=7, frequency_init_scale=0.5, activation=True, lite=True
    )
    theirs.periodic.weight.data = ours.frequencies.data
    theirs.linear.load_state_dict(ours.linear.state_dict())
    x = torch.from_numpy(X)
    assert ours(x).shape == (300, 3, 5) and torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert 0.4 < Periodic(100, 5, 100, sigma=0.5).frequencies.std() < 0.6


@pytest.mark.parametrize("numeric", ["quantiles", "trees"])
def test_piecewise_linear_numbers_are_those_of_the_authors(numeric):
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    kwargs = {} if numeric == "quantiles" else {"y": y, "regression": True}
    if kwargs:
        kwargs["tree_kwargs"] = {"min_samples_leaf": 15, "random_state": 0}  # 300 rows / 20
    bins = rtdl.compute_bins(x, n_bins=8, **kwargs)
    ours, theirs = with_bins(numeric), rtdl.PiecewiseLinearEmbeddings(bins, 5, activation=True, version="A")
    n_most = theirs.impl.get_max_n_bins()
    with torch.no_grad():
        for i, edges in enumerate(bins):  # theirs keeps the last bin of each column in the last place
            n = len(edges) - 1
            theirs.linear.weight[i].zero_()
            theirs.linear.weight[i, : n - 1] = ours.weight[i, : n - 1]
            theirs.linear.weight[i, n_most - 1] = ours.weight[i, n - 1]
        theirs.linear.bias.copy_(ours.bias)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_a_step_of_a_tree_s_bins_is_found_where_the_target_jumps():
    x = np.linspace(0, 1, 400)
    assert splits(x, (x > 0.37) * 1.0, 2, True).tolist() == pytest.approx([0.37, 0, 1], abs=0.01)
    assert splits(x, (x > 0.37).astype(int), 2, False).tolist() == pytest.approx([0.37, 0, 1], abs=0.01)


@pytest.mark.parametrize("numeric", ["quantiles", "trees"])
@pytest.mark.parametrize("column", [np.zeros(50), np.arange(50) % 2, np.full(50, -7.5), np.arange(50) * 1e-6])
def test_columns_of_few_values_have_finite_embeddings(numeric, column):
    embedding = with_bins(numeric, column.astype(np.float32)[:, None], np.arange(50.0), n_bins=4)
    out = embedding(torch.tensor([[-1e30], [0.0], [0.5], [1e30]]))
    assert out.isfinite().all()
    end = embedding(torch.tensor([[float(column.max())]]))[0]
    assert torch.allclose(out[3], end, atol=1e-5)  # nothing beyond the last bin


@pytest.mark.parametrize(("model", "numeric"), [("mlp", "quantiles"), ("transformer", "trees")])
def test_bins_come_from_training_rows_alone_and_are_in_the_run(outputs, model, numeric):
    """Held-out rows with other numbers change no bin, and a loaded run has the bins of the fit."""
    small = ["model.net.d_hidden=16", "trainer.max_epochs=1", f"model.net.numeric={numeric}"]
    small += ["model.net.n_bins=6", f"model={model}", "dataset.target=y", "dataset.split=part", *QUIET]
    frame = tiny_table("regression").assign(part="train")
    frame.loc[150:199, "part"], frame.loc[200:, "part"] = "val", "test"
    poisoned = frame.copy()
    poisoned.loc[150:, ["a", "b", "c", "d"]] = 1000.0
    states = []
    for data in (frame, poisoned):
        run = fit(*small, data=data)
        path = run.folder / "model" / f"model_{run.name}.pt"
        states.append(torch.load(path, weights_only=True))
        assert is_own_net(run.cfg["model"]["net"])  # a received run needs no trust=true
    names = [name for name in states[0] if name.endswith(("scale", "shift"))]
    assert len(names) == 2 and all(torch.equal(states[0][name], states[1][name]) for name in names)
    assert (states[0][names[0]] > 0).any(1).all()


def test_an_unknown_way_to_read_numbers_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"model.net.numeric=periodc.*did you mean periodic"):
        fit("model=mlp", "dataset=wine", "model.net.numeric=periodc")
    with pytest.raises(ValueError, match="numeric=spline is unknown; known: linear, quantiles"):
        embed_numbers(INFO, "spline", 4, 4, 4, 1.0)


def pair(n_outputs: int, numeric: str = "linear"):
    """Return our TabM and the authors' of the same weights."""
    torch.manual_seed(0)
    info = INFO | {"n_outputs": n_outputs}
    sizes = {"k": 4, "d_hidden": 8, "n_layers": 3, "dropout": 0.0}
    ours = TabM(info, **sizes, numeric=numeric, d_number=5, n_frequencies=7, sigma=0.5)
    numbers = rtdl.PeriodicEmbeddings(3, 5, lite=True, n_frequencies=7) if numeric == "periodic" else None
    more = {"d_out": n_outputs, "num_embeddings": numbers, "dropout": 0.0}
    theirs = tabm.TabM.make(n_num_features=3, k=4, d_block=8, n_blocks=3, **more)
    with torch.no_grad():
        if numeric == "periodic":
            theirs.num_module.periodic.weight.copy_(ours.numbers.frequencies)
            theirs.num_module.linear.load_state_dict(ours.numbers.linear.state_dict())
        for mine, block in zip(ours.layers, theirs.backbone.blocks, strict=True):
            names = {"weight": "weight", "r": "scale_in", "s": "scale_out", "bias": "bias"}
            for name, parameter in block[0].named_parameters():
                parameter.copy_(getattr(mine, names[name]))
        theirs.output.weight.copy_(ours.head_weight)
        theirs.output.bias.copy_(ours.head_bias)
    return ours, theirs


@pytest.mark.parametrize("numeric", ["linear", "periodic"])
def test_tabm_is_that_of_the_authors(numeric):
    ours, theirs = pair(3, numeric)
    x = torch.from_numpy(X)
    assert ours.each(x_num=x).shape == (300, 4, 3)
    assert torch.allclose(ours.each(x_num=x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("numeric", ["linear", "periodic"])
def test_tabm_starts_as_that_of_the_authors_does(numeric):
    """Random factors of each column at the first layer, the same within a column; ones at all others."""
    ours, theirs = pair(3, numeric)
    for name in ("scale_in", "scale_out"):
        assert all((getattr(layer, name) == 1).all() for layer in ours.layers[1:])
    first, width = ours.layers[0].scale_in, {"linear": 1, "periodic": 5}[numeric]
    assert first.shape == theirs.backbone.blocks[0][0].r.shape == (4, 3 * width)
    columns = first.unflatten(1, (3, width))
    assert (columns == columns[:, :, :1]).all() and len(columns[:, :, 0].unique(dim=0)) > 1
    assert numeric == "periodic" or (first.abs() == 1).all()
    assert all((layer.bias == layer.bias[0]).all() for layer in ours.layers)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_tabm_trains_by_the_mean_of_losses_and_predicts_the_mean_of_predictions(task):
    regression = task == "regression"
    ours, theirs = pair(1 if regression else 3)
    x = torch.from_numpy(X)
    y = torch.from_numpy(Y).float() if regression else torch.from_numpy(np.arange(300) % 3)
    info = INFO | {"task": task, "n_outputs": 1 if regression else 3}
    options = {"log_row": None, "seed": 0, "optimizer": {}, "lr": 1.0, "weight_decay": 0.0, "ema": None}
    options |= {"schedule": "constant", "warmup": 0.0, "label_smoothing": 0.0}
    lit = LitTabM(ours, info, {}, None, **options)
    logits = theirs(x)  # (300, 4, n_outputs)
    if regression:
        wanted, mean = (logits[:, :, 0] - y[:, None]).square().mean(), logits[:, :, 0].mean(1)
        assert torch.allclose(ours(x_num=x)[:, 0], mean, atol=1e-5)
    else:
        wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.repeat_interleave(4))
        assert torch.allclose(ours(x_num=x).softmax(1), logits.softmax(2).mean(1), atol=1e-5)
    loss = lit.loss({"x_num": x, "y": y})
    assert torch.allclose(loss, wanted, atol=1e-5)
    of_mean = LitModel(ours, info, {}, None, **options).loss({"x_num": x, "y": y})
    assert of_mean < loss - 1e-4  # by Jensen's inequality: another loss
    weight = torch.arange(300) % 2.0
    weighted = lit.loss({"x_num": x, "y": y, "weight": weight})
    assert torch.allclose(weighted, lit.row_losses({"x_num": x[1::2], "y": y[1::2]}).mean(), atol=1e-5)


def test_a_residual_block_adds_to_what_came_in():
    net = MLP(INFO, d_hidden=8, n_layers=2, dropout=0.0, residual=True)
    x = torch.from_numpy(X)
    hidden = net.layers[0](x)
    for block in net.layers[1:3]:
        norm, wide, *_, narrow = block.inner
        hidden = hidden + narrow(wide(norm(hidden)).relu())
    assert torch.allclose(net(x_num=x), net.head(net.layers[3](hidden).relu()), atol=1e-6)


DOCS = (CHECKOUT / "docs/tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", re.findall(r"^python -m src\.train (.*)$", DOCS, re.MULTILINE))
def test_commands_of_the_docs_compose(words):
    assert check(spelled(words.split()))[0] == 1

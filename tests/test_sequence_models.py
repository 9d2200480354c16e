"""Models of sequences: positions, padding and batch norm, word vectors, tokens by place."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUIET, tiny_text

from src import fit
from src.model.build import build, is_own_net
from src.model.dna_cnn import DNACNN
from src.model.embed import PlaceEmbedding
from src.model.transformer import Transformer, rotated
from src.model.vectors import word_vectors
from src.system.errors import UserError

INFO = {"n_num_features": 0, "cat_cardinalities": [], "vocab_size": 9, "max_len": 12, "n_outputs": 2}


def words(n: int = 6, n_tokens: int = 12) -> dict:
    """Return rows of different lengths, one of them of a single token."""
    torch.manual_seed(0)
    lengths = torch.linspace(1, n_tokens, n).int()
    mask = torch.arange(n_tokens) < lengths[:, None]
    return {"input_ids": torch.randint(2, 9, mask.shape) * mask, "attention_mask": mask}


def net_of(name: str, **options):
    classes = {"dna_cnn": "DNACNN", "bilstm": "BiLSTM", "transformer": "Transformer", "mlp": "MLP"}
    torch.manual_seed(0)
    return build({"class": f"src.model.{name}.{classes[name]}", **options}, INFO).eval()


# -- places


@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"learned": True}])
def test_each_kind_of_positions_tells_the_order_of_tokens(options):
    """Without positions, the mean over tokens would be the same for both orders."""
    net = net_of("transformer", **options)
    ids = torch.tensor([[2, 3, 4, 5], [5, 4, 3, 2]])
    out = net(input_ids=ids, attention_mask=ids > 0)
    assert (out[0] - out[1]).abs().max() > 1e-4


def test_rotary_positions_depend_on_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8)
    place = torch.arange(20.0)[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])  # (T, hs // 2)
    dots = rotated(query.expand(1, 1, 20, 8), place)[0, 0] @ rotated(key.expand(1, 1, 20, 8), place)[0, 0].T
    for gap in (-7, 0, 3):
        diagonal = dots.diagonal(gap)
        assert torch.allclose(diagonal, diagonal[:1], atol=1e-5)
    assert (dots.diagonal(0)[0] - dots.diagonal(3)[0]).abs() > 1e-3


@pytest.mark.parametrize("options", [{"rotary": True, "learned": True}, {"rotary": True, "d_token": 12}])
def test_positions_that_do_not_go_together_are_refused(options):
    with pytest.raises(ValueError, match="rotary=true goes without learned"):
        Transformer(INFO, n_heads=4, **options)


@pytest.mark.parametrize("name", ["dna_cnn", "mlp"])
def test_a_net_by_place_tells_where_a_token_stands(name):
    """The maximum and the mean over places alone would be the same for both rows."""
    net = net_of(name, **({"by_place": True} if name == "mlp" else {"widths": [1]}))
    ids = torch.full((2, 12), 2)
    ids[0, 4] = ids[1, 5] = 3
    out = net(input_ids=ids, attention_mask=ids > 0)
    assert (out[0] - out[1]).abs().max() > 1e-4


def test_a_long_sequence_is_averaged_into_few_places():
    info = INFO | {"max_len": 1000}
    small = {"n_places": 64, "d_place": 3, "n_filters": 8}
    net = build({"class": "src.model.dna_cnn.DNACNN", "stride": 2, "d_hidden": 5, **small}, info)
    assert net.pool == 8 and net.hidden[0].in_features == 2 * 8 + 3 * 63
    ids = torch.randint(2, 9, (2, 400))
    assert net(input_ids=ids, attention_mask=ids > 0).shape == (2, 2)


# -- padding


def test_a_dna_cnn_without_the_newer_options_has_the_layers_of_older_runs():
    """Their weights have these names and shapes."""
    net = DNACNN(INFO | {"max_len": 20}, 32, n_filters=96)
    shapes = {name: tuple(weight.shape) for name, weight in net.state_dict().items() if "head" in name}
    assert shapes == {"head.weight": (2, 2 * 96 + 32 * 20), "head.bias": (2,)}


@pytest.mark.parametrize("name", ["dna_cnn", "bilstm", "transformer"])
@pytest.mark.parametrize("training", [True, False])
def test_padding_changes_nothing_also_in_training(name, training):
    """Statistics of a batch norm count no padding, and the backward LSTM begins at the last token."""
    off = {"dropout": 0.0} | ({} if name == "transformer" else {"token_dropout": 0.0})
    off |= {"stride": 2, "d_hidden": 8} if name == "dna_cnn" else {}
    net, batch = net_of(name, **off).train(training), words()
    padded = {key: torch.nn.functional.pad(x, (0, 7)) for key, x in batch.items()}
    assert torch.allclose(net(**batch), net(**padded), atol=1e-5)
    last = {key: x[-2:, :11] for key, x in batch.items()}
    if not training:  # rows do not depend on each other
        assert torch.allclose(net(**last)[0], net(**batch)[-2], atol=1e-5)


def test_a_dropped_word_does_not_cut_the_row_short(monkeypatch):
    """The mask has a hole there; a count of its tokens would end the row one word too early."""
    net = net_of("bilstm")
    tokens, mask = torch.randn(1, 4, 128), torch.tensor([[True, False, True, True]])
    monkeypatch.setattr(net.embed, "forward", lambda *inputs: (tokens, mask))
    before = net()
    tokens[0, 3] += 1
    assert (net() - before).abs().max() > 1e-4


# -- word vectors


@pytest.mark.parametrize("file", ["glove.txt", "glove.txt.gz", "word2vec.txt"])
def test_training_begins_at_the_vectors_of_known_words(tmp_path, outputs, file):
    text = "film 1 2 3 4\nunheard 9 9 9 9\ndull -1 0.5 2e-1 0\nfilm 7 7 7 7\n"
    if file == "word2vec.txt":
        text = "4 4\n" + text.replace("\n", " \n")  # its lines end with a space
    (gzip.open if file.endswith("gz") else open)(tmp_path / file, "wt").write(text)
    found = word_vectors(str(tmp_path / file), ["a", "dull", "film"], 4)
    assert {i: x.tolist() for i, x in found.items()} == {
        1: [-1.0, 0.5, pytest.approx(0.2), 0.0], 2: [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip


def test_a_net_starts_with_the_vectors_and_its_run_needs_no_file(tmp_path, outputs):
    """A learning rate of 0 leaves the vectors in the weights that are saved."""
    path = tmp_path / "vectors.txt"
    path.write_text("film 1 2 3 4\ndull -1 0.5 0.25 0\n")
    vectors = (f"model.net.vectors={path}", "model.net.d_token=4", "model.lr=0", "trainer.max_epochs=1")
    run = fit("model=mlp", "dataset.target=label", *vectors, *QUIET, data=tiny_text())
    path.unlink()
    again = run.predict(tiny_text().head(3))
    assert len(again) == 3
    weights = torch.load(run.folder / f"model/model_{run.name}.pt", weights_only=True)["tokens.table.weight"]
    known = json.loads((run.folder / "transforms.json").read_text())["tokenizer"]["words"]
    assert weights[known.index("film") + 2].tolist() == [1, 2, 3, 4]
    assert weights[known.index("dull") + 2].tolist() == [-1, 0.5, 0.25, 0]
    assert is_own_net(run.cfg["model"]["net"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("film 1 2 3\n", "line 1 has 3 numbers, model.net.d_token is 4"),
        ("x 1 2 3 4\nfilm 1 2 x 4\n", "could not convert string to float"),
        ("other 1 2 3 4\n", "has none of the 1 words of the vocabulary"),
        ("", "has none of the 1 words"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, text, reason):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        word_vectors(str(tmp_path / "v.txt"), ["film"], 4)
    assert "model.net.vectors=" in str(caught.value)
    with pytest.raises(UserError, match=r"no file gone\.txt"):
        word_vectors(str(tmp_path / "gone.txt"), ["film"], 4)


# -- tokens by place


def test_only_places_that_vary_in_training_are_read():
    part = PlaceEmbedding(6, 5, 3)
    train = {"input_ids": np.array([[2, 3, 2, 2], [2, 4, 2, 3]])}
    part.start_from(type("Data", (), {"parts": {"train": train}}))
    assert part.varies.tolist() == [False, True, False, True, True, True]
    a = torch.tensor([[4, 3, 4, 2]])
    b = torch.tensor([[2, 3, 3, 2]])  # differs where training never did
    assert part(a, a > 0).equal(part(b, b > 0))
    one_hot = part.table.weight[1 * 5 + 3] + part.table.weight[3 * 5 + 2]
    assert torch.allclose(part(a, a > 0)[0], one_hot)


def test_a_net_by_place_learns_what_the_mean_of_tokens_cannot(outputs):
    """The class is whether A stands before the end; both classes have the same letters."""
    rng = np.random.default_rng(0)
    rows = [("".join(rng.permutation(list("AACC"))), rng.choice(list("GT"))) for _ in range(200)]
    frame = pd.DataFrame({"s": [f"GG{a}{b}GG" for a, b in rows], "y": [a[-1] for a, _ in rows]})
    common = ("model=mlp", "dataset.target=y", "dataset.text=[s]", "dataset.tokenizer=char", *QUIET)
    short = ("trainer.max_epochs=8", "model.lr=0.02", "model.batch_size=32")
    run = fit(*common, *short, "model.net.by_place=true", data=frame)
    assert run.report["metrics"]["test/accuracy"] == 1.0
    mean = fit(*common, *short, data=frame)
    assert mean.report["metrics"]["test/accuracy"] < 0.8

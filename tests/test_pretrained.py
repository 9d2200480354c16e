"""A pretrained encoder: a tiny BERT that is made here, saved, trained in three ways, then removed."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import QUIET, assert_same, tiny_bert, tiny_table, tiny_text

from src import fit, load, resume_train
from src.model.build import is_own_net
from src.model.pretrained import Pretrained
from src.system.errors import UserError, sentence

INFO = {"n_num_features": 0, "cat_cardinalities": [], "vocab_size": 60, "max_len": 8, "n_outputs": 2}
FAST = ("model.lr=5e-3", "model.batch_size=32", "trainer.max_epochs=4", "model.warmup=0")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    words = {word for sentence in tiny_text()["sentence"] for word in sentence.split()}
    return tiny_bert(tmp_path_factory.mktemp("bert"), sorted(words))


def tokens(n: int = 4) -> dict:
    ids = torch.randint(1, 30, (n, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": ids > 5}


def start(bert, **options) -> Pretrained:
    torch.manual_seed(1)
    net = Pretrained(INFO | {"pretrained": str(bert)}, str(bert), **options).eval()
    net.start_from(None)
    return net


def test_it_computes_what_the_library_computes(bert):
    from transformers import AutoModel

    net, batch = start(bert), tokens()
    theirs = AutoModel.from_pretrained(bert, dtype=torch.float32).eval()
    hidden = theirs(batch["input_ids"], batch["attention_mask"].long()).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    assert torch.allclose(net(**batch), net.head(mean), atol=1e-6)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_lora_begins_at_the_pretrained_weights_and_trains_little_else(bert):
    whole, lora = start(bert), start(bert, lora=4)
    lora.head.load_state_dict(whole.head.state_dict())
    assert torch.allclose(whole(**tokens()), lora(**tokens()), atol=1e-6)
    trained = {name for name, p in lora.named_parameters() if p.requires_grad}
    assert {name.split(".")[-3] for name in trained - {"head.weight", "head.bias"}} == {"lora_A", "lora_B"}


def test_a_frozen_encoder_has_no_dropout_and_no_gradient(bert):
    net = start(bert, frozen=True).train()
    net.dropout.p = 0
    assert net(**tokens()).equal(net(**tokens()))
    net(**tokens()).sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("way", ["", "model.net.frozen=true", "model.net.lora=4"])
def test_a_run_predicts_without_the_folder_it_came_from(bert, outputs, tmp_path, way):
    folder = shutil.copytree(bert, tmp_path / "moved")
    data, ways = tiny_text(), (way,) if way else ()
    where = (f"dataset.pretrained={folder}", "dataset.tokenizer=hf", "dataset.target=label")
    run = fit("model=pretrained", *where, *FAST, *ways, *QUIET, data=data)
    shutil.rmtree(folder)
    again = load(run.name).predict_proba(data.loc[run.arrays["test_id"]])
    assert np.array_equal(again, run.arrays["test_p"])
    assert json.loads((run.folder / "info.json").read_text())["encoder"]["hidden_size"] == 16
    assert [path.suffix for path in (run.folder / "model").iterdir()] == [".pt"]
    assert is_own_net(run.cfg["model"]["net"])
    if not way:
        assert run.report["metrics"]["test/auroc"] > 0.9


def test_a_resume_needs_no_folder_either(bert, outputs, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "moved")
    common = (f"dataset.pretrained={folder}", "dataset.tokenizer=hf", "dataset.target=label", *QUIET)
    common = ("model=pretrained", *common, *FAST, "model.schedule=constant")
    short = fit(*common, "trainer.max_epochs=1", data=tiny_text())
    straight = fit(*common, "trainer.max_epochs=2", data=tiny_text())
    shutil.rmtree(folder / "model.safetensors", ignore_errors=True)
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert_same(resume_train(short.name, max_epochs=2, data=tiny_text()), straight)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_table_is_read_as_a_token_a_column(bert, outputs, kind):
    where = (f"model.net.path={bert}", "dataset.target=y", "trainer.max_epochs=15", "model.lr=0.01")
    run = fit("model=pretrained", *where, *QUIET, data=tiny_table(kind))
    name, sign = ("accuracy", 1) if kind == "binary" else ("rmse", -1)
    assert sign * run.report["metrics"][f"test/{name}"] > sign * run.report["baseline"][name]


def test_tokens_of_another_tokenizer_get_embeddings_of_their_own(bert):
    net = Pretrained(INFO, str(bert))
    assert net.encoder.get_input_embeddings().weight.shape == (60, 16)
    net.start_from(None)
    assert net(**tokens()).shape == (4, 2)


@pytest.mark.parametrize(
    ("path", "reason"),
    [(None, "needs model.net.path="), ("no/such/folder", "no/such/folder cannot be found or read")],
)
def test_a_path_that_is_no_model_is_refused(path, reason):
    with pytest.raises(UserError, match=reason):
        Pretrained(INFO, path)


def test_a_model_that_says_what_is_wrong_shows_no_places(outputs):
    with pytest.raises(UserError) as caught:
        fit("model=pretrained", "dataset=text_sample", "dataset.max_rows=40", *QUIET)
    assert sentence(caught.value).startswith("model=pretrained needs model.net.path=..., a folder")
    assert "\n" not in sentence(caught.value)


def test_more_tokens_than_places_are_refused(bert):
    with pytest.raises(UserError, match=r"has places for 40 tokens, the data has 41: lower dataset\.max_len"):
        Pretrained(INFO | {"max_len": 41}, str(bert))
    with pytest.raises(UserError, match="an encoder with a decoder"):
        from transformers import T5Config

        T5Config(d_model=8, num_layers=1, num_heads=1).save_pretrained(bert.parent / "t5")
        Pretrained(INFO, str(bert.parent / "t5"))


def test_pickled_weights_are_not_read(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "pickled")
    torch.save(torch.load, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    net = Pretrained(INFO, str(folder))
    with pytest.raises(UserError, match="cannot be found or read"):
        net.start_from(None)

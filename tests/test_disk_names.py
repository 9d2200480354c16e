"""Names in the source that also stand in files on disk: renaming one breaks what older runs recorded.

tests/test_old_runs.py opens real runs; this list says which names must stay, and which file holds each.
"""

import importlib
import inspect
import json
import zipfile

import pytest
import torch
from conftest import CHECKOUT

from src.config.tree import CONF, choices

PACKS = CHECKOUT / "tests/packs"

# module, name in it -> the file that holds the name, and who reads it there
NAMES = {
    ("src.rerun", "main"): "code.zip: replay runs `python -m src.rerun REQUEST.json` inside recorded code",
    ("src.model.mlp", "MLP"): "config.json, model.net.class: the class that load, resume and replay build",
    ("src.model.cnn", "CNN"): "config.json, model.net.class",
    ("src.model.transformer", "Transformer"): "config.json, model.net.class",
    ("src.model.bilstm", "BiLSTM"): "config.json, model.net.class",
    ("src.model.dna_cnn", "DNACNN"): "config.json, model.net.class",
    ("src.model.pretrained", "Pretrained"): "config.json, model.net.class",
    ("src.model.estimator", "Estimator"): "model_t7.joblib: a pickle names the class of what it holds",
}
# keys of a run's JSON that load, predict, replay, resume, diff, sync or runs() read
KEYS = {
    "report.json": "run dataset model seed split_seed etl_version data_digest sweep parent replay_of metric "
    "best_epoch metrics timings overrides status pid host started finished signed",
    "info.json": "target classes class_type y_mean y_std task n_outputs dataset columns n_num_features "
    "cat_cardinalities vocab_size max_len etl_version digest",
    "transforms.json": "roles categories numeric",
    "env.json": "python platform machine cpu_count threads seed packages git",
    "config.json": "seed threads metric metric_mode class_weight pictures profile tags "
    "dataset model trainer logger",
}


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_recorded_name_is_importable(module, name):
    assert hasattr(importlib.import_module(module), name), NAMES[module, name]


def test_the_nets_of_the_yamls_are_in_the_list():
    texts = {name: (CONF / "model" / f"{name}.yaml").read_text() for name in choices("model")}
    for module, name in NAMES:
        if module.startswith("src.model.") and name != "Estimator":
            assert f"{module}.{name}" in texts[module.rpartition(".")[2]]


def test_a_dataset_is_a_module_of_its_name():
    """version.json and config.json hold the dataset's name: reload_etl and replay import src.dataset.NAME."""
    for name in choices("dataset"):
        assert callable(importlib.import_module(f"src.dataset.{name}").read)


def test_the_request_of_a_replay_is_read_as_it_was_written(outputs, monkeypatch):
    """{"cfg", "report", "frame"} -> "run": replay and the recorded rerun can be of different versions."""
    rerun = importlib.import_module("src.rerun")
    source = inspect.getsource(rerun)
    assert all(f'"{key}"' in source for key in ("cfg", "report", "frame", "run"))


def test_a_checkpoint_has_the_names_of_before():
    """last.ckpt: the callback's key is `Keep`; the weights are under LitModel's `net` and `average`."""
    from src.model.lit import LitModel
    from src.trainer.callbacks import KeepBest

    with zipfile.ZipFile(PACKS / "mlp_checkpoints.zip") as archive:
        old = torch.load(archive.open("checkpoints/last.ckpt"), weights_only=True)
    keep = KeepBest({"name": "accuracy", "mode": "max"}, 16, PACKS)
    assert list(old["callbacks"]) == [keep.state_key] == ["Keep"]
    assert keep.state_dict().keys() == old["callbacks"]["Keep"].keys()
    assert {key.partition(".")[0] for key in old["state_dict"]} == {"net", "average"}
    assert all(f"self.{name}" in inspect.getsource(LitModel) for name in ("net", "average"))


@pytest.mark.parametrize("file", KEYS)
def test_a_run_has_the_keys_of_before(file):
    """Those of a run made before are the list; a run of today has them, too (new keys may come)."""
    with zipfile.ZipFile(PACKS / "mlp.zip") as archive:
        recorded = json.loads(archive.read(file))
    assert set(KEYS[file].split()) == set(recorded)


def test_a_run_of_today_has_them_too(outputs):
    from src import fit

    run = fit("model=mlp", "dataset=wine", "trainer.max_epochs=1", "logger=csv", "pictures=false")
    for file, keys in KEYS.items():
        kept = set(keys.split()) - {"signed"}  # seals of older runs, still read; today's are under "sealed"
        assert kept - set(json.loads((run.folder / file).read_text())) == set(), file
    assert (run.folder / "code.zip").is_file() and (run.folder / f"model/model_{run.name}.pt").is_file()
    version = json.loads((outputs / "etl/wine/v1/version.json").read_text())
    with zipfile.ZipFile(PACKS / "etl.zip") as archive:
        assert version.keys() == json.loads(archive.read("etl/wine/v1/version.json")).keys()

"""Hydra composes a sweep's jobs quickly, and as it does by itself."""

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import OmegaConf

from src.config.jobs import compose_once
from src.config.tree import CONF

JOBS = [
    ["model=hist_gb", "dataset=adult", "seed=3", "model.arguments.max_iter=7"],
    ["model=hist_gb", "dataset=adult", "seed=4", "++model.classifier.new=7"],
    ["model=mlp", "dataset=adult", "tags=[a,b]", "class_weight={a: 1}", "model.lr=1e-3", "+model.net.new=2"],
    ["model=mlp", "dataset=adult", "~model.lr", "seed=1"],
    ["experiment=adult_f1", "model.patience=${seed}", "seed=${oc.env:NONE,5}", "debug=fast", "metric='a b'"],
    ["model=mlp", "+hydra.job.env_set.A=b", "threads=null"],
]


@pytest.fixture
def loader(monkeypatch):
    """Hydra's loader, which `compose_once` makes quick and the end of the test as it was."""
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", ConfigLoaderImpl.load_sweep_config)
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", Sweeper.validate_batch_is_legal)
    with initialize_config_dir(str(CONF), version_base=None):
        loader = GlobalHydra.instance().config_loader()
        words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=mlp,knn", "seed=0,1"]
        yield loader, loader.load_configuration("train", words, RunMode.MULTIRUN)


def plain(cfg) -> dict:
    found = OmegaConf.to_container(cfg)
    del found["hydra"]["job"]["override_dirname"]  # of a folder's name, which Reprise does not use
    return found


def test_jobs_are_composed_as_hydra_does(loader):
    loader, master = loader
    wanted = [plain(loader.load_sweep_config(master, list(job))) for job in JOBS]
    compose_once.__wrapped__()
    for _ in range(2):  # the second time from the copies
        for job, config in zip(JOBS, wanted, strict=True):
            found = loader.load_sweep_config(master, list(job))
            assert plain(found) == config and OmegaConf.is_struct(found)
            found.seed, found.hydra.job.num = 99, 7  # changes no other job
    with pytest.raises(ConfigCompositionException, match=r"model\.lrr"):
        loader.load_sweep_config(master, ["model=mlp", "model.lrr=1"])


def test_jobs_of_the_same_groups_are_composed_once(loader, monkeypatch):
    loader, master = loader
    calls, whole = [], ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_sweep_config", lambda *args: calls.append(args[2]) or whole(*args)
    )
    compose_once.__wrapped__()
    for seed in range(5):
        for model in ("mlp", "knn"):
            assert loader.load_sweep_config(master, [f"model={model}", f"seed={seed}"]).seed == seed
    assert calls == [["model=mlp"], ["model=knn"]]

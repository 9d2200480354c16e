"""Runs made before the rooms (commit 1bdd3fb) still unpack, load, predict, replay and resume.

tests/packs/ holds what that commit wrote, made with:
    python -m src.train model=mlp dataset=wine trainer.max_epochs=8 model.ema=0.9 model.net.d_hidden=32 \\
        model.batch_size=16 logger=csv pictures=false threads=1
    python -m src.train model=random_forest dataset=wine model.classifier.n_estimators=20 \\
        logger=csv pictures=false threads=1
    python -m src.train model=hist_gb dataset=diabetes model.regressor.max_iter=30 \\
        logger=csv pictures=false threads=1
packed by `python -m src.pack`; the checkpoints of the first run; the ETL folder; and made_on.json, the CPU.
Sums round differently on other CPUs, so results are identical only on that CPU with those packages; elsewhere
they differ by less than 1e-5.
"""

import json
import platform
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT, QUIET

from src import fit, load, reload_etl, replay_train
from src.config.compose import compose
from src.dataset import diabetes, wine
from src.resume import resume
from src.run.compare import compare
from src.share.package import unpack
from src.system.environment import describe_environment
from src.system.errors import UserError
from src.system.files import read_json

PACKS = CHECKOUT / "tests/packs"
NAMES = ("mlp", "random_forest", "hist_gb")
TOLERANCE = 1e-5
pytestmark = pytest.mark.usefixtures("forked_replays")


def cpu() -> str:
    """Vendor, model and vector instructions of this CPU: what the bits of a sum depend on."""
    path = Path("/proc/cpuinfo")
    text = path.read_text().partition("\n\n")[0] if path.is_file() else ""
    known = dict(line.replace("\t", "").split(":", 1) for line in text.splitlines())
    known = {key: value.strip() for key, value in known.items()}
    flags = sorted(flag for flag in known.get("flags", "").split() if re.match("avx|fma|amx|sse", flag))
    kind = [known.get(key, "") for key in ("vendor_id", "model name", "cpu family", "model")]
    return " ".join([platform.machine(), *kind, *flags])


@pytest.fixture(scope="module")
def old(outputs):
    """{"mlp": Run, ...}: the packed runs, received and trusted."""
    with zipfile.ZipFile(PACKS / "etl.zip") as archive:
        archive.extractall(outputs)
    return {name: unpack(PACKS / f"{name}.zip", trust=True) for name in NAMES}


@pytest.fixture(scope="module")
def bitwise(old) -> bool:
    """Whether results must be identical here: same CPU, same packages as when the packs were made."""
    packages = read_json(old["mlp"].folder / "env.json")["packages"]
    same_packages = describe_environment(0)["packages"] == packages
    return same_packages and cpu() == read_json(PACKS / "made_on.json")["cpu"]


def assert_close(found: dict, bitwise: bool) -> None:
    """Check the differences that `compare` found: 0.0 where bits must agree, else below the tolerance."""
    kinds = [kind for kind in ("history", "predictions", "weights") if kind in found]
    assert len(kinds) >= 2 and all(found[kind] <= (0.0 if bitwise else TOLERANCE) for kind in kinds), found
    assert found["identical"] or not bitwise


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read(old, name):
    run = load(old[name].name)  # trusted when it was received, so it needs no trust now
    recorded = json.loads(zipfile.ZipFile(PACKS / f"{name}.zip").read("report.json"))
    assert run.status == "done" and run.report["metrics"] == recorded["metrics"]
    assert run.report["received_as"] == recorded["run"]
    assert [row["epoch"] for row in run.rows] == list(range(1, len(run.rows) + 1))
    assert run.rows[recorded["best_epoch"] - 1]["val/loss"] == recorded["metrics"]["val/loss"]
    assert run.objective == recorded["metrics"][f"val/{recorded['metric']['name']}"]


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts_what_it_predicted(old, name, bitwise):
    run, dataset = load(old[name].name), diabetes if name == "hist_gb" else wine
    frame = dataset.read({}).loc[run.arrays["test_id"]]
    p = run.predict(frame)["prediction"] if name == "hist_gb" else run.predict_proba(frame)
    recorded = run.arrays["test_p"]
    assert len(recorded) > 30 and np.abs(p - recorded).max() <= (0.0 if bitwise else TOLERANCE)


@pytest.mark.parametrize("code", ["recorded", "now"])
@pytest.mark.parametrize("name", NAMES)
def test_it_replays(old, name, code, bitwise):
    """By its recorded code, and by today's from its recorded config."""
    found = replay_train(old[name].name, code=code)
    assert_close(found, bitwise)
    again = load(found["run"])
    assert again.status == "done" and again.report["replay_of"] == old[name].name
    assert again.report["etl_version"] == "v1", "the data gets no new version"


def test_it_resumes_and_ends_as_the_straight_run(old, bitwise):
    """Its last.ckpt names the callback `Keep` and the net's weights `net.*` and `average.*`."""
    run = unpack(PACKS / "mlp.zip", trust=True)
    with zipfile.ZipFile(PACKS / "mlp_checkpoints.zip") as archive:
        archive.extractall(run.folder)
    rows = run.rows
    with pytest.raises(UserError, match=r"the code of t\d+ has changed since it began"):
        resume(run.name, max_epochs=12)
    longer = resume(run.name, max_epochs=12, changed=True)
    assert "src/trainer/net.py" in longer.report["changed"]
    assert str(longer.rows[:8]) == str(rows) and len(longer.rows) == 12  # as text: nan is not nan
    straight = fit(*longer.report["overrides"], "trainer.max_epochs=12")
    assert_close(compare(load(longer.name), load(straight.name)), bitwise)
    assert longer.report["best_epoch"] == straight.report["best_epoch"]


def test_its_data_version_is_made_again(old):
    frame = reload_etl("wine", "v1")
    assert len(frame) == 178 and list(frame) == list(wine.read(compose(["dataset=wine"])["dataset"]))


def test_todays_run_on_the_same_data_has_the_same_version(old):
    assert fit("model=linear", "dataset=wine", *QUIET).report["etl_version"] == "v1"


def test_the_packs_are_small_and_name_no_machine():
    for path in PACKS.iterdir():
        assert path.stat().st_size < 200_000
    for name in NAMES:
        with zipfile.ZipFile(PACKS / f"{name}.zip") as archive:
            report = json.loads(archive.read("report.json"))
            assert report["host"] == "here" and b"/home/" not in archive.read("log.txt")

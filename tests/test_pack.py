"""A run as one file predicts the same elsewhere, is checked on arrival, and runs no code without trust."""

import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import tiny_table

from src import fit, load, replay_train
from src.config.shell import read
from src.dataset import wine
from src.resume import resume
from src.run.folder import runs_folder
from src.share.package import pack, unpack
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import versions_in
from src.unpack import unpack as verb

TABLE = tiny_table("binary", n=120)
WINE = wine.read({})


def made_here(frame, *overrides: str, **data):
    """A run that has loaded its model: later, the tests act as another machine."""
    run = fit(*overrides, "logger=csv", "pictures=false", "trainer.max_epochs=2", **data)
    assert len(run.predict(frame)) == len(frame)
    return run


@pytest.fixture(scope="module")
def torch_run(outputs):
    return made_here(TABLE, "model=mlp", "dataset.target=y", data=TABLE)


@pytest.fixture(scope="module")
def joblib_run(outputs):
    return made_here(WINE, "model=linear", "dataset=wine")


@pytest.fixture(scope="module")
def packs(torch_run, joblib_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    return {
        "torch": pack(torch_run.name, folder / "torch.zip"),
        "joblib": pack(joblib_run.name, folder / "joblib.zip"),
    }


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another machine: another ``OUTPUTS_DIR``, with another key."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def remade(source: Path, target: Path, digests: bool = True, **change) -> Path:
    """Copy a pack with files changed, added or, if None, left out; with new digests that match."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()} | change
    contents = {name: content for name, content in contents.items() if content is not None}
    if digests:
        manifest = json.loads(contents["manifest.json"])
        names = contents.keys() - {"manifest.json"}
        manifest["files"] = {name: hashlib.sha256(contents[name]).hexdigest() for name in names}
        contents["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target


def with_config(source: Path, target: Path, model: dict, **more) -> Path:
    """As `remade`, with some values of the config's model section replaced."""
    with zipfile.ZipFile(source) as archive:
        cfg = json.loads(archive.read("config.json"))
    cfg["model"] |= model
    return remade(source, target, **{"config.json": json.dumps(cfg).encode()}, **more)


def refused(file: Path) -> str:
    """Return the sentence that refuses ``file``; nothing of it is kept."""
    with pytest.raises(UserError) as caught:
        unpack(file)
    assert "\n" not in str(caught.value) and not versions_in(runs_folder(), "t")
    return str(caught.value)


def appears(marker: Path) -> bool:
    """Whether the code that writes ``marker`` has run, perhaps in another process."""
    until = time.monotonic() + 5
    while not marker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return marker.exists()


# -- a pack that arrives whole


def test_a_net_predicts_the_same_bits_without_trust(torch_run, packs, elsewhere):
    run = unpack(packs["torch"])
    assert run.name == "t1" and run.folder == elsewhere / "runs" / "t1"
    got = load("t1")
    assert np.array_equal(got.predict_proba(TABLE), torch_run.predict_proba(TABLE))
    assert got.history == torch_run.history and got.report["metrics"] == torch_run.report["metrics"]
    assert got.report["received_as"] == torch_run.name and got.status == "done"
    assert unpack(packs["torch"]).name == "t2", "under the next version"


def test_an_estimator_wants_trust_and_then_predicts_the_same_bits(joblib_run, packs, elsewhere):
    unpack(packs["joblib"])
    with pytest.raises(UserError, match="add trust=true") as caught:
        load("t1").predict(WINE)
    assert "\n" not in str(caught.value)
    assert np.array_equal(load("t1", trust=True).predict_proba(WINE), joblib_run.predict_proba(WINE))
    with pytest.raises(UserError, match="add trust=true"):
        load("t1").predict(WINE)


def test_trust_given_on_arrival_is_remembered(joblib_run, packs, elsewhere):
    unpack(packs["joblib"], trust=True)
    assert np.array_equal(load("t1").predict_proba(WINE), joblib_run.predict_proba(WINE))


def test_a_received_run_replays_only_with_trust(joblib_run, packs, elsewhere):
    unpack(packs["joblib"])
    with pytest.raises(UserError, match="its code could run anything"):
        replay_train("t1")
    assert versions_in(runs_folder(), "t") == [1]
    found = replay_train("t1", trust=True)
    assert found["identical"] is True and load(found["run"]).report["replay_of"] == "t1"
    assert np.array_equal(load(found["run"]).predict_proba(WINE), joblib_run.predict_proba(WINE))


def test_a_pack_holds_the_run_and_no_key(torch_run, packs):
    with zipfile.ZipFile(packs["torch"]) as archive:
        names = set(archive.namelist())
    assert {"config.json", "report.json", "env.json", "code.zip", "info.json", "transforms.json"} <= names
    assert f"model/model_{torch_run.name}.pt" in names and "DONE" in names
    assert not any("checkpoint" in name or "key" in name or name == "trackers.json" for name in names)


def test_only_a_run_that_is_done_is_packed(outputs, tmp_path):
    with pytest.raises(UserError):
        fit("model=knn", "dataset=wine", "class_weight=balanced", "logger=csv")
    name = f"t{versions_in(runs_folder(), 't')[-1]}"
    with pytest.raises(UserError, match=f"{name} is failed"):
        pack(name, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_the_shell_prints_the_new_name(packs, elsewhere, capsys):
    verb(**read(verb, [f"file={packs['joblib']}"]).arguments)
    assert "received as t1; its code and its pickles run only with trust=true" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean file"):
        read(verb, [f"fiel={packs['joblib']}"])
    assert versions_in(runs_folder(), "t") == [1]


# -- refused on arrival


@pytest.mark.parametrize(
    "name",
    ["../evil", "model/../../evil", "..", "{tmp}/evil", "..\\evil", "C:evil", "model/", "config.json/e", ""],
)
def test_names_that_lead_elsewhere_are_refused(packs, elsewhere, tmp_path, name):
    refused(remade(packs["torch"], tmp_path / "x.zip", **{name.replace("{tmp}", str(tmp_path)): b"x"}))
    assert not list(tmp_path.rglob("*evil"))


def test_a_link_is_written_as_a_file(packs, elsewhere, tmp_path):
    """A link to elsewhere, followed by a later name, would be another way out."""
    pack = remade(packs["torch"], tmp_path / "link.zip", link=str(tmp_path).encode())
    with zipfile.ZipFile(pack) as archive:
        contents = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(pack, "w") as archive:
        for info, content in contents.items():
            if info.filename == "link":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    run = unpack(pack)
    assert (run.folder / "link").is_file() and not (run.folder / "link").is_symlink()


DAMAGED = {
    "a changed file": ({"info.json": b"{}"}, False, "info.json does not match its digest"),
    "an extra file": ({"extra.txt": b"x"}, False, "other files than its manifest lists"),
    "a file gone": ({"info.json": None}, False, "other files than its manifest lists"),
    "no manifest": ({"manifest.json": None}, False, "no manifest"),
    "a manifest that is no JSON": ({"manifest.json": b"{"}, False, "no manifest"),
    "a manifest that is a list": ({"manifest.json": b"[]"}, False, "manifest"),
    "files that are no dict": ({"manifest.json": b'{"files": 3}'}, False, "manifest"),
    "no config": ({"config.json": None}, True, "no config.json"),
    "no code": ({"code.zip": None}, True, "no code.zip"),
    "a config that is no JSON": ({"config.json": b"{"}, True, "config.json"),
    "a report that is no JSON": ({"report.json": b"{"}, True, "report.json"),
    "a report of nothing": ({"report.json": b"{}"}, True, "report.json"),
    "a report that is a list": ({"report.json": b"[]"}, True, "report.json"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_pack_is_refused_in_one_sentence(packs, elsewhere, tmp_path, case):
    change, digests, says = DAMAGED[case]
    assert says in refused(remade(packs["torch"], tmp_path / "damaged.zip", digests, **change))


def test_other_files_are_refused_in_one_sentence(packs, elsewhere, tmp_path):
    content = packs["torch"].read_bytes()
    for i, wrong in enumerate((b"", b"no zip at all", content[: len(content) // 2], content[100:])):
        file = tmp_path / f"{i}.zip"
        file.write_bytes(wrong)
        assert f"{i}.zip is not a packed run" in refused(file)
    assert "absent.zip" in refused(tmp_path / "absent.zip")
    assert "is not a packed run" in refused(tmp_path)


def test_names_that_a_manifest_lists_are_refused_as_a_list(packs, elsewhere, tmp_path):
    with zipfile.ZipFile(packs["torch"]) as archive:
        names = [name for name in archive.namelist() if name != "manifest.json"]
    manifest = json.dumps({"run": "t1", "files": names}).encode()
    listed = remade(packs["torch"], tmp_path / "list.zip", False, **{"manifest.json": manifest})
    assert "manifest" in refused(listed)


def test_any_changed_byte_is_seen(packs, elsewhere, tmp_path):
    """Or changes nothing that arrives, as the date of a file does not."""
    content, file = packs["joblib"].read_bytes(), tmp_path / "byte.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    positions, n_refused = np.linspace(0, len(content) - 1, 150).astype(int), 0
    for position in positions:
        file.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            run = unpack(file)
        except UserError as error:
            n_refused += "\n" not in str(error)
        else:
            assert (run.folder / "code.zip").read_bytes() == files["code.zip"]
            shutil.rmtree(run.folder)
    assert n_refused > 100 and not versions_in(runs_folder(), "t")


# -- files that could run code


class Trap:
    """Writes ``marker`` when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_runs_only_with_trust(joblib_run, packs, elsewhere, tmp_path):
    marker, model = tmp_path / "marker", io.BytesIO()
    joblib.dump(Trap(marker), model)
    inside = f"model/model_{joblib_run.name}.joblib"
    unpack(remade(packs["joblib"], tmp_path / "evil.zip", **{inside: model.getvalue()}))
    for use in (lambda run: run.predict(WINE), lambda run: run.predict_proba(WINE)):
        with pytest.raises(UserError, match="add trust=true"):
            use(load("t1"))
    assert repr(load("t1")).startswith("t1: linear on wine, done") and not marker.exists()
    with pytest.raises(AttributeError):  # its "model" is the number 0
        load("t1", trust=True).predict(WINE)
    assert marker.exists(), "the trap works"


def test_malicious_weights_of_a_net_do_not_run(torch_run, packs, elsewhere, tmp_path):
    """Weights are read as weights only, so a net needs no trust."""
    marker = tmp_path / "marker"
    inside = f"model/model_{torch_run.name}.pt"
    unpack(remade(packs["torch"], tmp_path / "evil.zip", **{inside: pickle.dumps(Trap(marker))}))
    with pytest.raises(UserError, match="does not hold the weights"):
        load("t1").predict(TABLE)
    assert not marker.exists()


def traps(marker: Path) -> dict:
    """name -> (class of the net, info): `build` calls the class with info."""
    return {
        "Popen": ("subprocess.Popen", {"touch": 0, str(marker): 0}),
        "build": ("src.model.build.build", {"class": "subprocess.Popen", "args": ["touch", str(marker)]}),
        "imported": ("src.trainer.net.build", {"class": "subprocess.Popen", "args": ["touch", str(marker)]}),
    }


@pytest.mark.parametrize("trap", traps(Path()))
def test_a_class_that_is_no_net_is_not_built_without_trust(packs, elsewhere, tmp_path, trap):
    marker = tmp_path / "marker"
    name, info = traps(marker)[trap]
    change = {"info.json": json.dumps(info).encode()}
    unpack(with_config(packs["torch"], tmp_path / "x.zip", {"net": {"class": name}}, **change))
    with pytest.raises(UserError, match="add trust=true"):
        load("t1").predict(TABLE)
    time.sleep(0.2)
    assert not marker.exists()
    with pytest.raises((AttributeError, UserError)):  # a process is no net
        load("t1", trust=True).predict(TABLE)
    assert appears(marker), "the trap works"


@pytest.mark.parametrize("how", ["longer", "stopped"])
def test_a_received_run_is_not_resumed_without_trust(packs, elsewhere, tmp_path, how):
    """Its config names the classes that training builds."""
    marker = tmp_path / "marker"
    trap = {"class": "subprocess.Popen", "args": ["touch", str(marker)]}
    with zipfile.ZipFile(packs["joblib"]) as archive:
        report = json.loads(archive.read("report.json")) | ({"status": "stopped"} if how == "stopped" else {})
    change = {"report.json": json.dumps(report).encode()}
    unpack(with_config(packs["joblib"], tmp_path / "x.zip", {"classifier": trap}, **change))
    with pytest.raises(UserError, match="trust"):
        resume("t1", max_epochs=200 if how == "longer" else None)
    time.sleep(0.2)
    assert not marker.exists()


# -- files changed in place


@pytest.fixture
def here(torch_run, joblib_run, outputs, tmp_path, monkeypatch):
    """A copy of this machine's runs, its key included, to spoil."""
    shutil.copytree(outputs, tmp_path / "here")
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "here"))
    return tmp_path / "here"


def test_a_model_swapped_in_place_is_refused(joblib_run, here, tmp_path):
    run = load(joblib_run.name)
    assert np.array_equal(run.predict_proba(WINE), joblib_run.predict_proba(WINE)), "no trust needed here"
    marker = tmp_path / "marker"
    joblib.dump(Trap(marker), run.folder / "model" / f"model_{run.name}.joblib")
    with pytest.raises(UserError, match="was not made here"):
        load(run.name).predict(WINE)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["code.zip", "config.json"])
def test_code_or_config_changed_in_place_is_not_replayed(joblib_run, here, name):
    path = here / "runs" / joblib_run.name / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UserError, match="its code could run anything"):
        replay_train(joblib_run.name)


def test_a_mark_of_another_file_does_not_count(joblib_run, torch_run, here):
    """The marks of a run made here, put into the report of a received one."""
    path, other = (here / "runs" / run.name / "report.json" for run in (joblib_run, torch_run))
    report = read_json(path)
    without_model = {name: mark for name, mark in report["signed"].items() if not name.startswith("model/")}
    for marks in ({}, without_model, dict.fromkeys(report["signed"], ""), read_json(other)["signed"]):
        write_json(path, report | {"signed": marks})
        with pytest.raises(UserError, match="was not made here"):
            load(joblib_run.name).predict(WINE)

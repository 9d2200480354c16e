"""A run as one file predicts the same elsewhere, is checked on arrival, and runs no code without trust."""

import errno
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import stat
import struct
import sys
import time
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import tiny_table

from src import fit, load, replay_train, runs
from src.clean import table
from src.config.shell import read
from src.dataset import wine
from src.diff import diff
from src.resume import resume
from src.run.folder import runs_folder
from src.run.lock import holder
from src.run.trust import unsealed
from src.share.arrival import MEMBERS, SHAPES
from src.share.package import n_bytes, pack, unpack
from src.sync import sync
from src.system.errors import UserError
from src.system.files import host, read_json, write_json
from src.system.paths import versions_in
from src.unpack import unpack as verb

TABLE = tiny_table("binary", n=120)
WINE = wine.read({})
pytestmark = pytest.mark.usefixtures("forked_replays")


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
    assert not any(runs_folder().glob(".*.part"))
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
    assert got.rows == torch_run.rows and got.report["metrics"] == torch_run.report["metrics"]
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
    assert f"model/model_{torch_run.name}.pt" in names
    assert not any(name.startswith((".", "checkpoints", "trackers", "DONE")) for name in names)


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


FOREIGN = [  # names that lead elsewhere, that people cannot see, or of files that no pack may bring
    "../evil", "model/../../evil", "..", "{tmp}/evil", "..\\evil", "C:evil", "model/", "config.json/e", "",
    "plots/a\x1b[2Jb.png", "plots/a\nb.png", "plots/../../evil.png", "plots/a/b.png", "./config.json",
    "plots/caf\u00e9.png", "plots/cafe\u0301.png", "CONFIG.JSON", "plots/TEST.png", f"plots/{'a' * 300}.png",
    "plots/" + "a/" * 60 + "b.png", ".key", ".lock", ".alive", "trackers.json", "checkpoints/last.ckpt",
    "checkpoints/best.ckpt", ".trackers.lock", "model/evil.py", "model/model_t99.joblib", "sitecustomize.py",
    "model/.hidden", "predictions.npz.part", "notes.txt", "DONE/x", "con", "log.txt\x00.png", "code.zip.",
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN, ids=map(repr, FOREIGN))
def test_files_that_no_run_has_are_refused(packs, elsewhere, tmp_path, name):
    says = refused(remade(packs["torch"], tmp_path / "x.zip", **{name.replace("{tmp}", str(tmp_path)): b"x"}))
    assert says.isprintable() and len(says) < 400
    assert not list(tmp_path.rglob("*evil*"))


def test_the_done_of_an_older_pack_is_left_out(packs, elsewhere, tmp_path):
    """Older packs hold the mark and Hydra's folder; here the mark is written last, empty."""
    older = {"DONE": b"x", ".hydra/config.yaml": b"x"}
    run = unpack(remade(packs["torch"], tmp_path / "older.zip", **older))
    assert (run.folder / "DONE").read_bytes() == b"" and not (run.folder / ".hydra").exists()


def with_entries(source: Path, target: Path, change) -> Path:
    """Copy a pack with ``change(entry)`` done to what the zip says of each file."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            change(entry)
            copy.writestr(entry, content)
    return target


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
@pytest.mark.parametrize("name", ["config.json", "log.txt"])
def test_what_is_no_plain_file_is_refused(packs, elsewhere, tmp_path, name, kind):
    """A link to elsewhere, followed by a later name, would be another way out."""

    def change(entry):
        if entry.filename == name:
            entry.external_attr = (kind | 0o777) << 16

    assert "is a link" in refused(with_entries(packs["torch"], tmp_path / "x.zip", change))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(packs, elsewhere, tmp_path, method):
    """4 KB of them can hold 80 MB, which `zipfile` would unpack at once."""
    change = lambda entry: setattr(entry, "compress_type", method)  # noqa: E731
    assert "unknown way" in refused(with_entries(packs["torch"], tmp_path / "x.zip", change))


def test_a_name_that_occurs_twice_is_refused(packs, elsewhere, tmp_path):
    """The first could be checked and the second used."""
    twice = tmp_path / "twice.zip"
    shutil.copy(packs["torch"], twice)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("config.json", b"{}")
    assert "each once" in refused(twice)


# -- too large


@pytest.fixture
def bomb(packs, tmp_path):
    """Return a pack whose ``name`` is ``n`` zeros: a thousandth of that when packed."""

    def make(name: str, n: int) -> Path:
        file, zeros = tmp_path / "bomb.zip", bytes(n)
        with zipfile.ZipFile(packs["torch"]) as archive:
            contents = {inside: archive.read(inside) for inside in archive.namelist()}
        manifest = json.loads(contents["manifest.json"])
        manifest["files"][name] = hashlib.sha256(zeros).hexdigest()
        contents |= {"manifest.json": json.dumps(manifest).encode()} | {name: zeros}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, content in contents.items():
                archive.writestr(inside, content)
        return file

    return make


def test_a_pack_is_no_larger_than_allowed(bomb, elsewhere):
    file = bomb("log.txt", 20_000_000)
    with pytest.raises(UserError, match="add max_size=1GB"):
        unpack(file, max_size="10MB")
    assert file.stat().st_size < 2_000_000 and not any(runs_folder().glob("*"))
    assert (unpack(file, max_size="1GB").folder / "log.txt").stat().st_size == 20_000_000


@pytest.mark.parametrize("name", ["config.json", "report.json", "metrics.csv", "manifest.json"])
def test_a_text_is_no_larger_than_a_tenth(bomb, elsewhere, name):
    """It is read as a whole."""
    with pytest.raises(UserError, match=f"{name} is larger than a tenth of the allowed 0.1 GB"):
        unpack(bomb(name, 11_000_000), max_size="100MB")


def test_a_size_that_lies_is_found_while_reading(bomb, elsewhere):
    """The zip says 10 bytes where 20 million come: in its list of files and at the file itself."""
    file = bomb("log.txt", 20_000_000)
    content, size = file.read_bytes(), (20_000_000).to_bytes(4, "little")
    assert content.count(size) == 2
    file.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    refused(file)


@pytest.mark.parametrize("name", ["code.zip", "predictions.npz"])
def test_a_zip_within_the_pack_is_limited_too(packs, elsewhere, tmp_path, name):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("src/a.py" if name == "code.zip" else "val_p.npy", bytes(20_000_000))
    file = remade(packs["torch"], tmp_path / "x.zip", **{name: inner.getvalue()})
    with pytest.raises(UserError, match=f"{name} would be 0.02 GB"):
        unpack(file, max_size="15MB")
    assert not any(runs_folder().glob("*"))


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "src/../../evil.py", "src/\x1b[2J.py", "a\\b.py"])
def test_recorded_code_lies_where_it_is_unpacked(packs, elsewhere, tmp_path, name):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(name, b"x = 1")
    says = refused(remade(packs["torch"], tmp_path / "x.zip", **{"code.zip": inner.getvalue()}))
    assert "code.zip holds a file called" in says and says.isprintable()


def test_too_many_files_are_refused(packs, elsewhere, tmp_path):
    plots = {f"plots/p{i}.png": b"" for i in range(10_001)}
    assert "at most 10,000" in refused(remade(packs["torch"], tmp_path / "x.zip", **plots))


def test_a_long_list_of_files_is_not_read(packs, elsewhere, tmp_path):
    """300,000 names of 17 MB: `zipfile` would take 300 MB for them before anyone can count."""
    file = tmp_path / "x.zip"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, *[0] * 7, 11, *[0] * 6)
    names = b"".join(entry + b"%07d.txt" % i for i in range(300_000))
    file.write_bytes(names + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(names), 0, 0))
    tracemalloc.start()
    assert "Truncated central directory" in refused(file)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_a_large_file_is_not_held_in_memory(bomb, elsewhere):
    file = bomb("profile.txt", 100_000_000)
    tracemalloc.start()
    unpack(file)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "n"), [("5GB", 5 * 10**9), ("1.5 gb", 15 * 10**8), ("200MB", 2 * 10**8), ("7", 7), ("3B", 3)]
)
def test_a_size_is_a_number_and_its_unit(size, n):
    assert n_bytes(size) == n


@pytest.mark.parametrize("size", ["", "GB", "much", "-1GB", "1e9", "5XB", "1.2.3GB", "inf", "nan", "5 G B"])
def test_another_size_is_one_sentence(packs, elsewhere, size):
    with pytest.raises(UserError, match="max_size=5GB"):
        unpack(packs["torch"], max_size=size)


# -- damaged


DAMAGED = {
    "a changed file": ({"info.json": b"{}"}, False, "info.json does not match its digest"),
    "an extra file": ({"plots/extra.png": b"x"}, False, "other files than its manifest lists"),
    "a file gone": ({"log.txt": None}, False, "other files than its manifest lists"),
    "no manifest": ({"manifest.json": None}, False, "no manifest"),
    "a manifest that is no JSON": ({"manifest.json": b"{"}, False, "manifest.json is damaged"),
    "a manifest that is a list": ({"manifest.json": b"[]"}, False, "manifest.json is damaged"),
    "files that are no dict": ({"manifest.json": b'{"files": 3}'}, False, "manifest.json: files is damaged"),
    "no config": ({"config.json": None}, True, "no config.json"),
    "no environment": ({"env.json": None}, True, "no env.json"),
    "no predictions": ({"predictions.npz": None}, True, "no predictions.npz"),
    "no code": ({"code.zip": None}, True, "no code.zip"),
    "a config that is no JSON": ({"config.json": b"{"}, True, "config.json"),
    "a report that is no JSON": ({"report.json": b"{"}, True, "report.json"),
    "a report of nothing": ({"report.json": b"{}"}, True, "report.json"),
    "a report that is a list": ({"report.json": b"[]"}, True, "report.json"),
    "a config that is deep": ({"config.json": b"[" * 100_000}, True, "not a packed run"),
    "a config that is no UTF-8": ({"config.json": b"\xff\xfe"}, True, "config.json is damaged"),
    "code that is no zip": ({"code.zip": b"x"}, True, "code.zip is not a packed run"),
    "predictions that are no zip": ({"predictions.npz": b"x"}, True, "predictions.npz is not a packed run"),
    "a history of words": ({"metrics.csv": b"epoch,train/loss\n1,low\n"}, True, "not a packed run"),
    "a history without the metric": ({"metrics.csv": b"epoch,train/loss\n1,0.5\n"}, True, "metrics.csv"),
    "a history that is no text": ({"metrics.csv": b"\xff\xfe\x00\n\n"}, True, "not a packed run"),
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


def places(shape, place=()):
    """Yield the path of every key that a shape names."""
    if isinstance(shape, tuple):
        shape = shape[0]
    for key, inner in shape.items() if isinstance(shape, dict) else ():
        if key is not str:
            yield (*place, key)
            yield from places(inner, (*place, key))


NAMED = [name for name in SHAPES if name not in ("manifest.json", MEMBERS)]
KEYS = [(name, place) for name in NAMED for place in places(SHAPES[name])]


@pytest.mark.parametrize(("name", "place"), KEYS, ids=["-".join((name, *place)) for name, place in KEYS])
def test_what_later_code_reads_is_there_and_of_the_right_type(packs, elsewhere, tmp_path, name, place):
    with zipfile.ZipFile(packs["torch"]) as archive:
        content = json.loads(archive.read(name))
    section = content
    for key in place[:-1]:
        section = section[key]
    wrong = [[{}], 1e999] + [{"x": []}] * (place[-1] != "args")
    for value in wrong:
        section[place[-1]] = value
        changed = {name: json.dumps(content).encode()}
        assert name in refused(remade(packs["torch"], tmp_path / "x.zip", **changed))
    del section[place[-1]]
    changed = {name: json.dumps(content).encode()}
    assert name in refused(remade(packs["torch"], tmp_path / "x.zip", **changed))


@pytest.mark.parametrize("text", ["\x1b[2J", "\r", "a\x00", "\x7f", "\x9b31m", "\ud800"])
@pytest.mark.parametrize("key", ["model", "dataset"])
def test_a_report_that_steers_the_terminal_is_refused(packs, elsewhere, tmp_path, key, text):
    with zipfile.ZipFile(packs["torch"]) as archive:
        report = json.loads(archive.read("report.json")) | {key: text}
    changed = {"report.json": json.dumps(report).encode()}
    assert "control characters" in refused(remade(packs["torch"], tmp_path / "x.zip", **changed))


def test_status_host_and_seals_are_those_of_here(packs, elsewhere, tmp_path):
    """And nothing else of the sender's report comes along."""
    with zipfile.ZipFile(packs["torch"]) as archive:
        report = json.loads(archive.read("report.json"))
    lies = {"status": "running", "host": "elsewhere", "pid": 1, "started": 1e9, "sealed": ["0" * 64]}
    lies |= {"sweep": "s1", "parent": "t1", "replay_of": "t9", "error": "no", "resumed": 3, "signed": {}}
    lies |= {"evil": {"a": [1]}}
    changed = {"report.json": json.dumps(report | lies).encode()}
    run = unpack(remade(packs["torch"], tmp_path / "x.zip", **changed))
    found = read_json(run.folder / "report.json")
    assert run.status == "done" and found["host"] == host() and found["pid"] == os.getpid()
    assert abs(found["started"] - time.time()) < 60 and found["sealed"] == []
    assert not {"signed", "error", "resumed", "evil"} & found.keys()
    assert found["sweep"] is found["parent"] is found["replay_of"] is None


def test_a_model_of_another_name_is_refused(packs, torch_run, elsewhere, tmp_path):
    with zipfile.ZipFile(packs["torch"]) as archive:
        report = json.loads(archive.read("report.json")) | {"run": "t77"}
    changed = {"report.json": json.dumps(report).encode()}
    assert "its model is not that of t77" in refused(remade(packs["torch"], tmp_path / "x.zip", **changed))
    two = {f"model/model_{torch_run.name}.joblib": b"x"}
    assert "one file in model/" in refused(remade(packs["torch"], tmp_path / "x.zip", **two))
    none = {f"model/model_{torch_run.name}.pt": None}
    assert "one file in model/" in refused(remade(packs["torch"], tmp_path / "x.zip", **none))


ODD = [None, -1, 1e308, "", "../x", "a\x1b[2J", "${oc.env:HOME}", "os.abort", [], {}, [1], {"a": 1}, True]


def items(value, place=()):
    """Yield the path of everything in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*place, key)
        yield from items(inner, (*place, key))


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_changed_ends_in_one_sentence(packs, elsewhere, tmp_path, seed, capsys):
    """One value of one file, anywhere: refused on arrival, or by whoever uses it, or harmless."""
    rng = random.Random(seed)
    name = rng.choice(["config.json", "report.json", "env.json", "info.json", "transforms.json"])
    with zipfile.ZipFile(packs["torch"]) as archive:
        content = json.loads(archive.read(name))
    *place, last = rng.choice(list(items(content)))
    section = content
    for key in place:
        section = section[key]
    section[last] = rng.choice(ODD)
    try:
        unpack(remade(packs["torch"], tmp_path / "x.zip", **{name: json.dumps(content).encode()}))
    except UserError:
        return
    for use in (
        runs, table, lambda: repr(load("t1")), lambda: diff("t1,t1"), lambda: sync("t1"),
        lambda: resume("t1"), lambda: replay_train("t1"),
        lambda: load("t1").predict(TABLE), lambda: load("t1", trust=True).predict(TABLE),
    ):  # fmt: skip
        with suppress(UserError):
            use()
    assert "\x1b" not in capsys.readouterr().out and versions_in(runs_folder(), "t") == [1]


# -- killed


def killed_at(stage: int, function, folder: Path) -> bool:
    """Call ``function`` in a new process that is killed before its ``stage``-th step in ``folder``."""
    process = os.fork()
    if process == 0:
        n = 0

        def step(event: str, arguments: tuple) -> None:
            nonlocal n
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
                if arguments and str(arguments[0]).startswith(str(folder)):
                    n += 1
                    if n == stage:
                        os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        try:
            function()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("trust", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_killed_unpack_leaves_nothing_or_the_whole_run(packs, elsewhere, trust):
    """At each of its steps; and what is hidden goes with the next one."""
    unpack(packs["torch"])
    runs, stage, n_seen = runs_folder(), 1, 1
    while killed_at(stage, lambda: unpack(packs["joblib"], trust), runs):
        stage += 1
        names = [f"t{number}" for number in versions_in(runs, "t")]
        assert len(names) - n_seen in (0, 1)
        for name in names[n_seen:]:
            run = load(name)
            assert run.status == "done" and (unsealed(run) is None) is trust
            assert len(run.arrays["test_p"])
        n_seen = len(names)
    assert 40 < stage < 400
    assert len(versions_in(runs, "t")) == n_seen + 1 and not any(runs.glob(".*.part"))


def test_a_killed_pack_leaves_no_file_or_the_whole_one(torch_run, packs, tmp_path):
    file, stage, n_whole = tmp_path / "x.zip", 1, 0
    while killed_at(stage, lambda: pack(torch_run.name, file), tmp_path):
        stage += 1
        if file.exists():
            n_whole += 1
            assert zipfile.ZipFile(file).testzip() is None
            file.unlink()
    assert stage > 2 and not any(tmp_path.glob(".*.part")) and load(torch_run.name).status == "done"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(packs, elsewhere, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full" in refused(packs["torch"])


def test_a_run_that_changes_while_it_is_packed_is_not_packed(torch_run, tmp_path, monkeypatch):
    """By hand, as other commands cannot: packing holds the run."""
    write = zipfile.ZipFile.write

    def changing(self, path, *arguments):
        write(self, path, *arguments)
        assert holder(torch_run.folder)["verb"] == "pack"
        os.utime(torch_run.folder / "log.txt")

    monkeypatch.setattr(zipfile.ZipFile, "write", changing)
    with pytest.raises(UserError, match="was changed while it was packed"):
        pack(torch_run.name, tmp_path / "x.zip")
    assert not any(tmp_path.iterdir())


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
    with pytest.raises(UserError, match="its files do not fit together"):  # its "model" is the number 0
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
    run = unpack(with_config(packs["torch"], tmp_path / "x.zip", {"net": {"class": name}}))
    write_json(run.folder / "info.json", info)
    with pytest.raises(UserError, match="add trust=true"):
        load("t1").predict(TABLE)
    time.sleep(0.2)
    assert not marker.exists()
    with pytest.raises(UserError):  # a process is no net
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

"""Only what this ``outputs/`` has sealed, for its run and name, may run code, unless trust=true is given."""

import hashlib
import hmac
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import CHECKOUT, QUIET, tiny_table

from src import fit, load, replay_train, runs
from src.clean import table
from src.dataset import wine
from src.diff import diff
from src.model.build import is_own_net
from src.resume import resume
from src.run.folder import runs_folder
from src.run.trust import START, check_trust, digest, seal, seal_of, unsealed
from src.sync import sync
from src.system.errors import UserError
from src.system.files import read_json, write_json

TABLE = tiny_table("binary", n=120)
WINE = wine.read({})
NET = ("model=mlp", "dataset.target=y", "trainer.max_epochs=2", "threads=1", *QUIET)
LINEAR = ("model=linear", "dataset=wine", "threads=1", *QUIET)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The folders of two runs in the ``outputs/`` of somebody else: of a net, and of an estimator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUTS_DIR", str(tmp_path_factory.mktemp("theirs")))
        return {"net": fit(*NET, data=TABLE).folder, "linear": fit(*LINEAR).folder}


@pytest.fixture(scope="module")
def ours(outputs):
    return {"net": fit(*NET, data=TABLE), "linear": fit(*LINEAR)}


@pytest.fixture
def here(ours, outputs, tmp_path, monkeypatch):
    """A copy of this machine's ``outputs/``, its key included, to spoil."""
    shutil.copytree(outputs, tmp_path / "here")
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "here"))
    return tmp_path / "here"


def change(path: Path, *keys: str, value) -> None:
    """Set one value of a JSON file."""
    content = section = read_json(path)
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    write_json(path, content)


class Trap:
    """Writes ``marker`` when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def appears(marker: Path, seconds: float = 0.3) -> bool:
    """Whether code that writes ``marker`` has run, perhaps in another process."""
    until = time.monotonic() + seconds
    while not marker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return marker.exists()


def frame_of(kind: str):
    return TABLE if kind == "net" else WINE


# -- a folder that somebody copied from another outputs/

POPEN = {"class": "subprocess.Popen", "args": ["touch", "MARKER"]}
TRAPS = {  # kind, key of the config, value; `evil` is a module that writes the marker when it is imported
    "a net": ("net", ("model", "net"), POPEN),
    "an optimizer": ("net", ("model", "optimizer"), POPEN),
    "a lit": ("net", ("model", "lit"), "evil.Lit"),
    "a net in a module": ("net", ("model", "net"), {"class": "evil.Net"}),
    "a classifier": ("linear", ("model", "classifier"), POPEN),
    "a regressor": ("linear", ("model", "regressor"), POPEN),
    "os.system": ("linear", ("model", "classifier"), {"class": "os.system", "command": "touch MARKER"}),
    "shared arguments": ("linear", ("model", "arguments"), POPEN),
    "a metric": ("linear", ("metric",), "evil.fn"),
    "a dataset": ("linear", ("dataset", "name"), "evil.data"),
    "a dataset elsewhere": ("linear", ("dataset", "name"), "..evil"),
    "Hydra's target": ("linear", ("model", "_target_"), "evil.fn"),
    "nothing": ("linear", ("tags",), []),
}


@pytest.mark.parametrize("end", ["done", "stopped", "running"])
@pytest.mark.parametrize("trap", TRAPS)
def test_a_copied_folder_runs_no_code(theirs, outputs, tmp_path, monkeypatch, capsys, trap, end):
    kind, keys, value = TRAPS[trap]
    marker, folder = tmp_path / "marker", tmp_path / "ours" / "runs" / "t1"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nNet = Lit = fn = data = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "ours"))
    shutil.copytree(theirs[kind], folder)
    (folder / "model" / f"model_{theirs[kind].name}.{'pt' if kind == 'net' else 'joblib'}").rename(
        folder / "model" / f"model_t1.{'pt' if kind == 'net' else 'joblib'}"
    )
    change(folder / "config.json", *keys, value=json.loads(json.dumps(value).replace("MARKER", str(marker))))
    change(folder / "report.json", "status", value=end)
    if end != "done":
        (folder / "DONE").unlink()
    if kind == "linear":
        joblib.dump(Trap(marker), folder / "model" / "model_t1.joblib")
    for use in (lambda: resume("t1"), lambda: resume("t1", max_epochs=1000), lambda: replay_train("t1")):
        with pytest.raises(UserError) as caught:
            use()
        assert "trust=true" in str(caught.value) or "only a run that is done" in str(caught.value)
    run = load("t1")
    if kind == "linear" or trap.startswith("a net"):
        with pytest.raises(UserError, match=r"trust=true|has no model yet"):
            run.predict(frame_of(kind))
    elif end == "done":  # weights of the project's own class; the rest of the config is not used
        assert len(run.predict(frame_of(kind))) == len(TABLE)
    assert len(runs()) == 1 and "t1" in table() and repr(run) and run.rows and len(run.arrays)
    sync()
    sync("t1")
    diff("t1,t1")
    assert not appears(marker) and "evil" not in sys.modules
    assert [path.name for path in runs_folder().glob("t*")] == ["t1"]


def test_the_traps_work(theirs, tmp_path, monkeypatch):
    """Else the test above would mean nothing."""
    marker, folder = tmp_path / "marker", tmp_path / "ours" / "runs" / "t1"
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "ours"))
    shutil.copytree(theirs["linear"], folder)
    change(folder / "config.json", "model", "classifier", value=POPEN | {"args": ["touch", str(marker)]})
    change(folder / "report.json", "status", value="stopped")
    (folder / "DONE").unlink()
    with pytest.raises(Exception):  # noqa: B017  a process is no estimator
        resume("t1", trust=True)
    assert appears(marker, 5)


def test_trust_may_be_given_once_and_then_it_is_ours(theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "ours"))
    folder = tmp_path / "ours" / "runs" / "t1"
    shutil.copytree(theirs["linear"], folder)
    change(folder / "report.json", "status", value="stopped")
    (folder / "DONE").unlink()
    (folder / "model" / f"model_{theirs['linear'].name}.joblib").unlink()
    run = resume("t1", trust=True)
    assert run.status == "done" and unsealed(run) is None and len(load("t1").predict(WINE)) == len(WINE)


# -- seals


def test_what_was_made_here_is_sealed(ours):
    for kind, run in ours.items():
        run = load(run.name)
        model = f"model/model_{run.name}.{'pt' if kind == 'net' else 'joblib'}"
        assert unsealed(run) is None and run.report["sealed"] == seal(run.folder, *START, model)
        assert len(set(run.report["sealed"])) == 3 and len(run.predict(frame_of(kind)))


def test_the_key_is_for_its_owner_alone(ours, outputs):
    assert stat.S_IMODE((outputs / ".key").stat().st_mode) == 0o600


def test_a_seal_holds_for_one_run_one_name_and_one_content(ours):
    content = "0" * 64
    seals = {seal_of(*what) for what in (("t1", "a", content), ("t2", "a", content), ("t1", "b", content))}
    assert len(seals | {seal_of("t1", "a", "1" * 64)}) == 4
    assert seal_of("t1", "a", content) == seal_of("t1", "a", content)


def replace_config(folder: Path) -> None:
    change(folder / "config.json", "model", "classifier", value={"class": "os.system", "command": "true"})


def replace_code(folder: Path) -> None:
    with zipfile.ZipFile(folder / "code.zip", "a") as archive:
        archive.writestr("src/rerun.py", "import os; os.abort()")


def replace_model(folder: Path) -> None:
    joblib.dump({}, folder / "model" / f"model_{folder.name}.joblib")


def add_pickle(folder: Path) -> None:
    joblib.dump({}, folder / "model" / "other.joblib")


def add_folder(folder: Path) -> None:
    (folder / "model" / "inner").mkdir()


def add_file_below(folder: Path) -> None:
    add_folder(folder)
    (folder / "model" / "inner" / "model.py").write_text("")


def add_hidden(folder: Path) -> None:
    (folder / "model" / ".hidden").write_text("")


def link_model(folder: Path) -> None:
    """To the same bytes, which may change after the check."""
    model = next((folder / "model").iterdir())
    model.rename(folder.parent / "model.bin")
    model.symlink_to(folder.parent / "model.bin")


def link_folder(folder: Path) -> None:
    (folder / "model").rename(folder.parent / "elsewhere")
    (folder / "model").symlink_to(folder.parent / "elsewhere")


def link_config(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "config.json")
    (folder / "config.json").symlink_to(folder.parent / "config.json")


def no_seals(folder: Path) -> None:
    change(folder / "report.json", "sealed", value=[])


def no_seal_of_the_model(folder: Path) -> None:
    change(folder / "report.json", "sealed", value=seal(folder, *START))


def seals_of_another_run(folder: Path) -> None:
    names = [*START, next((folder / "model").iterdir()).relative_to(folder).as_posix()]
    seals = [seal_of("t99", name, digest(folder / name)) for name in names]
    change(folder / "report.json", "sealed", value=seals)


def seals_of_other_files(folder: Path) -> None:
    """Three seals that hold, but not of the model."""
    for name in ("log.txt", "env.json", "info.json"):
        assert (folder / name).is_file()
    seals = seal(folder, *START, "log.txt", "env.json", "info.json")
    change(folder / "report.json", "sealed", value=seals)


def seals_of_other_names(folder: Path) -> None:
    names = {"config.json": "code.zip", "code.zip": "config.json"}
    seals = [seal_of(folder.name, other, digest(folder / name)) for name, other in names.items()]
    change(folder / "report.json", "sealed", value=seals)


def no_key(folder: Path) -> None:
    (folder.parent.parent / ".key").unlink()


def another_key(folder: Path) -> None:
    (folder.parent.parent / ".key").write_bytes(bytes(32))


ODD = {"null": None, "a number": 3, "text": "x", "a dict": {"config.json": "x"}, "a list of lists": [[[]]]}
FAULTS = [
    replace_config, replace_code, replace_model, add_pickle, add_folder, add_file_below, add_hidden,
    link_model, link_folder, link_config, no_seals, no_seal_of_the_model, seals_of_another_run,
    seals_of_other_files, seals_of_other_names, no_key, another_key,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_not_sealed_exactly_is_foreign(ours, here, fault):
    name = ours["linear"].name
    fault(runs_folder() / name)
    longer = lambda: resume(name, max_epochs=1000)  # noqa: E731
    for use in (lambda: load(name).predict(WINE), lambda: replay_train(name), longer):
        with pytest.raises(UserError, match=f"{name} was not made here, or its .* was changed") as caught:
            use()
        assert "add trust=true" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("key", ["sealed", "signed"])
def test_seals_of_an_odd_type_are_none(ours, here, key, value):
    name = ours["linear"].name
    no_seals(runs_folder() / name)
    change(runs_folder() / name / "report.json", key, value=value)
    with pytest.raises(UserError, match="add trust=true"):
        load(name).predict(WINE)


def test_only_a_net_of_the_project_predicts_without_seals(ours, here):
    """By its weights alone, whatever lies beside them."""
    name = ours["net"].name
    folder = runs_folder() / name
    joblib.dump(Trap(here / "marker"), folder / "model" / f"model_{name}.joblib")
    expected = ours["net"].predict_proba(TABLE)
    assert np.array_equal(load(name).predict_proba(TABLE), expected) and not appears(here / "marker")
    with pytest.raises(UserError, match="its code could run anything"):
        replay_train(name, data=TABLE)


@pytest.mark.parametrize(
    ("spec", "own"),
    [
        ({"class": "src.model.mlp.MLP"}, True),
        ({"class": "src.model.cnn.CNN", "widths": [3, 4], "d_token": 8, "dropout": 0.5, "flag": None}, True),
        ({"class": "src.model.mlp.MLP", "activation": "os.abort"}, False),
        ({"class": "src.model.mlp.MLP", "widths": [[1], ["os.abort"]]}, False),
        ({"class": "src.model.mlp.MLP", "inner": {"class": "os.abort"}}, False),
        ({"class": "src.model.mlp.nn"}, False),
        ({"class": "src.model.mlp.__builtins__"}, False),
        ({"class": "src.model.mlp.MLP.forward"}, False),
        ({"class": "src.model.build.build"}, False),
        ({"class": "src.model.mlp.Embed"}, False),
        ({"class": "torch.nn.Linear"}, False),
        ({"class": None}, False),
        ({}, False),
        (None, False),
    ],
    ids=str,
)
def test_a_net_of_the_project_takes_no_text(spec, own):
    """A net could take text for the name of a class."""
    assert is_own_net(spec) is own


# -- seals of older runs


def older_seals(folder: Path, *names: str) -> dict[str, str]:
    """As older versions made them: of the content alone, written at the end."""
    key = (folder.parent.parent / ".key").read_bytes()
    digests = {name: hashlib.sha256((folder / name).read_bytes()).digest() for name in names}
    return {name: hmac.digest(key, content, "sha256").hex() for name, content in digests.items()}


def make_older(folder: Path, *names: str) -> None:
    report = read_json(folder / "report.json")
    report.pop("sealed")
    write_json(folder / "report.json", report | {"signed": older_seals(folder, *names)})


def test_an_older_run_of_here_is_ours(ours, here):
    name = ours["linear"].name
    folder, model = runs_folder() / name, f"model/model_{name}.joblib"
    make_older(folder, *START, model)
    assert len(load(name).predict(WINE)) == len(WINE) and replay_train(name)["identical"]
    run = resume(name, max_epochs=1000)
    assert run.status == "done"


OTHERS = [(), START, (*START, "log.txt"), ("log.txt", "info.json", "env.json")]


@pytest.mark.parametrize("listed", OTHERS, ids=str)
def test_an_older_run_that_lists_other_files_is_foreign(ours, here, listed):
    """A report that named three harmless files got a hostile model unpickled."""
    name = ours["linear"].name
    folder = runs_folder() / name
    joblib.dump(Trap(here / "marker"), folder / "model" / f"model_{name}.joblib")
    make_older(folder, *listed)
    with pytest.raises(UserError, match="add trust=true"):
        load(name).predict(WINE)
    assert not appears(here / "marker")


# -- from the start to the end


def stopped(monkeypatch, kind: str = "interrupt"):
    """A run that ends within its fit; returns its folder."""
    from src.run import job

    def stop(*_args, **_options):
        raise KeyboardInterrupt if kind == "interrupt" else SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(job, "_fit", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit(*LINEAR)
    return max(runs_folder().glob("t*"), key=lambda path: int(path.name[1:]))


def killed(outputs) -> Path:
    """A run whose process was killed within its fit; returns its folder."""
    code = "import os, signal\nfrom src import fit\nfrom src.run import job\n"
    code += "job._fit = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
    command = [sys.executable, "-c", f"{code}fit(*{LINEAR!r})"]
    assert subprocess.run(command, cwd=CHECKOUT, capture_output=True).returncode == -9
    return max(runs_folder().glob("t*"), key=lambda path: int(path.name[1:]))


def test_a_killed_run_is_ours_and_an_edited_one_is_not(ours, here):
    folder = killed(here)
    name = folder.name
    assert load(name).status == "killed" and unsealed(load(name), code=True) is None
    original = (folder / "config.json").read_bytes()
    change(folder / "config.json", "seed", value=1)
    with pytest.raises(UserError, match=r"its config\.json was changed since"):
        resume(name)
    (folder / "config.json").write_bytes(original)
    (folder / "model").mkdir()
    joblib.dump(Trap(here / "marker"), folder / "model" / f"model_{name}.joblib")  # what a kill may leave
    (folder / "model" / f".model_{name}.joblib.x-1.part").write_text("half")
    run = resume(name)
    assert run.status == "done" and unsealed(load(name)) is None and not appears(here / "marker")
    assert np.array_equal(load(name).predict_proba(WINE), ours["linear"].predict_proba(WINE))


def test_a_config_edited_on_purpose_resumes_with_trust(ours, here, monkeypatch):
    folder = stopped(monkeypatch)
    change(folder / "config.json", "seed", value=1)
    with pytest.raises(UserError, match="add trust=true"):
        resume(folder.name)
    assert resume(folder.name, trust=True).status == "done" and unsealed(load(folder.name)) is None


def spoils(y, p) -> float:
    """A metric during which somebody replaces the config of the run."""
    newest = max(runs_folder().glob("t*"), key=lambda path: int(path.name[1:]))
    if read_json(newest / "config.json")["seed"] != 77:
        change(newest / "config.json", "seed", value=77)
    return 0.5


def test_a_config_replaced_after_the_start_is_not_sealed_at_the_end(ours, here):
    run = fit(*LINEAR, "metric=test_trust.spoils", "metric_mode=max")
    with pytest.raises(UserError, match=r"its config\.json was changed since"):
        load(run.name).predict(WINE)
    with pytest.raises(UserError, match="its code could run anything"):
        replay_train(run.name)


def test_a_kill_while_a_resume_writes_its_longer_config_leaves_it_ours(ours, here):
    """At each step of the writing: the old config or the new one, both sealed."""
    from test_pack import killed_at

    folder, stage, seen = runs_folder() / ours["net"].name, 1, set()
    from src.run.record import Recorder

    run = load(folder.name)
    cfg = run.cfg | {"trainer": run.cfg["trainer"] | {"max_epochs": 50}}
    while killed_at(stage, Recorder.resume(load(folder.name), cfg, {}, 2).begin, folder):
        stage += 1
        found = load(folder.name)
        seen.add(found.cfg["trainer"]["max_epochs"])
        assert unsealed(found, code=True) is None, stage
    assert seen == {2, 50} and stage > 20


# -- the environment of a replay


def test_a_replay_takes_only_threads_from_the_recorded_environment(ours, here, monkeypatch):
    """env.json has no seal: LD_PRELOAD in it would run code."""
    folder = runs_folder() / ours["linear"].name
    threads = read_json(folder / "env.json")["threads"]
    hostile = {"LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/tmp/x.py", "PATH": "/tmp"}
    change(folder / "env.json", "threads", value=threads | hostile)
    seen = {}
    original = subprocess.run

    def spy(command, **options):
        if "src.rerun" in command:
            seen.update(options["env"])
        return original(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    assert replay_train(folder.name)["identical"]
    assert seen["OMP_NUM_THREADS"] == threads["OMP_NUM_THREADS"] and seen["PATH"] == os.environ["PATH"]
    assert "LD_PRELOAD" not in seen and "PYTHONSTARTUP" not in seen and "/tmp/x" not in seen["PYTHONPATH"]


# -- configs


def test_composing_and_checking_import_nothing_that_nobody_named():
    """Of the project's models, data sets and trainers, and of whatever else is installed."""
    code = """
import sys
from src.config.check import check
from src.config.compose import compose
from src.config.tree import choices
check([]); compose([])
before = set(sys.modules)
check(["model=mlp,linear", "dataset=wine,text_sample", "metric=evil.fn", "metric_mode=max", "seed=0,1"], True)
for model in choices("model"):
    compose([f"model={model}", "dataset=wine", "seed=1", "metric=evil.fn", "metric_mode=max"])
for dataset in ("text_sample", "dna_sample", "adult", "sst2"):
    compose([f"dataset={dataset}", "model=transformer", "trainer.max_epochs=2"])
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = set(eval(done.stdout))
    ours = {name for name in found if name.startswith("src.")}
    assert not {name for name in ours if name.startswith(("src.model.", "src.dataset.", "src.trainer.net"))}
    installed = {name.partition(".")[0] for name in found - ours} - sys.stdlib_module_names
    assert installed <= {"numpy", "hydra", "hydra_plugins", "omegaconf", "yaml", "antlr4"}, installed


def test_a_check_of_a_foreign_run_unpickles_nothing(ours, here, monkeypatch):
    """`check_trust` itself reads bytes alone."""
    name = ours["linear"].name
    monkeypatch.setattr(joblib, "load", lambda *_: pytest.fail("unpickled"))
    replace_model(runs_folder() / name)
    with pytest.raises(UserError):
        check_trust(load(name))


def test_sealing_a_run_takes_milliseconds(ours):
    """At the start and at the end together; the rest of the 20 ms are the lock's."""
    run, best = ours["linear"], 1.0
    model = f"model/model_{run.name}.joblib"
    for _ in range(5):
        began = time.perf_counter()
        seal(run.folder, *START)
        seal(run.folder, model)
        best = min(best, time.perf_counter() - began)
    assert best < 0.01

"""A run whose data was moved resumes and replays; data or code that has changed is refused unless told."""

import importlib
import json
import logging
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import QUIET, assert_same, tiny_table
from test_resume import state

from src import fit, load, reload_etl, replay_train, run_etl, runs
from src.resume import resume
from src.run import rows
from src.run.code import changed_since
from src.run.compare import causes
from src.run.job import follow
from src.system.errors import UserError
from src.system.paths import data_dir
from src.system.tables import located, places

TABLE = ("dataset=csv", "dataset.target=y", *QUIET)
SGD = ("model=sgd", "trainer.max_epochs=2", "model.patience=null", *TABLE)
MLP = ("model=mlp", "trainer.max_epochs=2", "model.patience=null", *TABLE)
pytestmark = pytest.mark.usefixtures("forked_replays")


@pytest.fixture
def here(outputs, tmp_path, monkeypatch):
    """The present folder, with table.csv in it, beside folders ``other`` and ``data``, which is DATA_DIR."""
    for name in ("here", "other", "data"):
        (tmp_path / name).mkdir()
    tiny_table("binary", n=120).to_csv(tmp_path / "here/table.csv", index=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def decoy(folder) -> None:
    """Write another table of the same name and columns into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_table("binary", n=120, seed=1).to_csv(folder / "table.csv", index=False)


# -- where the data is


def test_a_path_is_recorded_as_where_the_file_was_found(here):
    run = load(fit(*SGD, "dataset.path=table.csv").name)
    assert run.cfg["dataset"]["path"] == run.report["input_path"] == str(here / "table.csv")
    assert "dataset.path=table.csv" in run.report["overrides"]  # as it was typed
    shutil.move(here / "table.csv", data_dir() / "far.csv")
    again = load(fit(*SGD, "dataset.path=far.csv").name)
    assert again.cfg["dataset"]["path"] == str(data_dir() / "far.csv")
    assert again.report["input_digest"] == run.report["input_digest"]


@pytest.mark.parametrize("path", ["table.csv", "./table.csv", "../here/table.csv", "~/table.csv"])
def test_every_way_to_write_a_path_becomes_absolute(here, monkeypatch, path):
    monkeypatch.setenv("HOME", str(here))
    assert located({"path": path}) == {"path": str(here / "table.csv")}


@pytest.mark.parametrize("path", ["", None, "gone.csv", "https://example.org/a.csv", "a" * 5000, "a\0b"])
def test_what_is_no_file_stays_as_it_was_typed(here, path):
    assert located({"path": path}) == {"path": path} and places(path, [here]) == []


def test_a_file_that_was_moved_is_looked_for_by_the_last_parts_of_its_path(here, tmp_path):
    target = data_dir() / "b/table.csv"
    target.parent.mkdir()
    shutil.move(here / "table.csv", target)
    assert places("/old/a/b/table.csv", []) == [target]
    assert places("/old/a/b/table.csv") == []
    assert places("/old/table.csv", [tmp_path / "data/b"]) == [target]


MOVES = {
    "present folder": lambda here, run: here.parent / "other/table.csv",
    "DATA_DIR": lambda here, run: data_dir() / "table.csv",
    "DATA_DIR, deep": lambda here, run: data_dir() / "here/table.csv",
    "run's folder": lambda here, run: run.folder / "table.csv",
}


@pytest.mark.parametrize("move", MOVES)
def test_a_resume_finds_the_file_where_it_is_now(here, monkeypatch, move):
    """By its content: other files of the same name are passed over."""
    run = fit(*SGD, "dataset.path=table.csv")
    target = MOVES[move](here, run)
    target.parent.mkdir(exist_ok=True)
    shutil.move(here / "table.csv", target)
    monkeypatch.chdir(here.parent / "other")
    for folder in (here, data_dir() / "here", data_dir(), here.parent / "other"):
        if folder != target.parent:
            decoy(folder)
    again = resume(run.name, max_epochs=3)
    assert again.status == "done" and len(again.rows) == 3 and "changed" not in again.report
    assert again.report["input_path"] == str(target)


def test_a_file_that_is_elsewhere_is_named(here):
    run = fit(*SGD, "dataset.path=table.csv")
    before = state(run)
    shutil.move(here / "table.csv", here.parent / "other/renamed.csv")
    with pytest.raises(UserError, match=r"no file .*table\.csv, nor in .*data.*dataset\.path=\.\.\."):
        resume(run.name, max_epochs=3)
    decoy(data_dir())
    with pytest.raises(UserError, match=r"no file .*table\.csv, .*data/table\.csv holds other data; name it"):
        resume(run.name, max_epochs=3)
    with pytest.raises(UserError, match="the data has changed since"):
        resume(run.name, max_epochs=3, dataset_path=str(data_dir() / "table.csv"))
    assert state(run) == before
    again = resume(run.name, max_epochs=3, dataset_path="../other/renamed.csv")
    assert load(again.name).cfg["dataset"]["path"] == str(here.parent / "other/renamed.csv")


def test_a_replay_finds_the_file_and_takes_its_new_place(here, monkeypatch):
    """`dataset.path=` with the same data is no experiment; a file in the way is passed over."""
    run = fit(*SGD, "dataset.path=table.csv")
    shutil.move(here / "table.csv", here.parent / "other/table.csv")
    decoy(data_dir())
    monkeypatch.chdir(here.parent / "other")
    found = replay_train(run.name)
    again = load(found["run"])
    assert found["identical"] and again.report["input_path"] == str(here.parent / "other/table.csv")
    os.rename("table.csv", "renamed.csv")
    found = replay_train(run.name, "dataset.path=renamed.csv")
    assert found["identical"] and found["changes"] == []


@pytest.mark.slow
def test_a_replay_on_another_file_is_an_experiment(here):
    run = fit(*SGD, "dataset.path=table.csv")
    decoy(data_dir())
    found = replay_train(run.name, f"dataset.path={data_dir() / 'table.csv'}")
    assert not found["identical"] and len(found["changes"]) == 1


def test_an_older_run_with_a_relative_path_works_from_its_folder(here):
    run = fit(*SGD, "dataset.path=table.csv")
    report = {key: value for key, value in run.report.items() if not key.startswith("input_")}
    (run.folder / "report.json").write_text(json.dumps(report))
    config = json.loads((run.folder / "config.json").read_text())
    config["dataset"]["path"] = "table.csv"
    (run.folder / "config.json").write_text(json.dumps(config))
    assert resume(run.name, max_epochs=3, trust=True).status == "done"
    (run.folder / "report.json").write_text(json.dumps(report | {"status": "done"}))
    assert replay_train(run.name, trust=True)["run"] == runs().index[-1]
    tiny_table("binary", n=110).to_csv(here / "table.csv", index=False)
    with pytest.raises(UserError, match="the data has changed since"):
        resume(run.name, max_epochs=4, trust=True)


def test_a_version_of_data_is_made_again_from_a_file_that_was_moved(here, monkeypatch, shell):
    made = run_etl("moved", lambda_free, data="table.csv")
    fit(*SGD, "dataset.path=table.csv")
    version = load(runs().index[-1]).report["etl_version"]
    shutil.move(here / "table.csv", data_dir() / "table.csv")
    decoy(here.parent / "other")
    monkeypatch.chdir(here.parent / "other")
    assert reload_etl("moved", "v1").equals(made)
    name = load(runs().index[-1]).report["dataset"]
    assert len(reload_etl(name, version)) == 120
    os.rename(data_dir() / "table.csv", here / "renamed.csv")
    with pytest.raises(UserError, match="other data"):
        reload_etl("moved", "v1")
    assert reload_etl("moved", "v1", data=here / "renamed.csv").equals(made)
    done = shell("etl", f"dataset={name}", f"replay={version}", f"dataset.path={here / 'renamed.csv'}")
    assert done.returncode == 0 and "120 rows, identical" in done.stdout, done.stderr


def lambda_free(df):
    return df.head(50)


# -- data that has changed


@pytest.mark.parametrize("overrides", [SGD, MLP], ids=["sgd", "mlp"])
def test_changed_data_is_refused_unless_told(here, overrides):
    run = fit(*overrides, "dataset.path=table.csv")
    tiny_table("binary", n=140).to_csv("table.csv", index=False)
    with pytest.raises(UserError, match=r"the data has changed since \(.*table\.csv: digest .*changed=true"):
        resume(run.name, max_epochs=4)
    with pytest.raises(UserError, match="the data has changed since"):  # its rows are not those of run.arrays
        rows.rows_of(run, "test")
    again = resume(run.name, max_epochs=4, changed=True)
    assert again.status == "done" and len(again.rows) == 4 and again.report["changed"] == ["data"]
    assert f"{run.name} was resumed though these had changed: data" in causes(load(run.name), load(run.name))
    assert again.report["data_digest"] == load(run.name).info["digest"] != run.report["data_digest"]


def test_data_that_no_longer_fits_the_net_is_one_sentence(here):
    run = fit(*MLP, "dataset.path=table.csv")
    before = state(run)
    tiny_table("binary", n=140).assign(e=np.arange(140) % 7).to_csv("table.csv", index=False)
    with pytest.raises(UserError, match=r"last\.ckpt does not fit this net and this data"):
        resume(run.name, max_epochs=4, changed=True)
    assert state(run) == before and load(run.name).status == "done"


def test_a_run_that_never_had_data_takes_what_is_there(here):
    """The usual repair: the file was wrong, so the run failed."""
    tiny_table("binary", n=120).assign(y=None).to_csv("table.csv", index=False)
    with pytest.raises(UserError):
        fit(*SGD, "dataset.path=table.csv")
    failed = runs().index[-1]
    tiny_table("binary", n=120).to_csv("table.csv", index=False)
    assert resume(failed).status == "done"


def test_a_frame_is_given_again(outputs):
    frame = tiny_table("binary", n=120)
    run = fit("model=mlp", "trainer.max_epochs=2", "dataset.target=y", *QUIET, data=frame)
    straight = fit("model=mlp", "trainer.max_epochs=4", "dataset.target=y", *QUIET, data=frame)
    with pytest.raises(UserError, match=r"resume\(\"t\d+\", data=df\)"):
        resume(run.name, max_epochs=4)
    with pytest.raises(UserError, match="the data has changed since"):
        resume(run.name, max_epochs=4, data=frame.head(100))
    resume(run.name, max_epochs=4, data=frame)
    assert_same(load(run.name), straight)


def test_ranks_above_0_refuse_the_same_data(here):
    run = fit(*MLP, "dataset.path=table.csv")
    talks = logging.getLogger("reprise").level
    try:
        with pytest.raises(UserError, match="the data has changed since"):
            follow(run.cfg, 1, here, origin={"input": None, "output": "0" * 16, "folders": []})
    finally:
        logging.getLogger("reprise").setLevel(talks)


# -- code that has changed

METRIC = '''"""A metric."""
from our_parts import share

def hits(y, p):
    """Of all rows."""
    return share((p > 0.5) == y)
'''
EDITS = {
    "comment": ("our_hits.py", METRIC + "# the end\n", []),
    "docstring": ("our_hits.py", METRIC.replace("Of all rows.", "Or not."), []),
    "spacing": ("our_hits.py", METRIC.replace("(y, p)", "( y , p )"), []),
    "not imported": ("our_other.py", "B = 2\n", []),
    "the metric": ("our_hits.py", METRIC.replace("== y", "!= y"), ["our_hits.py"]),
    "a constant": ("our_hits.py", METRIC + "A = 1\n", ["our_hits.py"]),
    "an imported one": ("our_parts.py", "def share(x):\n    return float(x.sum())\n", []),  # is not recorded
}


@pytest.fixture
def own(here, monkeypatch):
    """A metric in a module of the user's own, which imports another one."""
    (here / "our_parts.py").write_text("def share(x):\n    return float(x.mean())\n")
    (here / "our_hits.py").write_text(METRIC)
    (here / "our_other.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield ("metric=our_hits.hits", "metric_mode=max", "dataset.path=table.csv")
    for name in ("our_hits", "our_parts", "our_other"):
        sys.modules.pop(name, None)


def test_which_files_of_code_have_changed(own, here):
    run = fit(*SGD, *own)
    for edit, (name, text, expected) in EDITS.items():
        before = (here / name).read_text()
        (here / name).write_text(text)
        assert changed_since(run) == expected, edit
        (here / name).write_text(before)


def test_changed_code_is_refused_unless_told(own, here):
    run = fit(*SGD, *own)
    before = state(run)
    (here / "our_hits.py").write_text(METRIC.replace("0.5", "0.25 + 0.25"))
    says = rf"the code of {run.name} has changed .*\(our_hits\.py\).*changed=true"
    with pytest.raises(UserError, match=says):
        resume(run.name, max_epochs=4)
    assert state(run) == before
    for n in (4, 5):
        again = resume(run.name, max_epochs=n, changed=True)
        assert again.status == "done" and again.report["changed"] == ["our_hits.py"]


def test_files_of_src_that_the_run_does_not_use_may_change(outputs, monkeypatch):
    """Another net or dataset, the trackers, the verbs: a checkout is worked on while runs wait."""
    run = fit("model=mlp", "dataset=wine", "trainer.max_epochs=1", *QUIET)
    from src.run import code

    before = dict.fromkeys(code.files_of(run), b"A = 1\n")
    monkeypatch.setattr(code, "files_of", lambda run: before)
    found = changed_since(run)
    used = {"model/mlp", "model/lit", "trainer/net", "dataset/wine", "data/split", "metric/choose"}
    assert used <= short(found)
    assert not {"model/cnn", "model/estimator", "dataset/iris", "trainer/estimator", "resume"} & short(found)
    assert {name.partition("/")[0] for name in short(found)} == set(code.ROOMS)


def short(names: list[str]) -> set[str]:
    return {name.removeprefix("src/").removesuffix(".py") for name in names}


# -- a run that is finished as it is

calls, last = 0, 4


def stops(y, p) -> float:
    """A metric during whose call number `last` someone presses Ctrl-C, or that fails then."""
    global calls
    calls += 1
    if calls == last:
        raise KeyboardInterrupt if p.shape[1] == 3 else ValueError("the fourth")
    return [0.25, 0.75, 0.5][calls - 1] if calls < 4 else float((p.argmax(1) == y).mean())


STOPS = ("metric=test_changed.stops", "metric_mode=max", "model.patience=null", *QUIET)


@pytest.fixture
def stopped(outputs, monkeypatch):
    """``stopped("model=mlp")``: a run that was stopped after three epochs, the second of which was best."""

    def begin(*overrides: str, first: int = 0):
        monkeypatch.setattr(sys.modules[__name__], "calls", first)
        monkeypatch.setattr(sys.modules[__name__], "last", 4)
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            fit(*overrides, *STOPS)
        monkeypatch.setattr(sys.modules[__name__], "last", 0)
        run = load(runs().index[-1])
        assert run.status in ("stopped", "failed") and len(run.rows) == 3 - first
        return run

    return begin


@pytest.mark.parametrize("dataset", ["wine", "digits"], ids=["stopped", "failed"])
def test_a_stopped_run_is_finished_with_its_best_epoch(stopped, monkeypatch, dataset):
    """Its model, predictions and rows are those of a run that had as many epochs."""
    overrides = ("model=mlp", f"dataset={dataset}")
    run = stopped(*overrides, "trainer.max_epochs=50")
    finished = resume(run.name, finish=True)
    assert (run.folder / "DONE").is_file() and len(finished.rows) == 3 and "error" not in finished.report
    assert finished.report["best_epoch"] == 2 and finished.report["planned_epochs"] == 50
    monkeypatch.setattr(sys.modules[__name__], "calls", 0)
    straight = fit(*overrides, "trainer.max_epochs=3", *STOPS)
    assert_same(load(run.name), load(straight.name))
    text = f"{run.name} was finished early, a schedule would be that of 50 epochs"
    assert text in causes(load(run.name), straight)
    again = resume(run.name, finish=True)
    assert again.status == "done" and again.report == load(run.name).report


def test_a_finished_run_can_be_trained_on(stopped):
    """To the weights of a run that was never stopped, also with a schedule over all epochs."""
    words = ("model=mlp", "dataset=wine", "model.schedule=cosine", "trainer.max_epochs=6")
    straight = fit(*words, *QUIET, "model.patience=null")
    run = stopped(*words)
    resume(run.name, finish=True)
    again = resume(run.name, max_epochs=6)
    assert [row["train/loss"] for row in again.rows] == [row["train/loss"] for row in straight.rows]
    assert again.report["planned_epochs"] is None


@pytest.mark.parametrize(
    ("overrides", "options", "says"),
    [
        (("model=sgd", "dataset=wine", "trainer.max_epochs=50"), {}, "has no checkpoint to finish with"),
        (("model=mlp", "dataset=wine"), {"max_epochs": 99}, "finish=true does not: leave one out"),
    ],
)
def test_what_cannot_be_finished_says_why(stopped, overrides, options, says):
    run = stopped(*overrides)
    before = state(run)
    with pytest.raises(UserError, match=says):
        resume(run.name, finish=True, **options)
    assert state(run) == before


def test_a_run_without_an_epoch_cannot_be_finished(stopped):
    run = stopped("model=mlp", "dataset=wine", first=3)
    with pytest.raises(UserError, match="no checkpoint to finish with: resume it without finish=true"):
        resume(run.name, finish=True)

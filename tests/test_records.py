"""What a run says of itself: its table, its seconds, the state of its code, its lines among others."""

import io
import logging
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import QUIET
from omegaconf import OmegaConf

from src import fit
from src.config import shell
from src.config.compose import compose
from src.data.load import load_data
from src.dataset import breast_cancer
from src.metric import functions
from src.run import results
from src.run.table import shown, table
from src.system import code, environment, files
from src.system.errors import NOTE, Lines
from src.system.files import write_yaml
from src.trainer import history
from src.trainer.history import Progress

# -- the table


@pytest.fixture(scope="module", params=["mlp", "hist_gb"])
def run(request, outputs):
    return fit(f"model={request.param}", "dataset=breast_cancer", "trainer.max_epochs=3", *QUIET)


def cells(run) -> dict[str, list[str]]:
    """{"accuracy *": ["0.9", ...]} of the table in the run's log."""
    text = (run.folder / "log.txt").read_text().partition("baseline\n")[2]
    rows = [re.split(r"  +", line) for line in text.splitlines()]
    return {name: values for name, *values in rows if values and re.match(r"[-\d.]+$|nan", values[-1])}


def test_train_is_the_kept_model_on_the_training_rows(run):
    cfg = run.cfg
    data = load_data(cfg["dataset"], scaler=cfg["model"]["scaler"], class_weight=None, seed=cfg["seed"])
    y, rows = data.parts["train"]["y"], data.parts["train"]["id"]
    p = run.predict_proba(breast_cancer.read(cfg["dataset"]).iloc[rows])
    wanted = {"accuracy": functions.accuracy(y, p), "loss": functions.log_loss(y, p)}
    for name, value in wanted.items():
        assert run.report["train_metrics"][name] == pytest.approx(value, abs=1e-6)
        assert cells(run)[f"{name} *" if name == "accuracy" else name][0] == f"{value:.4f}"
    assert run.report["train_rows"] == [len(y), len(y)]
    assert not any(name.startswith("train/") and name != "train/loss" for name in run.report["metrics"])


def test_the_baseline_is_the_majority_on_test(run):
    y = run.arrays["test_y"]
    assert run.report["baseline"]["accuracy"] == np.bincount(y).max() / len(y)
    assert run.report["baseline"]["auroc"] == 0.5 and cells(run)["auroc"][3] == "0.5000"
    assert list(run.report["baseline"]) == list(run.report["train_metrics"])


def test_each_metric_stands_in_the_table_once(run):
    names = list(cells(run))
    assert names[:2] == ["loss", "accuracy *"] and {"f1", "f1_macro", "mcc"} <= set(names)
    assert not {"log_loss", "f1_binary"} & set(names), "the loss and f1 of two classes"
    assert {"val/log_loss", "test/f1_binary"} <= set(run.report["metrics"]), "the record has all of them"
    assert all(len(values) == 4 for values in cells(run).values())


@pytest.mark.parametrize(
    ("deciding", "there", "gone"),
    [("accuracy", {"loss", "f1"}, {"log_loss", "f1_macro"}), ("f1_macro", {"f1_macro"}, {"f1"}),
     ("log_loss", {"log_loss"}, {"loss"}), ("top2", {"top2", "loss", "f1"}, {"log_loss"})],
)  # fmt: skip
def test_the_deciding_name_is_the_one_that_stays(deciding, there, gone):
    names = shown(["loss", "accuracy", "f1", "f1_macro", "log_loss"], deciding)
    assert there <= set(names) and not gone & set(names) and len(names) == len(set(names))


def test_how_ties_are_decided_is_said(run):
    staged = run.cfg["model"]["name"] == "hist_gb"
    wanted = "stops by its loss" if staged else "* decides, equal values by the loss on val; the model is"
    assert wanted in table(run) and "the shares of the classes in train, on test" in table(run)


def test_train_is_a_sample_where_there_are_many_rows(outputs, monkeypatch):
    monkeypatch.setattr(results, "TRAIN_ROWS", 50)
    run = fit("model=linear", "dataset=diabetes", *QUIET)
    assert run.report["train_rows"] == [50, 442 - len(run.arrays["val_y"]) - len(run.arrays["test_y"])]
    n = run.report["train_rows"][1]
    assert f"train: 50 of its {n} rows\nbaseline: a model that knows only the mean of the" in table(run)
    assert abs(run.report["baseline"]["r2"]) < 0.1 and "log_loss" not in table(run)


def refuses_constants(y, p):
    if len(set(p.argmax(1))) < 2:
        raise ValueError("constant")
    return 1.0


def test_a_metric_of_the_user_s_may_refuse_the_baseline(outputs):
    metric = (f"metric={__name__}.refuses_constants", "metric_mode=max")
    run = fit("model=linear", "dataset=wine", *metric, *QUIET)
    assert run.report["train_metrics"]["refuses_constants"] == 1.0
    assert list(run.report["baseline"]) == ["loss"] and "refuses_constants *" in table(run)


# -- seconds and lines


def test_the_seconds_of_the_fit_are_without_imports(run):
    assert list(run.report["timings"]) == "start data import fit evaluate record trackers".split()


def test_a_short_epoch_has_one_line(caplog, monkeypatch):
    monkeypatch.setattr(history.log, "propagate", True)
    monkeypatch.setattr(history, "EVERY_S", 0)
    with caplog.at_level("INFO", "reprise"):
        Progress({"name": "accuracy"}, 3).within(1, 4, 4)
        assert caplog.text == ""
        Progress({"name": "accuracy"}, 3).within(1, 1, 4)
        assert "25% of its batches" in caplog.text


def test_an_epoch_is_a_note_every_ten_seconds(monkeypatch):
    now = iter([0, *(t for t in range(4, 40, 4) for _ in range(2))])  # read twice an epoch
    monkeypatch.setattr(history.time, "monotonic", lambda: next(now))
    progress, values = Progress({"name": "f1"}, 9), {"train/loss": 1.0, "val/loss": 1.0, "val/f1": 1.0}
    levels = []
    monkeypatch.setattr(history.log, "log", lambda level, *rest: levels.append(level))
    for epoch in range(1, 10):
        progress.row({"epoch": epoch, **values})
    assert levels == [20, 20, NOTE, 20, 20, NOTE, 20, 20, NOTE]



def test_a_sweep_shows_notes_of_a_job_each_with_its_run_and_the_log_has_all(capsys, monkeypatch):
    log, handler = logging.Logger("beside"), logging.StreamHandler()
    handler.setFormatter(Lines())
    log.addHandler(handler)
    monkeypatch.setattr(logging, "getLogger", lambda name: log)
    with shell.of_job("t56"):
        log.info("rows     120 train")
        log.warning("t56   mlp on wine")
        log.warning("epoch    1\n\nloss  0.5")
    log.info("s1:\n  t56")
    monkeypatch.undo()
    assert capsys.readouterr().err.splitlines() == [
        "t56   mlp on wine", "t56  epoch    1", "t56  ", "t56  loss  0.5", "s1:", "  t56",
    ]  # fmt: skip


# -- the state of the code


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one committed file in each folder."""
    for name in ("src/a.py", "conf/b.yaml", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run((*git, *command), cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    return tmp_path


def test_a_clean_checkout_is_clean(checkout):
    (checkout / "notes.md").write_text("2\n")
    (checkout / "other.py").touch()
    (checkout / "src/__pycache__").mkdir()
    (checkout / "src/__pycache__/a.pyc").touch()
    found = environment.describe_git()
    assert found == {"sha": found["sha"], "dirty": False, "diff": None, "untracked": []} and found["sha"]


@pytest.mark.parametrize(
    ("name", "untracked"),
    [("src/a.py", []), ("conf/b.yaml", []), ("src/model/mine.py", ["src/model/mine.py"]),
     ("conf/größe 1.yaml", ["conf/größe 1.yaml"])],
)  # fmt: skip
def test_changed_and_untracked_files_make_it_dirty(checkout, name, untracked):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("2\n")
    found = environment.describe_git()
    assert found["dirty"] is True and found["untracked"] == untracked
    assert (found["diff"] is None) == bool(untracked)


def test_removed_and_added_files_make_it_dirty(checkout):
    (checkout / "src/a.py").unlink()
    assert environment.describe_git()["dirty"] is True
    (checkout / "src/a.py").write_text("1\n")
    (checkout / "src/new.py").touch()
    subprocess.run(("git", "add", "src/new.py"), cwd=checkout, check=True)
    assert environment.describe_git()["dirty"] is True


def test_without_git_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert set(environment.describe_git().values()) == {None}


@pytest.mark.parametrize("model", ["mlp", "hist_gb"])
def test_a_config_is_written_as_omegaconf_writes_it(tmp_path, model):
    cfg = compose([f"model={model}", "seed=3"])
    cfg["texts"] = ["1e-3", "yes", "null", "0x1f", "größe ä", "a: b", "'q'", "", " x ", "1_000", "x" * 300]
    cfg["others"] = {"a": None, "b": 1e-05, "c": [], "d": {}, "e": [[1], {"f": True}], 3: 1e16, "g": "a\nb"}
    write_yaml(tmp_path / "config.yaml", cfg)
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    expected = OmegaConf.create(cfg)
    assert text == OmegaConf.to_yaml(expected) and OmegaConf.create(text) == expected


def test_a_snapshot_of_code_holds_a_file_as_it_is_now(tmp_path, monkeypatch):
    """Also with a file of the same size and time of change as before."""
    monkeypatch.setattr(code, "CHECKOUT", tmp_path)
    (tmp_path / "src").mkdir()
    file = tmp_path / "src" / "a.py"
    file.write_text("A = 1\n")
    stat, found = file.stat(), []
    for text in ("A = 1\n", "A = 2\n", "A = 2\n"):
        if file.read_text() != text:
            file.write_text(text)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        code.snapshot_code(tmp_path / "code.zip")
        with zipfile.ZipFile(tmp_path / "code.zip") as archive:
            assert archive.read("src/a.py").decode() == text
        found.append((tmp_path / "code.zip").read_bytes())
    assert found[0] != found[1] == found[2]


def test_a_run_is_done_only_when_the_disk_has_all_of_it(outputs, monkeypatch):
    on_disk, at_the_end, sync, touch = set(), [], os.fsync, Path.touch

    def synced(descriptor):
        on_disk.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def touched(path, *args, **options):
        if path.name == "DONE":
            at_the_end.append(set(on_disk))
        touch(path, *args, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "touch", touched)
    run = fit("model=linear", "dataset=wine", *QUIET)
    missing = {path.name for path in run.folder.rglob("*") if path.stat().st_ino not in at_the_end[0]}
    grow_or_are_empty = {"DONE", ".lock", "log.txt", "metrics.csv", "val_epochs.bin", "model"}
    assert missing == grow_or_are_empty


def test_files_of_a_long_run_do_not_wait_for_its_end(tmp_path, monkeypatch):
    synced, now = [], [0.0]
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    with files.together():
        for now[0] in (0, 1, 9, 10, 12):
            files.write_text(tmp_path / "checkpoint", str(now[0]))
            files.write_text(tmp_path / "metrics", str(now[0]))
            assert len(synced) == (0 if now[0] < 9 else 2), now
        files.write_text(tmp_path / "checkpoint", "17")
    assert len(synced) == 4
    files.write_text(tmp_path / "checkpoint", "18")
    assert len(synced) == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_long_epoch_has_a_bar_on_a_terminal(stream, monkeypatch):
    monkeypatch.setattr(history, "BAR_S", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", stream())
    progress = Progress({"name": "f1"}, 2)
    for epoch in (1, 2):
        for done in (1, 2, 3, 4):
            progress.within(epoch, done, 4)
            assert progress.bar is None if done == 4 else progress.bar.total == 4
    text = sys.stderr.getvalue()
    assert all((f"epoch {epoch}:" in text) == (stream is Terminal) for epoch in (1, 2))
    assert text.endswith("\r") or (stream is io.StringIO and text == ""), "the bar is taken away"

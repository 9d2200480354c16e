"""A run that was killed, stopped or should train longer: resuming it ends as a run that nobody stopped."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import CHECKOUT, QUIET, assert_same, tiny_table

from src import fit, load, runs
from src.logger import csv
from src.resume import resume
from src.run.trackers import sync_run
from src.run.trust import unsealed
from src.system.errors import UserError
from src.system.paths import versions_in

EPOCHS = 40
# dropout, a schedule over all steps and averaged weights: all that a resume could lose
WORDS = (
    "dataset=digits", "model=mlp", *QUIET, "model.patience=null", f"trainer.max_epochs={EPOCHS}",
    "model.net.dropout=0.3", "model.schedule=cosine", "model.warmup=0.1", "model.ema=0.99",
    "model.batch_size=128",
)  # fmt: skip


@pytest.fixture(scope="module")
def straight(outputs):
    """The undisturbed run."""
    return fit(*WORDS)


def interrupted(outputs) -> tuple[str, int]:
    """Start a run in a new process and press Ctrl-C after a few epochs; return its name and exit code."""
    name = f"t{versions_in(outputs / 'runs', 't')[-1] + 1}"
    history = outputs / "runs" / name / "metrics.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *WORDS], cwd=CHECKOUT, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background pytest ignores it
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while len(csv.read(history)) < 5 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        return name, process.wait(60)
    finally:
        process.kill()


def test_ctrl_c_finishes_the_record_and_the_run_resumes(straight, outputs):
    name, code = interrupted(outputs)
    stopped = load(name)
    assert code == 130 and stopped.status == "stopped" and not (stopped.folder / "DONE").exists()
    n = len(stopped.rows)
    assert 5 <= n < EPOCHS and stopped.rows == straight.rows[:n]
    assert f"src.resume run={name}" in (stopped.folder / "log.txt").read_text()
    resume(name)
    assert_same(load(name), straight)


def test_another_seed_is_another_run(straight):
    """Else the comparisons above would mean nothing."""
    other = fit(*WORDS, "seed=1", "trainer.max_epochs=3")
    assert other.rows[0] != straight.rows[0]


def test_a_run_that_is_done_is_left_as_it_is(straight, shell):
    before = (straight.folder / "report.json").read_bytes()
    done = shell("resume", f"run={straight.name}")
    assert done.returncode == 0 and f"{straight.name} is done already" in done.stdout
    assert (straight.folder / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    "overrides",
    [
        ("dataset=wine",),
        ("dataset=dna_sample", "dataset.reverse_complement=true", "model=dna_cnn", "model.net.n_filters=16"),
        ("dataset=protein_sample", "dataset.tokenizer=bpe", "model=bilstm", "model.net.d_hidden=16"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_max_epochs_may_rise_and_equals_a_longer_run(outputs, overrides):
    if len(overrides) > 1:
        overrides += ("dataset.max_rows=100", "model.schedule=constant", "dataset.max_len=40")
    overrides += (*QUIET, "model.patience=null", "model.batch_size=32", "threads=1")
    longer = fit(*overrides, "trainer.max_epochs=6")
    short = fit(*overrides, "trainer.max_epochs=3")
    resume(short.name, max_epochs=6)
    assert_same(load(short.name), longer)
    assert load(short.name).cfg["trainer"]["max_epochs"] == 6


def test_max_epochs_may_not_fall(straight):
    with pytest.raises(UserError, match="may only rise"):
        resume(straight.name, max_epochs=5)
    assert load(straight.name).status == "done" and (straight.folder / "DONE").is_file()


@pytest.mark.parametrize("name", ["t99", "98", "../t1"])
def test_an_unknown_run_is_named(straight, name):
    with pytest.raises(UserError, match="no run"):
        resume(name)


calls = 0


def interrupts(y_true, y_score) -> float:
    """A metric during whose fourth call someone presses Ctrl-C."""
    global calls
    calls += 1
    if calls == 4:
        raise KeyboardInterrupt
    return float(np.mean(y_score.argmax(1) == y_true))


def test_scikit_learn_resumes_by_fitting_again(outputs):
    global calls
    calls = 4  # too late to interrupt
    overrides = ("dataset=wine", "model=sgd", *QUIET, "trainer.max_epochs=8", "model.patience=null")
    overrides += ("metric=test_resume.interrupts", "metric_mode=max")
    straight = fit(*overrides)
    calls = 0
    with pytest.raises(KeyboardInterrupt):
        fit(*overrides)
    stopped = load(runs().index[-1])
    assert stopped.status == "stopped" and stopped.rows == straight.rows[:3]
    again = resume(stopped.name)
    assert again.rows == load(stopped.name).rows == straight.rows
    assert np.array_equal(again.arrays["test_p"], straight.arrays["test_p"])


def test_a_history_cut_at_any_byte_gives_the_rows_before(tmp_path):
    """A kill can cut it, and a reader can meet it while its run writes."""
    path = tmp_path / "metrics.csv"
    rows = [{"epoch": k, "train/loss": 1 / k, "val/f1": float("nan")} for k in (1, 2)]
    for row in rows:
        csv.append(path, row)
    content = path.read_bytes()
    for n in range(len(content) + 1):
        path.write_bytes(content[:n])
        whole = max(0, content[:n].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") - 1)
        assert repr(csv.read(path)) == repr(rows[:whole]), content[:n]


def test_a_damaged_checkpoint_is_one_sentence_and_spoils_nothing(outputs):
    run = fit("dataset=wine", "model=mlp", *QUIET, "trainer.max_epochs=2")
    (run.folder / "checkpoints" / "last.ckpt").write_bytes(b"PK" + bytes(100))
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        resume(run.name, 4)
    assert load(run.name).status == "done" and not unsealed(load(run.name))


def state(run) -> dict:
    """Return {name: content} of a run's folder, without its log and its lock."""
    found = {}
    for path in run.folder.rglob("*"):
        if path.is_file() and path.name not in ("log.txt", ".lock"):
            found[path.relative_to(run.folder).as_posix()] = path.read_bytes()
    return found


@pytest.mark.parametrize("model", ["mlp", "sgd"])
def test_a_resume_that_fails_at_once_leaves_a_finished_run_as_it_was(outputs, tmp_path, model):
    """The run is done, its metrics, seals and predictions are those that it had, and it resumes later."""
    path = tmp_path / "table.csv"
    tiny_table("binary").to_csv(path, index=False)
    content = path.read_bytes()
    overrides = ("dataset=csv", f"dataset.path={path}", "dataset.target=y", f"model={model}")
    run = fit(*overrides, *QUIET, "trainer.max_epochs=2")
    before, frame = state(run), tiny_table("binary")
    p = run.predict_proba(frame)
    lines = content.decode().splitlines(keepends=True)
    damages = (
        path.unlink,
        lambda: path.write_text("a,b\n1,2\n"),
        lambda: path.write_text("".join([*lines, lines[1]])),  # a row more
        lambda: path.write_text("".join([lines[0], *lines[:0:-1]])),  # another order
        lambda: path.write_bytes(content.replace(b"yes", b"yea")),
        lambda: path.write_bytes(b"\0" * 100),
    )
    for damage in damages:
        damage()
        with pytest.raises(UserError):
            resume(run.name, max_epochs=4)
        assert state(run) == before
        left = load(run.name)
        assert left.status == "done" and not unsealed(left) and np.array_equal(left.predict_proba(frame), p)
    path.write_bytes(content.replace(b"\n", b"\r\n"))  # other bytes, the same table
    assert len(resume(run.name, max_epochs=4).rows) == 4 and load(run.name).status == "done"


def test_a_resume_stopped_within_its_first_epoch_leaves_a_finished_run_as_it_was(outputs, monkeypatch):
    global calls
    calls = 5
    run = fit(
        "dataset=wine", "model=mlp", *QUIET, "trainer.max_epochs=2", "model.patience=null",
        "metric=test_resume.interrupts", "metric_mode=max",
    )  # fmt: skip
    before, calls = state(run), 3
    with pytest.raises(KeyboardInterrupt):
        resume(run.name, max_epochs=4)
    assert state(run) == before and load(run.name).status == "done"


def test_a_metric_that_is_never_a_number_keeps_the_last_epoch(outputs, monkeypatch, tmp_path, caplog):
    (tmp_path / "never.py").write_text("def fn(y, p):\n    return float('nan')\n")
    monkeypatch.syspath_prepend(tmp_path)
    overrides = ("dataset=wine", "model=mlp", *QUIET, "trainer.max_epochs=3")
    overrides += ("metric=never.fn", "metric_mode=max")
    with caplog.at_level("WARNING", "reprise"):
        run = fit(*overrides)
    assert "fn on val was never a number" in caplog.text and run.report["best_epoch"] == 3
    assert "val/fn nan" in repr(load(run.name))


@pytest.mark.parametrize(
    ("verb", "override", "expected"),
    [
        ("clean", "remove=3", "write runs as t3,t5-t9"),
        ("clean", "remove=[t1,t2]", "write runs as t3,t5-t9"),
        ("resume", "max_epochs=abc", "should be a whole number"),
        ("unpack", "file=7", "7"),
        ("pack", "file=7", "no run"),
    ],
)
def test_wrong_arguments_of_small_verbs_are_refused_in_one_sentence(outputs, shell, verb, override, expected):
    more = ["run=t999"] if verb in ("resume", "pack") else []
    done = shell(verb, *more, override)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and expected in done.stderr, done.stderr


def test_a_run_without_metrics_csv_is_neither_resumed_nor_synced(outputs):
    """Its epochs before would be missing, unseen."""
    run = fit("dataset=wine", "model=mlp", "logger=mlflow", "logger.csv=false", "trainer.max_epochs=2")
    with pytest.raises(UserError, match=r"logger\.csv=false, it has no history"):
        resume(run.name, 4)
    assert load(run.name).status == "done"
    (run.folder / "trackers.json").unlink()
    with pytest.raises(UserError, match=r"no metrics\.csv to send"):
        sync_run(run)

"""An old run answers for a metric that it did not log: from its predictions on val, without training.

    pytest tests/test_ask.py
"""

import math
import re
import shutil
import statistics
import sys
import time
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table

from src import ask, fit, load
from src.config.shell import read as read_words
from src.resume import resume
from src.share.package import pack, unpack
from src.system.errors import UserError
from src.trainer import estimator, val_epochs
from src.trainer.val_epochs import HEAD, NAME, cut, keep, keeping, read

FAMILIES = {
    "net": ("mlp", "trainer.max_epochs=4"),
    "net_64": ("mlp", "trainer.max_epochs=2", "trainer.precision=64-true"),
    "net_seldom": ("mlp", "trainer.max_epochs=6", "trainer.check_val_every_n_epoch=2"),
    "once": ("linear",),
    "staged": ("hist_gb", "model.arguments.max_iter=7"),
    "grow": ("random_forest", "model.arguments.n_estimators=5"),
    "partial_fit": ("sgd", "trainer.max_epochs=3"),
}
TASKS = ("binary", "multiclass", "regression")
ONE_TASK = ("net_64", "net_seldom")  # how a net is trained: the same for each task
CASES = [(name, task) for task in TASKS for name in FAMILIES if task == "multiclass" or name not in ONE_TASK]


def mine(y, p):
    """The mean of the true class's probability, or of the value: a formula that the project does not have."""
    if p.ndim == 1 and set(np.unique(y)) <= {0, 1}:
        return float(np.where(y == 1, p, 1 - p).mean())
    return float((p if p.ndim == 1 else p[np.arange(len(y)), y]).mean())


def two_classes_only(y, p):
    if p.ndim > 1:
        raise ValueError("two classes only")
    return 0.25


@pytest.fixture(scope="module")
def trained(outputs, compose_once):
    """A run of each family and task."""
    found = {}
    for name, task in CASES:
        model, *more = FAMILIES[name]
        words = (f"model={model}", "dataset.target=y", *QUIET, *more)
        found[name, task] = fit(*words, data=tiny_table(task, n=160))
    return found


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_curve_has_the_values_that_were_logged(trained, name, task):
    run = trained[name, task]
    for metric in ("rmse", "spearman") if task == "regression" else ("accuracy", "auroc", "log_loss"):
        curve = ask(run.name, metric, curve=True)
        assert list(curve["epoch"]) == [row["epoch"] for row in run.rows]
        assert list(curve[metric]) == [row[f"val/{metric}"] for row in run.rows]  # bit for bit
        final = ask(run.name, metric).iloc[0]
        assert final["final"] == final["recorded"] == run.report["metrics"][f"val/{metric}"]
        best = (max if metric in ("accuracy", "auroc", "spearman") else min)(curve[metric])
        assert final["best"] == best and curve.set_index("epoch")[metric][final["best_epoch"]] == best


@pytest.mark.parametrize("task", TASKS)
def test_a_new_metric_is_that_of_the_predictions(trained, task):
    for run in (run for (_, other), run in trained.items() if other == task):
        *_, (_, y, p) = read(run.folder / NAME, run.info)
        p = p[:, 1] if task == "binary" else p
        assert ask(run.name, mine, curve=True)[f"{__name__}.mine"].iloc[-1] == mine(y, p)
        val_p = run.arrays["val_p"]
        wanted = mine(run.arrays["val_y"], val_p[:, 1] if task == "binary" else val_p)
        found = ask(run.name, f"{__name__}.mine").iloc[0]
        assert found["final"] == wanted and pd.isna(found["best_epoch"]) and math.isnan(found["recorded"])
        assert ask(run.name, mine, metric_mode="max").iloc[0]["best"] >= wanted
        test_p = run.arrays["test_p"]
        wanted = mine(run.arrays["test_y"], test_p[:, 1] if task == "binary" else test_p)
        assert ask(run.name, mine, part="test")["final"][0] == wanted


def test_a_part_without_epochs_has_final_values_alone(trained):
    run = trained["net", "binary"]
    assert ask(run.name, "f1", part="test")["final"][0] == run.report["metrics"]["test/f1"]
    assert len(ask(run.name, "f1", part="test", curve=True)) == 0


def test_a_run_without_kept_predictions_has_a_final_value(trained, caplog):
    bare = fit("model=mlp", "dataset=wine", "keep_predictions=0", "trainer.max_epochs=2", *QUIET)
    other = fit("model=linear", "dataset=wine", *QUIET)
    assert not (bare.folder / NAME).exists()
    names = f"{bare.name},{other.name}"
    assert list(ask(names, "f1")["final"]) == [one.report["metrics"]["val/f1"] for one in (bare, other)]
    assert set(ask(names, "f1", curve=True)["run"]) == {other.name}
    assert "1 of 2 runs kept no predictions" in caplog.text


def test_runs_that_cannot_answer_are_named_and_the_others_answer(trained, caplog):
    names = [trained["net", task].name for task in TASKS]
    assert list(ask(",".join(names), "accuracy")["run"]) == names[:2]
    assert f"{names[2]} cannot answer: metric=accuracy is not a metric of a reg" in caplog.text
    assert list(ask(",".join(names), two_classes_only)["final"]) == [0.25, 0.25]
    says = f"{names[1]} cannot answer: metric={__name__}.two_classes_only failed: ValueError: two classes"
    assert says in caplog.text
    with pytest.raises(UserError, match="no run can answer"):
        ask(names[2], "accuracy")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"metric": "acuracy"}, "metric=acuracy is unknown: did you mean accuracy?"),
        ({"metric": "nowhere.fn"}, "no run can answer"),
        ({"metric": "f1", "part": "train"}, "part=train: should be val or test"),
        ({"metric": "f1", "runs": "t1-5"}, "runs=t1-5: write runs as t3,t5-t9"),
        ({"metric": "f1", "runs": "t900-t999"}, "there are no runs of t900-t999"),
        ({"metric": "f1", "runs": "t999"}, "no run t999"),
        ({"metric": "f1", "runs": None, "sweep": "s9"}, "there is no sweep 's9'; known: none"),
        ({"metric": "f1", "sweep": "s9"}, "name runs and a metric"),
        ({"metric": None}, "name runs and a metric"),
        ({"metric": "mod.fn", "metric_mode": "up"}, "add metric_mode=max or metric_mode=min"),
    ],
)
def test_a_mistake_is_one_sentence(trained, words, says):
    with pytest.raises(UserError) as refused:
        ask(**({"runs": "t1"} | words))
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_the_shell_prints_a_table_and_writes_the_curve(trained, shell, tmp_path):
    run = trained["net", "binary"]
    done = shell("ask", f"runs={run.name}", "metric=f1,auroc", f"output={tmp_path}/curve.csv")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == "run model dataset metric final best best_epoch recorded".split()
    assert lines[1].split()[:5] == [run.name, "mlp", "frame", "f1", f"{run.report['metrics']['val/f1']:.6f}"]
    table = pd.read_csv(tmp_path / "curve.csv", float_precision="round_trip")
    assert list(table["auroc"]) == [row["val/auroc"] for row in run.rows]
    done = shell("ask", f"runs={run.name}", "metric=f2")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "f2 is unknown" in done.stderr


def test_the_name_is_a_function_however_it_is_imported():
    import src
    from src import ask as one
    from src.ask import ask as other

    assert one is other is src.ask is sys.modules["src.ask"]


# -- the file


def case(tmp_path, n_epochs=20, n_rows=500, megabytes=100.0):
    """A file of predictions for two classes; return it and what went in."""
    rng, path, kept = np.random.default_rng(0), tmp_path / NAME, {}
    y = rng.integers(0, 2, n_rows)
    for epoch in range(1, n_epochs + 1):
        p = rng.random(n_rows)
        kept[epoch] = np.stack([1 - p, p], 1)
        keep(path, megabytes, epoch, y, kept[epoch])
    return SimpleNamespace(path=path, y=y, kept=kept)


@pytest.mark.parametrize("shape", [(7,), (7, 2), (7, 3), (1, 2), (0, 2), (0,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_kept_is_read_bit_for_bit(tmp_path, shape, dtype):
    outputs = np.random.default_rng(1).normal(size=shape).astype(dtype)
    y = np.arange(len(outputs)) / 3
    keep(tmp_path / NAME, 1, 12, y, outputs)
    ((epoch, y_read, p),) = read(tmp_path / NAME, {"task": "regression"})
    assert epoch == 12 and np.array_equal(y, y_read) and y_read.dtype == y.dtype
    assert p.dtype == dtype and np.array_equal(p, outputs)


def test_a_torn_or_foreign_end_is_left_out(tmp_path):
    made = case(tmp_path, n_epochs=3)
    whole = made.path.read_bytes()
    ends = [len(whole)]
    for torn in (1, HEAD.size, 1000, len(whole) // 3):
        made.path.write_bytes(whole[:-torn])
        epochs = [epoch for epoch, *_ in read(made.path, {})]
        assert epochs == [1, 2, 3][: len(epochs)] and 1 <= len(epochs) < 3
    made.path.write_bytes(whole + b"\0" * 40)
    assert [epoch for epoch, *_ in read(made.path, {})] == [1, 2, 3]
    made.path.write_bytes(whole[:-1])
    cut(made.path, 3)
    keep(made.path, 100, 3, made.y, made.kept[3])
    assert made.path.read_bytes() == whole and ends == [made.path.stat().st_size]


def test_a_damaged_file_is_named(tmp_path):
    made = case(tmp_path, n_epochs=3)
    content = bytearray(made.path.read_bytes())
    content[-200:-100] = b"\0" * 100
    made.path.write_bytes(content)
    with pytest.raises(UserError, match=f"{NAME} is damaged"):
        list(read(made.path, {}))


@pytest.mark.parametrize("megabytes", [0.02, 0.05])
def test_the_limit_thins_the_epochs_and_is_never_passed(tmp_path, megabytes, caplog):
    caplog.set_level("INFO", "reprise")
    made = case(tmp_path, n_epochs=200, megabytes=megabytes)
    assert made.path.stat().st_size <= megabytes * 1e6
    epochs = [epoch for epoch, *_ in read(made.path, {})]
    gaps = np.diff(epochs)
    assert gaps[0] == 1 and (np.diff(gaps) >= 0).all() and gaps[-1] >= 2
    assert "will find predictions of some epochs only: raise keep_predictions=" in caplog.text
    assert caplog.text.count("keep_predictions") == 1


def test_a_limit_below_one_epoch_keeps_none(tmp_path):
    case(tmp_path, megabytes=0.001)
    assert list(read(tmp_path / NAME, {})) == []


# -- with the rest of a run's life


def test_a_packed_run_answers_elsewhere(trained, outputs, tmp_path):
    run = trained["staged", "multiclass"]
    other = unpack(pack(run.name, str(tmp_path / "run.zip")))
    assert (other.folder / NAME).read_bytes() == (run.folder / NAME).read_bytes()
    ours, theirs = (ask(one.name, mine, curve=True) for one in (run, other))
    assert ours.drop(columns="run").equals(theirs.drop(columns="run")) and len(ours) == 7


def test_a_run_that_did_not_end_answers_by_its_last_epoch(trained, monkeypatch):
    """Stopped in its fourth epoch; resumed, its file is that of an undisturbed run."""
    from src.run.record import Recorder

    words = ("model=mlp", "dataset=wine", "trainer.max_epochs=5", "model.patience=null", *QUIET)
    straight, log_row = fit(*words), Recorder.log_row

    def interrupt(self, row):
        log_row(self, row)
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "log_row", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(*words)
    run = load(-1)
    assert run.status == "stopped" and [row["epoch"] for row in run.rows] == [1, 2, 3, 4]
    found, logged = ask(run.name, "log_loss").iloc[0], [row["val/log_loss"] for row in run.rows]
    assert found["final"] == logged[2] and found["best"] == min(logged[:3])  # the fourth was not kept
    resume(run.name)
    assert (run.folder / NAME).read_bytes() == (straight.folder / NAME).read_bytes()


def test_an_estimator_that_is_resumed_keeps_each_epoch_once(trained, monkeypatch):
    from src.run.record import Recorder

    log_row = Recorder.log_row

    def interrupt(self, row):
        log_row(self, row)
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    words = ("model=sgd", "dataset=wine", "trainer.max_epochs=5", "model.patience=null", *QUIET)
    straight = fit(*words)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "log_row", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(*words)
    run = load(-1)
    resume(run.name)
    assert (run.folder / NAME).read_bytes() == (straight.folder / NAME).read_bytes()


def test_other_data_after_a_resume_is_not_mixed_with_the_old(trained, monkeypatch):
    """With changed=true the rows of val may be others: what was kept of the old ones is removed."""
    frame = tiny_table("binary")
    words = ("model=mlp", "dataset.target=y", "trainer.max_epochs=3", "model.patience=null", *QUIET)
    run = fit(*words, data=frame)
    resume(run.name, max_epochs=5, changed=True, data=frame.iloc[:200])
    kept = list(read(run.folder / NAME, run.info))
    assert [epoch for epoch, *_ in kept] == [4, 5]
    assert all(np.array_equal(y, run.arrays["val_y"]) for _, y, _ in kept) or load(run.name)


def test_the_commands_of_the_docs_are_read_and_its_notebook_runs(trained):
    text = (CHECKOUT / "docs/ask.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m src\.ask (.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        read_words(ask, command.split())
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    module = ModuleType("typed_ask")  # as a notebook's __main__ is, a module that can be found by its name
    sys.modules["typed_ask"] = module
    exec(block.replace("t1-t9", trained["staged", "binary"].name), vars(module))
    del sys.modules["typed_ask"]


def test_epochs_kept_together_are_those_kept_one_by_one(tmp_path, monkeypatch):
    """Also if the fit ends by an error; an array that is used again keeps what it held."""
    y, p = np.arange(30) % 2, np.random.default_rng(3).random((9, 30))
    for epoch in range(1, 10):
        keep(tmp_path / "single", 1, epoch, y, p[epoch - 1])
    for every in (0.0, 60.0):
        monkeypatch.setattr(val_epochs, "EVERY_S", every)
        outputs, path = np.empty(30), tmp_path / f"together {every}"
        with pytest.raises(ZeroDivisionError), keeping(path, 1) as later:
            for epoch in range(1, 10):
                outputs[:] = p[epoch - 1]
                later(epoch, y, outputs)
                assert path.is_file() == (every == 0)
            raise ZeroDivisionError
        assert path.read_bytes() == (tmp_path / "single").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=sgd", "dataset=adult", "trainer.max_epochs=30", "model.patience=null"),
        ("model=sgd", "dataset=wine", "trainer.max_epochs=100", "model.patience=null"),
        ("model=hist_gb", "dataset=adult"),
    ],
)
def test_keeping_costs_at_most_2_percent_of_a_fit(outputs, monkeypatch, words):
    """By the processor's time, of fits with and without in turn; the difference of two fits is noisier."""
    spent, made, fit_itself = [], val_epochs.keeping, estimator.fit

    def clocked(function, *args, **options):
        began = time.process_time()
        try:
            return function(*args, **options)
        finally:
            spent[-1][function is not fit_itself] += time.process_time() - began

    @contextmanager
    def keeping(*args):
        with ExitStack() as stack:
            later = clocked(stack.enter_context, made(*args))
            yield lambda *epoch: clocked(later, *epoch)
            clocked(stack.close)

    monkeypatch.setattr(estimator, "keeping", keeping)
    monkeypatch.setattr(estimator, "fit", lambda *args, **options: clocked(fit_itself, *args, **options))
    for number in range(13):
        spent.append([0.0, 0.0])
        fit(*words, f"keep_predictions={100 * (number % 2)}", "threads=1", *QUIET)
    without, with_ = (statistics.median(one for one, _ in spent[first::2]) for first in (2, 1))
    share = statistics.median(keeping / whole for whole, keeping in spent[1::2])
    print(f"{' '.join(words[:2])}: {share:.1%} of the fit; with {with_:.3f} s, without {without:.3f} s")
    assert 0 < share <= 0.02 and with_ <= 1.05 * without


@pytest.mark.slow
def test_500_runs_of_20_epochs_answer_in_10_seconds(outputs, shell, monkeypatch):
    """Copies of one run on Adult's 4,885 val rows."""
    run = fit("model=mlp", "dataset=adult", "trainer.max_epochs=20", "model.patience=null", *QUIET)
    assert len(list(read(run.folder / NAME, run.info))) == 20
    first = int(run.name[1:]) + 1
    for number in range(first, first + 500):
        without = shutil.ignore_patterns("code.zip", "checkpoints")
        shutil.copytree(run.folder, run.folder.with_name(f"t{number}"), ignore=without)
    for metric in ("accuracy", "auroc", "f1"):
        began = time.perf_counter()
        done = shell("ask", f"runs=t{first}-t{first + 499}", f"metric={metric}")
        seconds = time.perf_counter() - began
        print(f"{metric}: 500 runs x 20 epochs in {seconds:.1f} s")
        assert done.stdout.count("\n") == 501 and seconds <= 10

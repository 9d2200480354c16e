"""A run runs again from its record and is the same bit for bit; where it is not, the reason is named."""

import datetime as dt
import os
import runpy
import shutil
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from itertools import product

import forks
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_bert, tiny_table

from src import diff, fit, load, replay_train, rerun, runs
from src.config.shell import read
from src.config.tree import choices
from src.run.again import hand_over
from src.run.compare import causes, compare, describe
from src.run.folder import runs_folder
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import versions_in

QUICK = (("linear", "text"), ("hist_gb", "table"), ("mlp", "table"), ("mlp", "text"), ("mlp", "dna"))
PAIRS = [
    pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
    for pair in product(choices("model"), ("table", "text", "dna", "protein"))
]
LINEAR = ("model=linear", "dataset=wine", *QUIET)
STARTED = (  # the tests whose replays Python starts; those of the others are forks, see forks.py
    "test_every_model_replays_identical[mlp-table]", "test_every_model_replays_identical[linear-text]",
    "test_the_recorded_code_replays_identical_after_an_edit",
)  # fmt: skip


@pytest.fixture(autouse=True)
def forked(request):
    if request.node.name not in STARTED:
        request.getfixturevalue("forked_replays")


def replay(monkeypatch, *overrides: str) -> int:
    """``python -m src.replay`` in this process (the run itself is in another one); return its exit code."""
    monkeypatch.setattr(sys, "argv", ["replay", *overrides])
    monkeypatch.delitem(sys.modules, "src.replay", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("src.replay", run_name="__main__")
    return end.value.code


@pytest.fixture(scope="module")
def overrides_of(outputs):
    """The overrides of a tiny dataset of each kind; the table has empty cells and categories."""
    tiny_table("binary", n=120).to_csv(outputs / "table.csv", index=False)
    return {
        "table": ("dataset=csv", f"dataset.path={outputs / 'table.csv'}", "dataset.target=y"),
        "text": ("dataset=text_sample", "dataset.max_rows=100"),
        "dna": ("dataset=dna_sample", "dataset.max_rows=100", "dataset.reverse_complement=true"),
        "protein": (
            "dataset=protein_sample", "dataset.max_rows=100",
            "dataset.tokenizer=bpe", "dataset.sequence_as=tfidf",
        ),
    }


@pytest.fixture(scope="module")
def linear(outputs):
    return fit(*LINEAR)


def assert_same(a, b):
    """By the files themselves: the comparison of a replay could be blind."""
    a, b = load(a.name), load(b.name)
    assert a.status == b.status == "done" and str(a.rows) == str(b.rows)  # as text: nan is not nan
    assert all(str(a.report[key]) == str(b.report[key]) for key in ("metrics", "data_digest"))
    assert a.arrays.keys() == b.arrays.keys() and len(a.arrays["test_p"])
    assert all(np.array_equal(a.arrays[key], b.arrays[key]) for key in a.arrays)
    assert (a.folder / "code.zip").read_bytes() == (b.folder / "code.zip").read_bytes()
    assert read_json(a.folder / "env.json")["threads"] == read_json(b.folder / "env.json")["threads"]


# -- the same again


@pytest.mark.parametrize(("model", "kind"), PAIRS)
def test_every_model_replays_identical(overrides_of, model, kind, tmp_path):
    own = (f"model.net.path={tiny_bert(tmp_path)}", "dataset.max_len=30")
    more = own if model == "pretrained" else ()
    run = fit(f"model={model}", *overrides_of[kind], *more, *QUIET, "trainer.max_epochs=3")
    found = replay_train(run.name)
    assert found["identical"] is True and found["run"] != run.name
    assert ("weights" in found) == ("net" in run.cfg["model"])
    again = load(found["run"])
    assert again.report["replay_of"] == run.name and again.report["etl_version"] == run.report["etl_version"]
    assert_same(run, again)


def test_another_seed_is_not_identical(overrides_of):
    """Else the equalities above would mean nothing."""
    overrides = ("model=mlp", *overrides_of["table"], *QUIET, "trainer.max_epochs=2")
    a, b = fit(*overrides), fit(*overrides, "seed=1")
    found = compare(load(a.name), load(b.name))
    assert found["identical"] is False
    assert all(found[kind] > 0 for kind in ("history", "predictions", "weights"))
    assert compare(load(a.name), load(a.name))["identical"] is True


def test_a_module_of_the_users_own_is_recorded_and_replayed(outputs, tmp_path, monkeypatch):
    """A metric from a file next to a notebook; after an edit, the recorded one decides."""
    path = tmp_path / "our_metrics.py"
    path.write_text("def hits(y_true, y_score):\n    return float((y_score.argmax(1) == y_true).mean())\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = fit(*LINEAR, "metric=our_metrics.hits", "metric_mode=max")
    path.write_text("def hits(y_true, y_score):\n    return 0.5\n")
    assert replay_train(run.name)["identical"] is True
    found = replay_train(run.name, code="now")
    assert not found["identical"] and load(found["run"]).report["metrics"]["val/hits"] == 0.5
    assert causes(load(run.name), load(found["run"])) == ["code: our_metrics.py"]


def test_a_run_on_a_frame_wants_the_frame(outputs):
    frame = tiny_table("regression", n=80)
    run = fit("model=linear", "dataset.target=y", *QUIET, "threads=1", data=frame)
    with pytest.raises(UserError, match="data=df"):
        replay_train(run.name)
    found = replay_train(run.name, data=frame)
    assert found["identical"] is True
    assert_same(run, load(found["run"]))


def odd_columns(n: int = 120) -> dict:
    """Columns that Parquet refuses, or gives back as something else."""
    days = pd.date_range("2020-01-01", periods=n, tz="Europe/Berlin")
    return {
        "mixed": pd.Series([1, "x", 2.5, None] * (n // 4), dtype=object),
        "ints": pd.Series([1, 2, 3, 1] * (n // 4), dtype=object),
        "bools": pd.Series([True, False, None, True] * (n // 4), dtype=object),
        "int_and_bool": pd.Series([1, True, 0, "a"] * (n // 4), dtype=object),
        "nan_and_none": pd.Series(["u", None, np.nan, "v"] * (n // 4), dtype=object),
        "bytes": pd.Series([b"a", "a", b"b", "b"] * (n // 4), dtype=object),
        "decimal": [Decimal("1.10"), Decimal("2.20")] * (n // 2),
        "fraction": [Fraction(1, 3), Fraction(2, 3)] * (n // 2),
        "complex": np.arange(n) * 1j,
        "category": pd.Categorical(["u", "v"] * (n // 2), categories=["w", "v", "u"], ordered=True),
        "category_int": pd.Categorical([3, 1] * (n // 2)),
        "interval": pd.cut(np.arange(n) / n, 4),
        "period": pd.period_range("2020-01", periods=4, freq="M").repeat(n // 4),
        "sparse": pd.arrays.SparseArray([0, 0, 0, 1] * (n // 4)),
        "float16": np.arange(n).astype("float16"),
        "uint64": 2**63 + np.arange(n, dtype="uint64"),
        "big": pd.Series([10**25 + i for i in range(n)], dtype=object),
        "dates": [dt.date(2020, 1, 1), dt.date(1500, 1, 2)] * (n // 2),
        "times": [dt.time(1, 2), dt.time(3, 4)] * (n // 2),
        "zone": days,
        "zones": pd.Series([days[0], days[1].tz_convert("UTC")] * (n // 2), dtype=object),
        "seconds": days.tz_localize(None).astype("datetime64[s]"),
        "durations": pd.to_timedelta(np.arange(n), "h"),
        "nullable": pd.array([1, None] * (n // 2), dtype="Int8"),
        "arrow": pd.array(["x", None] * (n // 2), dtype="string[pyarrow]"),
    }


INDEXES = {
    "numbers": None, "twice": pd.Index([1] * 120), "named": pd.Index(range(120), name="a"),
    "levels": pd.MultiIndex.from_arrays([[1] * 120, range(120)]),
}  # fmt: skip


@pytest.mark.parametrize("index", INDEXES)
def test_a_frame_reaches_the_child_process_as_it_is(outputs, tmp_path, monkeypatch, index):
    """In a file that only this user reads; Parquet would refuse it, or change it."""
    frame = pd.DataFrame(odd_columns()).rename(columns={"ints": 0, "bools": 1.5})
    if INDEXES[index] is not None:
        frame = frame.set_index(INDEXES[index])
    seen = []

    def run_job(cfg, *, frame, report, origin):
        seen.append(frame)
        return type("Run", (), {"name": "t1"})

    tmp_path.chmod(0o700)
    request = {"cfg": {}, "report": {}, "origin": None, "frame": hand_over(frame, tmp_path, True)}
    write_json(tmp_path / "request.json", request)
    monkeypatch.setattr("src.study.run.run_config", run_job)
    monkeypatch.setattr(sys, "argv", ["rerun", str(tmp_path / "request.json")])
    rerun.main()
    pd.testing.assert_frame_equal(seen[0], frame, check_exact=True)
    assert list(map(type, seen[0]["mixed"])) == list(map(type, frame["mixed"]))


def test_odd_columns_are_replayed_identical(outputs):
    """All in one table, but those that `fit` refuses."""
    taken = {name: column for name, column in odd_columns().items() if name not in ("bytes", "complex")}
    run = fit_on(taken)
    assert replay_train(run.name, data=table(taken))["identical"] is True


def table(columns: dict) -> pd.DataFrame:
    return pd.DataFrame(columns).assign(y=np.arange(120) % 5 > 1)


def fit_on(columns: dict):
    return fit("model=linear", "dataset.target=y", *QUIET, data=table(columns))


def test_a_frame_that_no_process_can_take_is_one_sentence(outputs):
    run = fit_on({"a": np.arange(120)})
    frame = table({"a": np.arange(120)}).assign(b=[lambda: 1] * 120)
    with pytest.raises(UserError, match="a replay cannot take this DataFrame"):
        replay_train(run.name, data=frame)


def test_code_that_was_recorded_before_gets_parquet(outputs, tmp_path):
    frame = tiny_table("binary", n=20)
    path = hand_over(frame, tmp_path, False)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)
    with pytest.raises(UserError, match=r"a replay cannot take this DataFrame .*: code=now takes it"):
        hand_over(pd.DataFrame(odd_columns()), tmp_path, False)


# -- code that was edited since


@pytest.fixture(scope="module")
def project(outputs, tmp_path_factory):
    """``project("train", "model=mlp")`` in a copy of the checkout, whose wine gets an ETL after one run."""
    where = tmp_path_factory.mktemp("project")
    for name in ("src", "conf"):
        shutil.copytree(CHECKOUT / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))

    def call(verb: str, *overrides: str) -> subprocess.CompletedProcess:
        return forks.call(f"src.{verb}", *overrides, cwd=where, env=os.environ | {"PYTHONPATH": str(where)})

    done = call("train", *LINEAR)
    assert done.returncode == 0, done.stderr
    call.run = runs().index[-1]
    path = where / "src/dataset/wine.py"
    path.write_text(path.read_text() + '\n\ndef etl(df):\n    return df[df["alcohol"] > 12.4]\n')
    return call


def test_the_recorded_code_replays_identical_after_an_edit(project):
    done = project("replay", f"run={project.run}")
    assert done.returncode == 0 and "identical" in done.stdout, done.stdout + done.stderr
    assert_same(load(project.run), load(runs().index[-1]))


def test_todays_code_is_told_from_the_recorded(project):
    done = project("replay", f"run={project.run}", "code=now")
    assert done.returncode == 1, done.stdout + done.stderr
    again = runs().index[-1]
    code = "code: src/dataset/wine.py"
    for expected in (f"{again} differs from {project.run}", code, "ETL version: v", "data digest: "):
        assert expected in done.stdout
    assert load(again).report["code"] == "now" and load(again).report["replay_of"] == project.run
    shown = diff.side_by_side(load(project.run), load(again))
    assert "+def etl(df):\n" in shown and '+    return df[df["alcohol"] > 12.4]' in shown


def test_a_changed_word_is_an_experiment(linear, monkeypatch):
    assert replay(monkeypatch, f"run={linear.name}", "model.classifier.C=0.01") == 0
    again = load(runs().index[-1])
    assert causes(linear, again) == ["config model.classifier.C: 1.0 -> 0.01"]
    assert again.report["replay_of"] == linear.name
    assert again.report["overrides"] == ["model.classifier.C=0.01"]
    assert again.cfg["model"]["classifier"]["C"] == 0.01 and linear.cfg["model"]["classifier"]["C"] == 1.0
    assert not np.array_equal(again.arrays["test_p"], linear.arrays["test_p"])


def test_an_input_that_changed_since_is_named(outputs, monkeypatch):
    path = outputs / "changing.csv"
    frame = tiny_table("binary", n=120)
    frame.to_csv(path, index=False)
    run = fit("model=linear", "dataset=csv", f"dataset.path={path}", "dataset.target=y", *QUIET)
    frame.assign(a=frame["a"] * 2 - frame["b"]).to_csv(path, index=False)
    assert replay(monkeypatch, f"run={run.name}") == 1
    again = load(runs().index[-1])
    version, digest = causes(run, again)
    assert digest == f"data digest: {run.report['data_digest']} -> {again.report['data_digest']}"
    assert version == f"ETL version: {run.report['etl_version']} -> {again.report['etl_version']}"
    assert digest in describe(run, again, compare(run, again))


# -- refused


@pytest.fixture(scope="module")
def failed(outputs):
    with pytest.raises(UserError):
        fit("model=knn", "dataset=wine", "class_weight=balanced", *QUIET)
    return runs().index[-1]


@pytest.mark.parametrize(
    ("overrides", "options", "says"),
    [
        (["model.classifer.C=2"], {}, "did you mean model.classifier.C"),
        (["model.lr=0.1"], {}, "model.lr=0.1 changes no value of this run"),
        (["seed=abc"], {}, "a whole number"),
        (["seed=0,1"], {}, "seed=0,1 changes no value"),
        (["seed"], {}, "key=value"),
        (["trainer.max_epochs=0"], {}, "at least 1"),
        ([], {"code": "then"}, "known: recorded, now"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_and_begin_no_run(linear, overrides, options, says):
    before = versions_in(runs_folder(), "t")
    with pytest.raises(UserError) as caught:
        replay_train(linear.name, *overrides, **options)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert versions_in(runs_folder(), "t") == before


def test_only_what_is_done_is_replayed(failed):
    with pytest.raises(UserError, match=f"{failed} is failed"):
        replay_train(failed)
    for name in ("t999", "../t1"):
        with pytest.raises(UserError, match="no run"):
            replay_train(name)


def test_a_wrong_word_is_exit_2(linear, shell):
    done = shell("replay", f"run={linear.name}", "cod=now")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "did you mean" in done.stderr


# -- two runs side by side


def compared(capsys, *overrides: str) -> str:
    diff.diff(**read(diff.diff, list(overrides)).arguments)
    return capsys.readouterr().out


def test_diff_shows_config_and_metrics(linear, capsys):
    other = fit(*LINEAR, "model.classifier.C=0.001", "seed=3")
    shown = compared(capsys, f"runs={linear.name},{other.name}")
    assert "config model.classifier.C: 1.0 -> 0.001" in shown and "config seed: 0 -> 3" in shown
    row = next(line.split() for line in shown.splitlines() if line.startswith("test/loss"))
    old, new = (run.report["metrics"]["test/loss"] for run in (linear, other))
    assert row == ["test/loss", f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}"]


def test_diff_of_a_run_with_itself_says_so(linear, capsys):
    shown = compared(capsys, f"runs={linear.name},{linear.name}")
    assert "config, code, data and environment are the same" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith(("val/", "test/", "train/"))]
    assert len(rows) == len(linear.report["metrics"]) and all(row[-1] == "=" for row in rows)
    assert causes(linear, linear) == []


def test_diff_refuses_what_is_no_pair(linear, capsys):
    one, gone = f"runs={linear.name}", f"runs={linear.name},t999"
    for overrides, says in ((one, "name two runs"), (gone, "no run t999")):
        with pytest.raises(UserError, match=says):
            compared(capsys, overrides)
    with pytest.raises(UserError, match=r"did you mean runs\?"):
        compared(capsys, "rnus=t1,t2")


def test_a_replay_that_cannot_run_says_so(outputs, capfd):
    path = outputs / "gone.csv"
    tiny_table("binary", n=80).to_csv(path, index=False)
    run = fit("model=linear", "dataset=csv", f"dataset.path={path}", "dataset.target=y", *QUIET)
    path.unlink()
    with pytest.raises(UserError, match=f"replay of {run.name} failed"):
        replay_train(run.name)
    error = capfd.readouterr().err
    assert "gone.csv" in error and "Traceback" not in error

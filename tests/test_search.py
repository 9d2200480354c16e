"""Searches: spaces in Hydra's words, a study that a kill does not harm, one sentence for each mistake."""

import itertools
import json
import logging
import math
import os
import random
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import optuna
import pytest
from conftest import CHECKOUT, QUIET, until

from src import load, runs, sweep
from src.config.check import check
from src.config.shell import help_text
from src.config.space import dimension, of_models, space, written
from src.config.tree import choices, get, parse
from src.config.typed import spelled
from src.study import search
from src.study.best import front
from src.study.jobs import answer, progress, rows
from src.study.sampler import distribution, text
from src.system.errors import UserError
from src.system.files import write_json

pytestmark = pytest.mark.usefixtures("compose_once")
JOBLIB = ["seed=0,1", "hydra/launcher=joblib"]
LR = "model.lr=tag(log,interval(1e-4,1e-1))"
SPACE = [LR, "model.patience=int(interval(1,9))", "model.net.n_layers=1,2,3"]
SPACE += ["model.net.d_hidden=range(8,33,8)"]


# -- spaces


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("a=1,2,x", optuna.distributions.CategoricalDistribution([1, 2, "x"])),
        ("a=true,null,'b c'", optuna.distributions.CategoricalDistribution([True, None, "b c"])),
        ("a=[3,4],[5]", optuna.distributions.CategoricalDistribution(["[3,4]", "[5]"])),
        ("a=range(1,4)", optuna.distributions.IntDistribution(1, 3)),
        ("a=range(10,0,-3)", optuna.distributions.IntDistribution(1, 10, step=3)),
        ("a=range(0,1,0.25)", optuna.distributions.FloatDistribution(0, 0.75, step=0.25)),
        ("a=interval(0,1)", optuna.distributions.FloatDistribution(0, 1)),
        ("a=int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("a=tag(int,interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("a=tag(log,int(interval(1,8)))", optuna.distributions.IntDistribution(1, 8, log=True)),
        ("a=tag(int,log,interval(1,8))", optuna.distributions.IntDistribution(1, 8, log=True)),
        ("a=tag(log,interval(1e-3,1))", optuna.distributions.FloatDistribution(1e-3, 1, log=True)),
    ],
)
def test_hydras_words_as_a_space(word, wanted):
    """Every value that may be drawn is written as Hydra reads it back."""
    one = dimension(parse(word))
    made = distribution(one)
    assert made == wanted
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(20):
        value = study.ask({"a": made}).params["a"]
        written = text(one, value)
        if "texts" in one:
            assert one["values"][one["texts"].index(written)] == value
        else:
            assert parse(f"a={written}").value() == value and one["low"] <= value <= one["high"]


def test_an_override_wins_over_the_ready_space():
    ready = {"model.lr": "interval(0,1)", "model.classifier.C": "interval(1,2)"}
    found, fixed = space(ready, ["model.lr=0.1"])
    assert {key: one["key"] for key, one in found.items()} == {"model.classifier.C": "++model.classifier.C"}
    assert fixed == ["model.lr=0.1"]


def test_a_ready_space_leaves_out_the_estimator_of_the_other_task():
    """A search over it would be of trials that are equal, and call it important."""
    ready = {"model.arguments.a": "1,2", "model.classifier.C": "3,4", "model.regressor.alpha": "5,6"}
    for task, key in (("binary", "model.classifier.C"), ("multiclass", "model.classifier.C"),
                      ("regression", "model.regressor.alpha")):  # fmt: skip
        assert set(space(ready, [], task)[0]) == {"model.arguments.a", key}
    assert "model.regressor.alpha" in space(ready, ["model.regressor.alpha=1,2"], "binary")[0]  # as typed
    ready.pop("model.arguments.a")
    with pytest.raises(UserError, match=r"only keys of model\.regressor, which a binary task does not use$"):
        space(ready, ["model.classifier.C=1"], "binary")


def refusal(words: list[str], multirun: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        check(spelled(words, multirun), multirun)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep=optuna", "sapce=mlp"], "sapce is unknown: did you mean space?"),
        (["sweep=optuna"], "searches nothing: add 'model.lr=interval(1e-4,1e-1)', or space=mlp"),
        (["sweep=optuna", "model=glob(q*)"], "model=glob(q*) matches none of"),
        (["sweep=optna", LR], "sweep=optna is unknown: did you mean optuna?"),
        (["sweep=optuna", "space=mpl"], "space=mpl is unknown: did you mean mlp?"),
        (["sweep=optuna,random", LR], "sweep=optuna,random: a sweep has one searcher"),
        (["sweep=optuna", "sweep.sampler=tpe,qmc", LR], "sweep.sampler=tpe,qmc: a sweep has one searcher"),
        (["space=mlp"], "space=... is for a search: add sweep=optuna"),
        (["sweep=grid", LR], "has no grid: write choice(...), or add sweep=optuna"),
        ([LR], "has no grid: write choice(...), or add sweep=optuna"),
        (["sweep.n_trials=3", "seed=0,1"], "sweep.n_trials=3 is for a search: add sweep"),
        (["sweep=grid", "sweep.n_trials=3", "seed=0,1"], "sweep.n_trials=3 is for a search: add sweep"),
        (["seed=range(3,0)"], "seed=range(3,0) holds no value"),
        (["seed=0,1", "hydra/launcher=jobblib"], "launcher=jobblib is unknown; there are: basic, joblib"),
        ([*JOBLIB, "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: should be at least 1"),
        ([*JOBLIB, "hydra.launcher.n_jobs=-2"], "hydra.launcher.n_jobs=-2: should be at least 1"),
        (["sweep=optuna", LR, "sweep.n_trials=0"], "sweep.n_trials=0: should be a whole number, at least 1"),
        (["sweep=optuna", LR, "sweep.sampler=tpee"], "did you mean tpe?"),
        (["sweep=optuna", LR, "sweep.metric=acc"], "sweep.metric=acc is unknown: did you mean accuracy?"),
        (["sweep=optuna", LR, "sweep.metric=my.fn"], "add metric=my.fn, which logs it"),
        (["sweep=optuna", LR, "sweep.metric=[f1,f1]"], "one metric, or two different ones"),
        (["sweep=optuna", LR, "sweep.metric=[f1,mcc,seconds]"], "one metric, or two different ones"),
        (["sweep=optuna", LR, "sweep.metric=[3]"], "should be text or a list of metrics or null"),
        (["sweep=optuna", LR, "sweep.metric=[f1,seconds]", "sweep.pruner=median"], "compares one metric"),
        (["sweep=optuna", LR, "sweep.metric=[f1,seconds]", "sweep.sampler=cmaes"], "take tpe or nsga2"),
        (["sweep=optuna", LR, "sweep.trial=3"], "sweep.trial is set for each job"),
        (["sweep=optuna", LR, "sweep.storage=postgresql://a:b@h/d", "sweep.study=x"], "holds a password"),
        (["sweep=optuna", LR, "sweep.storage=mysql://h/d?password=b", "sweep.study=x"], "holds a password"),
        (["sweep=optuna", LR, "sweep.storage=postgresql://a@h/d"], "sweep.study is required"),
        (["sweep=optuna", LR, "sweep.storage=x.db", "sweep.study=x"], "should be a URL"),
        (["sweep=optuna", "model.lr=interval(-1,1)"], "model.lr=-1.0: should be a number, at least 0"),
        (["sweep=optuna", "model.lr=interval(1,0.1)"], "the first end should be below the second"),
        (["sweep=optuna", "model.lr=tag(log,interval(0,1))"], "with log the first end should be above 0"),
        (["sweep=optuna", "model.lr=tag(lgo,interval(1,2))"], "tag lgo is unknown; known: log, int"),
        (["sweep=optuna", "model.net.n_layers=interval(1,3)"], "int(interval(1,4)) holds whole numbers"),
        (["sweep=optuna", "model.net.n_layers=tag(int,interval(1,3.5))"], "should be whole numbers"),
        (["sweep=optuna", "model.net.n_layers=shuffle(1,2)"], "leave shuffle out"),
        (["sweep=optuna", "model.net.n_layers=range(4,4)"], "holds no value"),
        (["sweep=optuna", "model.lr=0.1,0.1"], "holds a value twice"),
        (["sweep=optuna", "model.lrr=interval(0,1)"], "model.lrr is unknown: did you mean model.lr?"),
        (["sweep=optuna", "model.schedule=cosine,cosin"], "did you mean cosine?"),
        (["sweep=optuna", "space=mlp", "model=linear"], "model=linear has no lr"),
        (["sweep=optuna", LR, "dataset=wine,iris"], "dataset=wine,iris: values of several"),
        (["sweep=optuna", LR, "metric=f1,mcc"], "metric=f1,mcc: values of several cannot be compared"),
        (["sweep=models"], "sweep.models is required"),
        (["sweep.models={mlp:{}}"], "is for sweep=models"),
        (["sweep=models", "sweep.models={mlp:{}}", "model=knn"], "and no model="),
        (["sweep=models", "sweep.models={mpl:{}}"], "did you mean mlp?"),
        (["sweep=models", "sweep.models={mlp:{model.lrr:[1,2]}}"], "did you mean model.lr?"),
        (["sweep=models", "sweep.models={mlp:[1,2]}"], "{} for the defaults of mlp"),
    ],
)  # fmt: skip
def test_refused_before_anything_starts(words, sentence):
    assert sentence in refusal(words)


@pytest.mark.parametrize("words", [["sweep=optuna", LR], ["sweep=models", "sweep.models={mlp:{}}"]])
def test_a_searcher_is_for_several_runs(words):
    words = [word for word in words if "interval" not in word]
    assert refusal(words, multirun=False) == "sweep=... is for several runs: add --multirun"


def test_a_password_is_not_shown():
    words = ["sweep=optuna", LR, "sweep.study=x", "sweep.storage=postgresql://someone:hunter22@h/d"]
    assert "hunter22" not in refusal(words)


def test_how_many_jobs():
    assert check(["sweep=optuna", "sweep.n_trials=7", "seed=0,1", LR], True)[0] == 7
    assert check(["sweep=grid", "seed=0,1", "model.lr=0.1,0.2,0.3"], True)[0] == 6
    assert check(["sweep=models", "sweep.models={mlp:{model.lr:[1,2]},knn:{}}", "seed=0,1"], True)[0] == 6


def test_the_help_names_searchers_and_spaces():
    shown = help_text()
    assert all(f"\n  {name}" in shown for name in ("optuna", "random", "grid", "models"))


def test_a_ready_space_for_each_model():
    assert choices("space") == choices("model")


@pytest.mark.parametrize("model", choices("model"))
def test_a_ready_space_fits_its_model(model):
    """Every end of it passes the check."""
    assert check([f"model={model}", f"space={model}", "sweep=random"], True)[0] == 30


def test_a_dict_of_models_as_hydra_reads_it():
    models = {"mlp": {"model.lr": (1e-3, 0.01), "tags": [["a b"]]}, "knn": {"model.scaler": "none"}}
    models["linear"] = {}
    words = of_models(["sweep=models", f"sweep.models={written(models, 'sweep.models')}", "seed=0,1"])
    assert words == [
        ["model=mlp", "model.lr=0.001,0.01", "tags=['a b']", "seed=0,1"],
        ["model=knn", "model.scaler=none", "seed=0,1"],
        ["model=linear", "seed=0,1"],
    ]


# -- the study


CFG = {"seed": 3, "sweep": {
    "sampler": "tpe", "n_trials": 14, "timeout": None, "metric": None, "pruner": None, "storage": None,
    "study": None, "trial": None,
}}  # fmt: skip


def config(**changes) -> dict:
    return CFG | {"sweep": CFG["sweep"] | changes}


def value(overrides: list[str]) -> float:
    """Return a smooth function of what was chosen."""
    chosen = dict(one.split("=") for one in overrides)
    return (math.log10(float(chosen["model.lr"])) + 2) ** 2 + abs(int(chosen["model.patience"]) - 5) / 10


def trained(value: float, seconds: float = 1.0):
    report = {"metric": {"name": "rmse", "mode": "min"}, "metrics": {"val/rmse": value}}
    return SimpleNamespace(status="done", report=report | {"timings": {"fit": seconds}})


@pytest.fixture
def directions(monkeypatch):
    def of(folder, cfg):
        return dict.fromkeys(["val/rmse", "seconds"] if cfg["sweep"]["metric"] else ["val/rmse"], "minimize")

    monkeypatch.setattr(search, "_directions", of)


def searched(folder, cfg, n=None, dimensions=None) -> dict[int, list[str]]:
    """Ask and tell ``n`` trials, or all; return the overrides of each."""
    search._storage.cache_clear()  # as another process
    dimensions = dimensions or space({}, SPACE)[0]
    study, asked = search.begin(folder, cfg, dimensions), {}
    for number, overrides in itertools.islice(search._asked(study, folder, cfg["sweep"], dimensions, []), n):
        asked[number] = overrides
        run = trained(value(overrides), seconds=number + 1)
        search.tell(folder, cfg["sweep"] | {"trial": number}, run)
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "nsga2", "random"])
def test_a_search_killed_while_it_asks_goes_on_as_if_undisturbed(tmp_path, directions, sampler):
    """Killed after each line that it writes into the journal, and in the middle of it."""
    cfg = config(sampler=sampler)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = searched(tmp_path / "whole", cfg)
    assert list(whole) == list(range(14)) and len({tuple(one) for one in whole.values()}) > 11
    folder, found = tmp_path / "killed", {}
    journal, rng = folder / "study.journal", random.Random(0)
    while len(found) < 14 or search.open_study(folder, cfg["sweep"]).get_trials(
        states=[optuna.trial.TrialState.RUNNING]
    ):  # fmt: skip
        found |= searched(folder, cfg, rng.randrange(1, 5))
        lines = journal.read_bytes().splitlines(keepends=True)
        told = max((i for i, line in enumerate(lines) if b'"op_code":6' in line), default=0)
        kept = rng.randrange(told, len(lines)) + 1  # the trials that were told stay told
        torn = lines[kept][: rng.randrange(len(lines[kept]))] if kept < len(lines) else b""
        if len(found) < 14:
            journal.write_bytes(b"".join(lines[:kept]) + torn)
    assert found == whole
    trials = search.open_study(folder, cfg["sweep"]).trials
    assert [trial.number for trial in trials] == list(range(14))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_other_seeds_give_other_trials(tmp_path, directions):
    found = []
    for seed in (3, 4):
        (tmp_path / str(seed)).mkdir()
        found.append(searched(tmp_path / str(seed), config(sampler="random") | {"seed": seed}, 3))
    assert all(found[0][i] != found[1][i] for i in range(3))


def test_a_search_finds_more_than_chance(tmp_path, directions):
    best = {}
    for sampler in ("tpe", "random"):
        (tmp_path / sampler).mkdir()
        values = list(map(value, searched(tmp_path / sampler, config(sampler=sampler, n_trials=40)).values()))
        best[sampler] = sum(values[-20:]) / 20
    assert best["tpe"] < 0.5 * best["random"]


def test_a_study_of_another_space_is_refused(tmp_path, directions):
    searched(tmp_path, config(), 1)
    other = space({}, [*SPACE[1:], "model.lr=interval(0,1)"])[0]
    with pytest.raises(UserError, match=r"is of another space: model\.lr differs; begin a new one"):
        search.begin(tmp_path, config(), other)


def test_a_trial_is_told_once_and_a_failed_one_stays_open(tmp_path, directions):
    dimensions = space({}, SPACE)[0]
    study = search.begin(tmp_path, config(), dimensions)
    asked = search._asked(study, tmp_path, CFG["sweep"], dimensions, ["seed=0"])
    numbers = [next(asked)[0] for _ in range(3)]
    assert numbers == [0, 1, 2]
    search.tell(tmp_path, CFG["sweep"] | {"trial": 1}, trained(0.5))
    search.tell(tmp_path, CFG["sweep"] | {"trial": 1}, trained(0.7))
    search.tell(tmp_path, CFG["sweep"] | {"trial": 2}, trained(None))
    known = search.open_study(tmp_path, CFG["sweep"]).trials
    assert [trial.state.name for trial in known] == ["RUNNING", "COMPLETE", "FAIL"] and known[1].value == 0.5
    again = search._asked(study, tmp_path, CFG["sweep"], dimensions, ["seed=0"])
    (first, words), (second, _) = next(again), next(again)
    assert (first, second) == (0, 3) and words[0] == "seed=0" and words[-1] == "sweep.trial=0"


def test_a_search_ends_by_time_or_by_stop(tmp_path, directions):
    assert len(searched(tmp_path, config(timeout=1e-9))) == 0
    assert len(searched(tmp_path, config(), 2)) == 2
    (tmp_path / ".stop").touch()
    assert len(searched(tmp_path, config())) == 0


def test_two_objectives(tmp_path, directions):
    cfg = config(metric=["rmse", "seconds"], sampler="nsga2", n_trials=12)
    asked = searched(tmp_path, cfg)
    study = search.open_study(tmp_path, cfg["sweep"])
    assert study.metric_names == ["val/rmse", "seconds"]
    assert [trial.values for trial in study.trials] == [[value(asked[i]), i + 1] for i in range(12)]


def row(job: int, *goals: tuple) -> dict:
    objectives = [{"name": name, "mode": mode, "value": value} for name, mode, value in goals]
    return {"job": job, "run": f"t{job}", "dataset": "wine", "metric": "mae", "objectives": objectives}


def test_the_front_is_optunas():
    rng = random.Random(0)
    study = optuna.create_study(directions=["maximize", "minimize"])
    ends = []
    for job in range(60):
        a, b = rng.randrange(12), rng.randrange(12)
        ends.append(row(job, ("accuracy", "max", a), ("seconds", "min", b)))
        study.add_trial(optuna.trial.create_trial(values=[a, b]))
    wanted = {tuple(trial.values) for trial in study.best_trials}
    found = [tuple(goal["value"] for goal in one["objectives"]) for one in front(ends)]
    assert set(found) == wanted and len(found) == len(wanted) > 2
    assert [one["job"] for one in front([row(1, ("r2", "max", 0.5)), row(2, ("r2", "max", 0.7))])] == [2]
    assert front([row(1, ("r2", "max", 0.5)), row(2, ("mae", "min", 0.7))]) == []


def test_the_best_is_told_by_what_was_chosen_for_it(tmp_path):
    """Also if it is the only trial that ended."""
    words = ["sweep=optuna", "model=linear", "model.classifier.C=interval(1,2)"]
    write_json(tmp_path / "sweep.json", {"words": words})
    own = {"overrides": ["sweep=optuna", "model=linear", "model.classifier.C=1.5"]}
    end = row(0, ("f1", "max", 0.5)) | own
    (tmp_path / "jobs.jsonl").write_text(json.dumps(end) + "\n")
    assert answer(tmp_path) == "t0 val/f1 0.5000  model.classifier.C=1.5"


def test_the_progress_of_two_objectives_is_the_size_of_the_front(tmp_path):
    write_json(tmp_path / "sweep.json", {"n_jobs": 5, "began": 0})
    ends = [row(i, ("accuracy", "max", i), ("seconds", "min", i)) for i in range(3)]
    more = {"status": "done", "value": 1, "mode": "max", "ended": 1}
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(one | more) + "\n" for one in ends))
    assert f"{tmp_path.name}   3 of 5 jobs done   3 on the front   about" in progress(tmp_path)


# -- whole searches


@pytest.fixture
def train(monkeypatch, capsys, outputs):
    """``train("-m", "model=mlp")`` runs train in this process and returns its exit code and what it shows."""

    monkeypatch.setattr(logging.getLogger("reprise"), "handlers", [])  # of another test

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("src.train", run_name="__main__")
        shown = capsys.readouterr()
        return ended.value.code, shown.out + shown.err

    return call


SMALL = ("dataset=wine", "trainer.max_epochs=1", *QUIET)


SPACES = [name for name in choices("space") if name != "pretrained"]  # which needs an encoder's folder


@pytest.mark.parametrize(
    "model",
    ["mlp", "linear", *(pytest.param(name, marks=pytest.mark.slow) for name in SPACES)],
)
def test_two_trials_of_a_ready_space(train, outputs, model):
    code, shown = train("-m", "sweep=optuna", "sweep.n_trials=2", f"model={model}", f"space={model}", *SMALL)
    assert code == 0, shown
    name = runs()["sweep"].iloc[-1]
    table, ends = sweep(name), rows(outputs / "sweeps" / name)
    study = search.open_study(outputs / "sweeps" / name, CFG["sweep"])
    assert study.direction.name == "MAXIMIZE" and study.metric_names == ["val/accuracy"]
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 2
    for trial, run, end in zip(study.trials, map(load, table["run"]), ends, strict=True):
        assert trial.value == run.objective == end["objectives"][0]["value"]
        assert {key: get(run.cfg, key)[0] for key in trial.params} == trial.params
        assert run.cfg["sweep"]["trial"] == run.report["job"] == trial.number
    first = max(ends, key=lambda end: end["value"])
    best = f"{first['run']} val/accuracy {first['value']:.4f}"
    assert f"{name}   2 of 2 jobs done   best {best}" in shown
    assert f"\n{best}  model." in shown


FAILS_AT_FIRST = """
from pathlib import Path

def fn(y, p):
    mark = Path(__file__).with_name("calls")
    calls = len(mark.read_text()) if mark.exists() else 0
    mark.write_text("x" * (calls + 1))
    if calls == 7:
        raise OSError("this time")
    return -float(p[:, 1].var())
"""


def test_a_search_goes_on_with_its_study(train, outputs, tmp_path, monkeypatch):
    """A trial that failed is trained again under its number; the others are not."""
    (tmp_path / "fails_at_first.py").write_text(FAILS_AT_FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("sweep=optuna", "sweep.n_trials=4", "model=linear", "space=linear", *SMALL, "seed=5")
    code, shown = train("-m", *words, "metric=fails_at_first.fn", "metric_mode=min")
    name = runs()["sweep"].iloc[-1]
    folder = outputs / "sweeps" / name
    assert code == 1 and "1 failed" in shown and f"sweep_resume={name}" in shown
    states = [trial.state.name for trial in search.open_study(folder, CFG["sweep"]).trials]
    assert sorted(states) == ["COMPLETE"] * 3 + ["RUNNING"]
    before = sweep(name)
    code, shown = train(f"sweep_resume={name}")
    assert code == 0 and f"{name}   4 of 4 jobs done   best" in shown, shown
    study = search.open_study(folder, CFG["sweep"])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert study.direction.name == "MINIMIZE" and study.metric_names == ["val/fn"]
    assert list(sweep(name)["run"]) == list(before["run"]) and set(sweep(name)["status"]) == {"done"}
    assert [trial.value for trial in study.trials] == [load(run).objective for run in before["run"]]


def test_two_objectives_end_with_a_front(train, outputs):
    words = ("sweep=random", "sweep.n_trials=3", "model=linear", "space=linear", *SMALL)
    code, shown = train("-m", *words, "sweep.metric=[log_loss,seconds]")
    assert code == 0, shown
    name = runs()["sweep"].iloc[-1]
    study = search.open_study(outputs / "sweeps" / name, CFG["sweep"])
    reports = [load(run).report for run in sweep(name)["run"]]
    values = [[report["metrics"]["val/log_loss"], report["timings"]["fit"]] for report in reports]
    assert [trial.values for trial in study.trials] == values
    front = re.findall(r"^(t\d+) val/log_loss .*, seconds ", shown, re.MULTILINE)
    assert len(front) == len(study.best_trials)
    assert len(re.findall(r"^t\d+ done   val/log_loss .*, seconds ", shown, re.MULTILINE)) == 3
    assert f"{name}   3 of 3 jobs done   {len(study.best_trials)} on the front\n" in shown


def test_a_metric_that_the_model_never_logs_is_refused_before_the_first_job(train, outputs):
    before = len(runs())
    words = ("-m", "sweep=optuna", "model=linear", "space=linear", *SMALL, "sweep.metric=f1_binary")
    code, shown = train(*words)
    assert code == 2 and "error: sweep.metric=f1_binary is not a metric of a multiclass task" in shown
    assert len(runs()) == before


def test_each_models_own_values(train, outputs):
    models = "sweep.models={linear:{model.classifier.C:[1,10]},knn:{}}"
    code, shown = train("-m", "sweep=models", models, *SMALL, "seed=0,1")
    assert code == 0, shown
    table = sweep(runs()["sweep"].iloc[-1])
    cfgs = [load(run).cfg for run in table["run"]]
    assert list(table["job"]) == [0, 1, 2, 3, 4, 5] and "   6 of 6 jobs done   best " in shown
    settings = [(cfg["model"]["name"], cfg["model"]["classifier"].get("C"), cfg["seed"]) for cfg in cfgs]
    both = [("linear", C, seed) for C in (1, 10) for seed in (0, 1)]
    assert settings == [*both, ("knn", None, 0), ("knn", None, 1)]
    scores = ["val/accuracy", "test/accuracy", "seconds", "error"]
    assert list(table)[-4:] == scores and "model.classifier.C" in table, "keys first"


# -- kills


def begun(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "src.train", *words]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_a_search_killed_ten_times_ends_as_an_undisturbed_one(outputs):
    """Each of 30 trials is trained once, with the overrides and the values of the undisturbed search."""
    words = ["-m", "sweep=optuna", "sweep.n_trials=30", "sweep.metric=log_loss", "model=linear"]
    words += ["space=linear", "dataset=wine", *QUIET]
    assert begun(*words).wait(250) == 0
    whole, arguments, rng, n_killed = runs()["sweep"].iloc[-1], words, random.Random(0), 0
    name = f"s{int(whole[1:]) + 1}"
    folder = outputs / "sweeps" / name
    for _ in range(10):
        told, process = len(rows(folder)), begun(*arguments)
        until(lambda n=told + 1, p=process: len(rows(folder)) >= n or p.poll() is not None, 60)
        time.sleep(rng.random() / 2)
        n_killed += process.poll() is None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        arguments = [f"sweep_resume={name}"]
    assert n_killed == 10
    assert begun(*arguments).wait(250) == 0
    found, wanted = sweep(name), sweep(whole)
    assert list(found["job"]) == list(wanted["job"]) == list(range(30)) and set(found["status"]) == {"done"}
    assert [row["job"] for row in rows(outputs / "sweeps" / name)] == list(range(30))
    studies = [search.open_study(outputs / "sweeps" / one, CFG["sweep"]) for one in (name, whole)]
    for one, other in zip(*(study.trials for study in studies), strict=True):
        assert one.params == other.params
        assert (one.number, one.state.name, one.values) == (other.number, "COMPLETE", other.values)
    for one, other in zip(found["run"], wanted["run"], strict=True):
        assert load(one).report["metrics"] == load(other).report["metrics"]
        assert load(one).report["overrides"] == load(other).report["overrides"]


def test_the_commands_of_the_docs_pass_the_check():
    """Each command of docs/sweeps.md that trains."""
    text = (CHECKOUT / "docs/sweeps.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m src\.train (-m|--multirun) (.*)$", text, re.MULTILINE)
    known = [shlex.split(words) for _, words in commands]
    known = [words for words in known if not any("hydra/launcher" in word for word in words)]
    assert len(known) >= 6
    for words in known:
        assert check(spelled(words, True), True)[0] > 1

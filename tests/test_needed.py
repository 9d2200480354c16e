"""``needed=true``: what a run has done before is not trained again, and anything else is."""

import importlib
import json
import shutil
import sys
import time

import forks
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import ask, fit, load, runs, sweep
from src.run import needed
from src.study import jobs
from src.study.leaderboard import leaderboards
from src.system.files import read_json, write_json

LINEAR = ("model=linear", "dataset.target=y", "needed=true", *QUIET)


def table(path, seed: int = 0):
    tiny_table("binary", seed=seed).to_csv(path, index=False)
    return f"dataset={path}"


@pytest.fixture(scope="module")
def first(outputs, tmp_path_factory):
    """A run, without ``needed``, and the overrides that would do the same."""
    folder = tmp_path_factory.mktemp("data")
    words = [table(folder / "people.csv"), *LINEAR]
    return fit(*(word for word in words if word != "needed=true")), words


SAME = [(), ("tags=[a]",), ("on_error=stop",), ("profile=true",), ("logger=none", "seed=0")]


def test_the_same_is_not_trained_again(first):
    run, words = first
    assert {fit(*words, *more).name for more in SAME} == {run.name}


@pytest.mark.parametrize("more", ["seed=1", "model.classifier.C=2", "dataset.ignore=[a]", "metric=f1"])
def test_another_setting_is_trained_once(first, more):
    run, words = first
    second = fit(*words, more)
    assert second.name != run.name and second.status == "done"
    assert fit(*words, more).name == second.name


def test_a_number_of_another_kind_is_another_setting(first):
    """scikit-learn reads max_features=1 as one column and 1.0 as all of them."""
    run, words = first
    assert fit(*words, "model.classifier.C=1.0").name == run.name
    assert fit(*words, "model.classifier.C=1").name != run.name


def test_data_is_the_same_by_its_content(first, tmp_path):
    run, words = first
    moved = f"dataset={shutil.copy(words[0].partition('=')[2], tmp_path / 'people.csv')}"
    assert fit(moved, *words[1:]).name == run.name
    table(tmp_path / "people.csv", seed=4)
    other = fit(moved, *words[1:])
    assert other.name != run.name and fit(moved, *words[1:]).name == other.name
    frames = [tiny_table("binary", seed=seed) for seed in (8, 8, 9)]
    made = [fit(*LINEAR, data=frame).name for frame in frames]
    assert made[0] == made[1] != made[2]


def test_code_is_the_same_by_its_meaning(first, tmp_path, monkeypatch):
    """A comment changes nothing; a run on code that has changed meanwhile is no finished one."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "its_metric.py"
    text = "def fn(y, p):\n    return float((y == (p > 0.5)).mean())\n"
    words = [*first[1], "metric=its_metric.fn", "metric_mode=max"]

    def trained(text: str) -> str:
        path.write_text(text)
        importlib.reload(sys.modules["its_metric"]) if "its_metric" in sys.modules else None
        return fit(*words).name

    run = trained(text)
    assert trained("# a comment\n" + text) == run
    other = trained(text.replace("0.5", "0.25"))
    assert other != run
    assert trained(text.replace("0.5", "0.25") + "\n") == other


@pytest.mark.slow
def test_only_runs_that_are_done_and_whole_count(first):
    _, words = first
    words = [*words, "seed=7"]
    run = fit(*words)
    (run.folder / "DONE").unlink()
    second = fit(*words)
    assert second.name != run.name
    write_json(second.folder / "report.json", second.report | {"changed": ["data"]})
    (second.folder / "DONE").touch()
    third = fit(*words)
    assert third.name not in (run.name, second.name)
    (third.folder / "code.zip").write_bytes(b"no zip")
    (third.folder / "config.json").write_text("{")
    (third.folder / "DONE").touch()
    assert fit(*words).name not in (run.name, second.name, third.name)


def test_500_runs_are_looked_through_in_a_second(first, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    for number in range(1, 501):
        folder = tmp_path / "runs" / f"t{number}"
        folder.mkdir(parents=True)
        for name in ("config.json", "report.json", "DONE"):
            shutil.copy(first[0].folder / name, folder / name)
    began = time.process_time()
    found = needed._settings()
    took = time.process_time() - began
    assert len(found) == 500 and set(found.values()) == {needed._setting(first[0].cfg)}
    assert took < 1
    began = time.process_time()
    assert needed._settings() == found and time.process_time() - began < 0.2


def shell(verb: str, *words: str) -> str:
    done = forks.call(f"src.{verb}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_sweep_names_the_runs_that_have_done_its_jobs(first):
    """In jobs.jsonl, results.csv, the DataFrame and the leaderboard; resume finds them, too."""
    run, words = first
    known = len(runs())
    shown = shell("train", "--multirun", *words, "model.classifier.C=1.0,3", "tags=[b]")
    name = runs()["sweep"].iloc[-1]
    assert len(runs()) == known + 1 and "2 of 2 jobs done (1 by earlier runs)" in shown
    assert f"done before as {run.name}: linear on people, done" in shown
    found = sweep(name)
    assert list(found["run"]) == [run.name, f"t{known + 1}"] and set(found["status"]) == {"done"}
    assert found.filter(regex="classifier.C").squeeze().tolist() == ["1.0", "3"]
    saved = pd.read_csv(run.folder.parents[1] / "sweeps" / name / "results.csv")
    assert list(saved["run"]) == list(found["run"]) and saved["val/accuracy"][0] == run.objective
    assert sorted(ask(sweep="latest", metric="accuracy")["run"]) == sorted(found["run"])
    (board,) = leaderboards(name)
    assert sorted(board["runs"]) == sorted(found["run"])
    again = shell("resume", f"sweep={name}")
    assert len(runs()) == known + 1 and "2 of 2 jobs done (1 by earlier runs)" in again
    assert list(sweep(name)["run"]) == list(found["run"])


def test_progress_counts_the_jobs_that_run(outputs, first):
    folder = outputs / "sweeps" / "s77"
    folder.mkdir(parents=True)
    write_json(folder / "sweep.json", {"n_jobs": 5, "began": time.time() - 10, "runs": {}, "parent": None})
    for job in (0, 1, 3):
        jobs._mark(folder, job).touch()
    assert "0 of 5 jobs done, 3 running" in jobs.progress(folder)
    jobs.ended(folder, load(first[0].name), 1)
    assert "1 of 5 jobs done (1 by earlier runs), 2 running" in jobs.progress(folder)
    assert " left" in jobs.progress(folder)
    assert not {"left", "running"} & set(jobs.progress(folder, over=True).split())
    assert json.loads((folder / "jobs.jsonl").read_text())["run"] == first[0].name
    assert read_json(folder / "sweep.json")["n_jobs"] == 5

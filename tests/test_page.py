"""The page of a sweep: true numbers, pictures of any space, nothing from elsewhere; the best as a yaml."""

import re
from html import unescape
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table

from src import fit, leaderboards, load
from src.config import tree
from src.leaderboard import leaderboard
from src.study import experiment
from src.study.pictures import of_study
from src.study.statistics import expected_best
from src.study.table import remarks
from src.study.trials import as_study, importances, parameters
from src.system.errors import UserError

METRIC = """
def fn(y, p):
    if p.max() < 0.5:
        raise ValueError("<script>alert(1)</script> $x^2$ & more")
    return float((p.argmax(1) == y).mean())
"""
HOSTILE = "<script>alert(2)</script>"
WORDS = ("model=linear", "dataset=wine", "model.classifier.C=1e-6,0.01,1", "logger=csv")
WORDS += ("metric=hostile.fn", "metric_mode=max", f"tags=['{HOSTILE}']", "pictures=true")


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("values", [[3, 1, 2, 2, 7], [4]])
def test_the_expected_best_is_the_mean_over_all_choices_of_n(values, mode):
    best = max if mode == "max" else min
    wanted = [np.mean([*map(best, combinations(values, n))]) for n in range(1, len(values) + 1)]
    assert expected_best(values, mode) == pytest.approx(wanted)


def test_the_expected_best_of_many():
    """The best of n of 1,000 equally spaced values is expected at n / (n + 1) of the way, times 1,001."""
    n = np.arange(1, 1001)
    assert expected_best(np.arange(1, 1001), "max") == pytest.approx(1001 * n / (n + 1))


# -- pictures


def job(number: int, *overrides: str, value=None, status="done", objectives=None) -> dict:
    row = {"job": number, "run": f"t{number}", "status": status, "metric": "auroc", "mode": "max"}
    row |= {"value": value, "overrides": [*overrides, f"seed={number}"]}
    return row | {"objectives": objectives}


def searched(*keys: str, n: int = 12) -> list[dict]:
    rng = np.random.default_rng(0)
    draws = {"model.lr": lambda: 10 ** rng.uniform(-4, -1), "model.net.n_layers": lambda: rng.integers(1, 4)}
    draws |= {"model": lambda: rng.choice(["mlp", "$\\frac{$", "<b>"])}
    return [job(k, *(f"{key}={draws[key]()}" for key in keys), value=rng.uniform()) for k in range(n)]


BOTH = [{"name": "auroc", "mode": "max"}, {"name": "seconds", "mode": "min"}]
TWO = [
    one | {"objectives": [BOTH[0] | {"value": one["value"]}, BOTH[1] | {"value": 1 + one["job"] % 5}]}
    for one in searched("model.lr")
]
PART = [one if k % 2 else one | {"overrides": one["overrides"][1:]}
        for k, one in enumerate(searched("model.lr", "model.net.n_layers"))]  # fmt: skip
ONE_TRIAL = [job(0, "model.lr=0.1", value=0.5)]
FAILED = [job(k, f"model.lr={k}", status="failed") for k in range(3)]


H, S, C, P, IMP = "Optimization History", "Slice", "Contour", "Parallel Coordinate", "Importance"


@pytest.mark.parametrize(
    ("jobs", "titles"),
    [
        (searched("model.lr"), [H, S, P]),
        (searched("model"), [H, S, P]),
        (searched("model", "model.lr"), [H, S, C, P, IMP]),
        (TWO, ["Pareto-front", H, S, H, S, P]),
        (PART, [H, S, C, P, IMP]),  # half of the trials lack a parameter
        (searched(), [H]),
        (ONE_TRIAL, []),
        (FAILED, []),
    ],
)
def test_pictures(jobs, titles):
    """Of one parameter, of choices only, of both; of two objectives; of hardly anything."""
    pictures = of_study(as_study(jobs))
    assert len(pictures) == len(titles)
    for picture, title in zip(pictures, titles, strict=True):
        assert title in picture and picture.startswith("<svg") and picture.rstrip().endswith("</svg>")
        assert "http" not in picture and "<b>" not in picture


def test_a_study_has_what_the_jobs_had():
    jobs = searched("model.lr", "model.net.n_layers", n=4)
    jobs.append(job(90, "model.lr=0.5", status="pruned", value=0.3))
    study = as_study(jobs)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4 + ["FAIL"]
    assert study.best_value == max(one["value"] for one in jobs[:4])
    assert {type(trial.params["n_layers"]) for trial in study.trials[:4]} == {int}
    assert study.trials[0].distributions["lr"].log and "n_layers" not in study.trials[4].params
    assert parameters(jobs)[4] == {"model.lr": 0.5}, "a seed is no parameter"


def test_the_parameter_that_matters_is_the_most_important():
    rng = np.random.default_rng(0)
    draws = [(rng.uniform(), rng.uniform()) for _ in range(60)]
    jobs = [job(k, f"model.a={a}", f"model.b={b}", value=b - 0.05 * a) for k, (a, b) in enumerate(draws)]
    shares = importances(as_study(jobs))
    assert list(shares) == ["b", "a"] and shares["b"] > 0.8 and sum(shares.values()) == pytest.approx(1)


# -- a real sweep


@pytest.fixture(scope="module")
def page(outputs, shell, tmp_path_factory):
    """Three jobs of linear on wine, one fails with a hostile error; the page of that sweep as text."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "hostile.py").write_text(METRIC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{CHECKOUT}")
        patch.syspath_prepend(folder)
        done = shell("train", "--multirun", *WORDS)
        assert done.returncode == 1 and "sweep.html" in done.stdout, done.stdout + done.stderr
        yield (outputs / "sweeps/s1/sweep.html").read_text()


def rows(page: str) -> list[list[str]]:
    """Return the cells of all rows of all tables."""
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in found]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells]


def test_the_page_has_the_numbers_of_the_sweep(page, outputs):
    table = pd.read_csv(outputs / "sweeps/s1/results.csv")
    assert "<b>2</b>done" in page and "<b>1</b>failed" in page
    shown = {row[0]: row for row in rows(page)}
    for row in table.itertuples():
        cells = shown[row.run]
        assert cells[1] == row.status and f'href="../../runs/{row.run}/"' in page
        for part in ("val/fn", "test/fn") if row.status == "done" else ():
            assert f"{table.loc[row.Index, part]:.4f}" in cells
    (board,) = leaderboards("s1")
    assert shown["1"][1] == board.index[0] and board.attrs["metric"] == "fn"
    assert f"First on val: <b>{board.index[0]}</b>" in page
    for text in remarks(board):
        assert text in unescape(page)
    assert len(re.findall("<svg", page)) == len(re.findall("</svg>", page)) == 4
    assert "<dd>1e-06, 0.01, 1</dd>" in page  # what was searched


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(page):
    assert "http" not in page and "<script" not in page and not re.search(r"src=|url\((?!#)", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x^2$ &amp; more" in page  # the reason of a failure
    assert "&lt;script&gt;alert(2)" in page  # an override


def test_the_page_is_written_again_on_request(page, outputs, capsys):
    path = outputs / "sweeps/s1/sweep.html"
    path.unlink()
    leaderboard(sweep="s1", format="html")
    assert capsys.readouterr().out.strip() == str(path) and path.read_text() == page
    with pytest.raises(UserError, match="format=html is the page of one sweep: write sweep=s3 format=html"):
        leaderboard(format="html")
    with pytest.raises(UserError, match="there is no sweep 's7'; known: s1"):
        leaderboard(sweep="s7", format="html")


# -- the best as an experiment


def test_the_best_becomes_an_experiment(page, tmp_path, monkeypatch):
    """Trained by its name it has the same config, apart from what is no setting, and the same metric."""
    monkeypatch.setattr(experiment, "CONF", tmp_path)
    monkeypatch.setattr(tree, "own", [tmp_path])
    boards = leaderboards("s1")
    best = load(boards[0]["runs"].iloc[0].partition(",")[0])
    path = experiment.write_experiment("my_best", boards)
    text = path.read_text()
    assert text.startswith("# @package _global_\n# The best of s1: fn ")
    assert "#   python -m src.train experiment=my_best\n" in text and not re.search("seed|tags", text)
    assert f"C: {best.cfg['model']['classifier']['C']}" in text and len(text.splitlines()) == 11, text
    run = fit("experiment=my_best", "logger=csv", "pictures=false", f"seed={best.cfg['seed']}")
    same = {key: value for key, value in best.cfg.items() if key not in ("tags", "pictures")}
    assert {key: run.cfg[key] for key in same} == same
    assert run.objective == best.objective and np.array_equal(run.arrays["test_p"], best.arrays["test_p"])
    for name in ("my_best", "../up", "_base", "a b"):
        with pytest.raises(UserError, match="choose another"):
            experiment.write_experiment(name, boards)
    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["my_best.yaml"]


def test_a_dataframe_is_in_no_yaml(outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "CONF", tmp_path)
    run = fit("model=linear", "dataset.target=y", *QUIET, data=tiny_table("regression"))
    with pytest.raises(UserError, match=f"{run.name} was trained on a DataFrame"):
        experiment.write_experiment("mine", leaderboards(dataset="frame"))
    assert not list(tmp_path.rglob("*.yaml"))

"""The leaderboard: who is compared with whom, and how often chance passes for merit."""

import logging

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit
from src.metric.functions import accuracy
from src.run.folder import all_runs
from src.study.leaderboard import board, comparable, leaderboards
from src.study.statistics import difference, holm, jackknife
from src.study.table import shown
from src.system.errors import UserError

ROWS, SEEDS = 400, 3


def setting(rng, margin, y, better_by=0.0):
    """Return the jackknifed accuracies of `SEEDS` runs of one setting, with its luck by row and by seed."""
    by_row, runs = rng.normal(0, 0.5, ROWS), []
    for _ in range(SEEDS):
        score = margin + by_row + rng.normal(0, 0.5, ROWS) + rng.normal(0, 0.2) + better_by
        right = score > 0
        p = np.eye(2)[np.where(right, y, 1 - y)]
        runs.append(jackknife(accuracy, y, p))
    return np.array(runs)


def found(n: int, better_by: float) -> tuple[float, np.ndarray]:
    """Return how often ``n`` pairs of settings pass for different, and their differences and errors."""
    rng, results = np.random.default_rng(0), []
    for _ in range(n):
        margin, y = rng.normal(1.0, 1.5, ROWS), rng.integers(0, 2, ROWS)
        results.append(difference(setting(rng, margin, y, better_by), setting(rng, margin, y)))
    results = np.array(results)
    return float(np.mean(results[:, 2] < 0.05)), results


@pytest.mark.slow
def test_equal_settings_rarely_pass_for_different():
    """1,000 comparisons: 5% false winners at most, up to twice the deviation of such a count, 1.4%."""
    share, results = found(1000, 0.0)
    assert share <= 0.05 + 0.014
    assert results[:, 0].std() == pytest.approx(np.sqrt(np.mean(results[:, 1] ** 2)), rel=0.1)


@pytest.mark.slow
def test_planted_differences_are_found_as_often_as_the_text_says():
    """With three seeds: about an eighth of differences of one standard error, a third of those of two."""
    for better_by, errors, power in ((0.19, 1, 0.125), (0.38, 2, 0.34)):
        share, results = found(300, better_by)
        size = results[:, 0].mean() / np.sqrt(np.mean(results[:, 1] ** 2))
        assert size == pytest.approx(errors, abs=0.25)
        assert share == pytest.approx(power, abs=0.06)


def test_holm_is_that_of_statsmodels():
    """0.011, 0.02, 0.04 of four: the book's example; nan takes no part."""
    assert holm([0.04, 0.011, float("nan"), 0.02, 0.9]) == pytest.approx(
        [0.08, 0.044, float("nan"), 0.06, 0.9], nan_ok=True
    )


def test_one_seed_gives_no_verdict():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1, 51)), rng.normal(size=(3, 51))
    assert np.isnan(difference(a, b)[2]) and difference(a, b)[0] == pytest.approx(a[0, 0] - b[:, 0].mean())


@pytest.fixture(scope="module")
def trained(outputs):
    """Two settings of linear and one of knn on one table, two seeds each; linear on another table."""
    frame = tiny_table("binary")
    words = ("dataset.target=y", *QUIET)
    for seed in (0, 1):
        for own in (("model=linear",), ("model=linear", "model.classifier.C=1e-4"), ("model=knn",)):
            fit(*own, *words, f"seed={seed}", data=frame)
        fit("model=linear", *words, f"seed={seed}", data=frame.iloc[:200])
    return frame


def test_runs_on_other_rows_stand_apart(trained):
    groups = comparable(list(all_runs()))
    assert [len(group) for group in groups] == [6, 2]
    assert len({run.report["data_digest"] for group in groups for run in group}) == 2


def test_a_board_groups_seeds_and_names_what_differs(trained):
    first, second = leaderboards()
    assert set(first.index) == {"linear model.classifier.C=1.0", "linear model.classifier.C=0.0001", "knn"}
    assert (first["seeds"] == 2).all() and first["val"].is_monotonic_decreasing and len(second) == 1
    runs = {run.name: run for run in all_runs()}
    for _, row in first.iterrows():
        own = [runs[name].report["metrics"] for name in row["runs"].split(",")]
        for part in ("val", "test"):
            values = [metrics[f"{part}/accuracy"] for metrics in own]
            assert row[part] == pytest.approx(np.mean(values))
            assert row[f"{part}_sd"] == pytest.approx(np.std(values, ddof=1))
        assert row["gap"] == pytest.approx(row["val"] - row["test"])


def test_a_setting_that_is_much_worse_is_called_worse(trained):
    table = board(comparable(list(all_runs()))[0], "log_loss")
    assert table["val"].is_monotonic_increasing  # the lower, the better
    assert table["verdict"].iloc[0] in ("best", "best on val")
    assert table.loc["linear model.classifier.C=0.0001", "verdict"] == "worse"


def test_the_verb(trained, shell):
    done = shell("leaderboard", "dataset=frame", "model=linear", "format=csv")
    assert done.returncode == 0
    first = pd.read_csv(pd.io.common.StringIO(done.stdout.partition("\n\n")[0]), index_col="setting")
    assert len(first) == 2 and first["runs"].str.count("t").eq(2).all()
    done = shell("leaderboard", "sweep=s9")
    assert (done.returncode, done.stderr) == (1, "error: there is no sweep 's9'; known: none\n")
    with pytest.raises(UserError, match=r"no run is done with model=knm: train some$"):
        leaderboards(model="knm")
    done = shell("leaderboard", "format=htm")
    assert done.returncode == 1 and "format=htm is unknown: did you mean html?" in done.stderr


def test_a_metric_of_another_task(trained):
    with pytest.raises(UserError, match="rmse is not a metric of a binary task"):
        leaderboards(metric="rmse")


def test_a_board_that_cannot_be_made_hides_no_other(trained, caplog):
    """A regression stands beside the classes; asked for f1, it is named and left out."""
    run = fit("model=linear", "dataset.target=y", *QUIET, data=tiny_table("regression"))
    assert len(leaderboards()) == 3
    with caplog.at_level("WARNING", logger="reprise"):
        logging.getLogger("reprise").propagate = True
        assert len(leaderboards(metric="f1")) == 2
    assert f"{run.name} on frame: metric=f1 is not a metric of a regression task" in caplog.text


def test_one_setting_alone_is_not_called_the_best(trained):
    assert list(leaderboards()[1]["verdict"]) == ["alone"]


@pytest.mark.parametrize("width", [72, 80, 300])
def test_a_narrow_terminal_gets_each_setting_below_its_numbers(trained, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = leaderboards()[0].rename(index="{} model.net.a_key_of_a_long_name=0.123456789".format)
    lines = shown([table], "text").splitlines()
    assert max(map(len, lines)) <= width
    for rank, (label, row) in enumerate(table.iterrows(), start=1):
        (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{rank}  "))
        assert lines[at].endswith(row["verdict"]) and f"{row['val']:.4f} " in lines[at]
        setting = lines[at] if width == 300 else " ".join(line.strip() for line in lines[at + 1 : at + 4])
        assert label.replace("0.123456789", "0.1235") in setting


def test_the_same_seed_again_is_no_second_seed(trained):
    """A search draws a value twice, a run is replayed: that says nothing about chance."""
    before = leaderboards()[0]
    again = fit("model=knn", "dataset.target=y", *QUIET, "seed=1", data=trained)
    table = leaderboards()[0]
    assert table["seeds"].tolist() == before["seeds"].tolist() == [2, 2, 2]
    old, new = (one.loc["knn", "runs"].split(",") for one in (before, table))
    assert new == [old[0], again.name], "the newest counts"
    assert table.loc["knn", "val_sd"] == before.loc["knn", "val_sd"]

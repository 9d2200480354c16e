"""experiment=strong_tabular: models with folds within a budget, combined; what does not fit is left out."""

from types import SimpleNamespace

import pytest
from conftest import tiny_table

from src import fit, load
from src.system.errors import UserError

KNN = "{model: knn, cost: 1, model.arguments.n_neighbors: 9}"
TEAM = f"team=[{{model: linear, cost: 1}}, {KNN}, {{model: sgd, cost: 1e6}}]"
QUIET = ("logger=csv", "pictures=false", "cv.n_folds=3")


@pytest.fixture(scope="module")
def path(outputs):
    tiny_table("binary").to_csv(outputs / "tiny.csv", index=False)
    return outputs / "tiny.csv"


@pytest.fixture
def told(monkeypatch):
    """What is said of the team itself."""
    lines = []
    kept = SimpleNamespace(info=lambda text, *more: lines.append(text % more))
    monkeypatch.setattr("src.study.run.log", kept)
    return lines


def words(path, *more: str) -> tuple[str, ...]:
    data = (f"dataset={path}", "dataset.target=y")
    return ("experiment=strong_tabular", *data, TEAM, *more, *QUIET)


def test_members_are_trained_with_folds_and_combined(path, told):
    run = fit(*words(path, "budget=300s"))
    members = [load(one["run"]) for one in run.report["members"]]
    assert [one.report["model"] for one in members] == ["linear", "knn"]
    assert all(len(one.report["folds"]) == 3 for one in members)
    assert members[1].cfg["model"]["arguments"]["n_neighbors"] == 9
    assert "left out  model=sgd: needs about" in told[0]
    rows = tiny_table("binary", seed=1).drop(columns="y")
    assert len(run.predict(rows)) == len(rows)
    again = fit(*words(path, "budget=300s"))  # no member is trained twice
    assert [one["run"] for one in again.report["members"]] == [one.name for one in members]


def test_one_model_in_a_short_budget_is_the_answer(path, told):
    run = fit(*words(path, TEAM.replace("knn, cost: 1,", "knn, cost: 1e6,"), "budget=1", "seed=3"))
    assert run.report["model"] == "linear" and len(run.report["folds"]) == 3
    assert f"{run.name} alone: budget=1 was too short for a second model" in told[-1]


def test_a_member_that_cannot_be_trained_is_left_out_with_its_reason(path, told):
    team = "team=[{model: nothing, cost: 1}, {model: linear, cost: 1}]"
    run = fit(*words(path, team, "seed=4"))
    assert run.report["model"] == "linear" and "left out  model=nothing: " in told[0]
    with pytest.raises(UserError, match="no model of the team could be trained"):
        fit(*words(path, "team=[{model: nothing, cost: 1}]"))


@pytest.mark.parametrize("budget", ["0", "abc", "300h"])
def test_a_wrong_budget_is_refused(path, budget):
    with pytest.raises(UserError, match=f"budget={budget}"):
        fit(*words(path, f"budget={budget}"))


@pytest.mark.parametrize(
    "member", ["linear", "{modle: linear, cost: 1}", "{model: linear}", "{model: linear, cost: x}",
               "{model: linear, cost: -1}", "{model: linear, cost: 1, lr: 3}"],
)  # fmt: skip
def test_a_wrong_member_is_refused(path, member):
    with pytest.raises(UserError, match=r"^team=\[.*should be a list of \{model: mlp, cost: 4\}"):
        fit(*words(path, f"team=[{member}]"))

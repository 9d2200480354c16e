"""A customer table as people have it: two commands, and no line of Python, to predictions of new rows."""

import re

import numpy as np
import pandas as pd
import pytest

from src import load
from src.metric.functions import auroc

N, N_NEW = 3000, 300


def customers() -> pd.DataFrame:
    """Return dates, ids, money, per cent, yes and no, 500 cities, a leak, and 6% that churned."""
    rng, n = np.random.default_rng(0), N + N_NEW
    income, usage = rng.lognormal(10.2, 0.5, n), rng.uniform(0, 1, n)
    since = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, n), "D")
    plan = rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1])
    renews = rng.choice(["yes", "no"], n)
    score = 2.0 * (usage < 0.25) + 1.5 * (renews == "no") + (plan == "basic") - income / 50_000
    score += rng.normal(0, 0.6, n)
    churned = score > np.quantile(score, 0.94)
    frame = pd.DataFrame({
        "Customer ID": [f"C{100_000 + i}" for i in range(n)],
        "Signup Date": since.strftime("%d/%m/%Y"),
        "Income ($)": [f"${x:,.2f}" for x in income],
        "usage": [f"{100 * x:.0f}%" for x in usage],
        "auto renew": renews, "plan": plan,
        "city": [f"city {i}" for i in rng.zipf(1.3, n) % 500],
        "zip": [f"{x:05d}" for x in rng.integers(5, 600, n)],
        "region": "EU",
        "refund": np.where(churned, rng.gamma(2, 30, n).round(2) + 1, 0.0),
        "row": np.arange(n),
        "churned": np.where(churned, "Yes", "No"),
    })  # fmt: skip
    frame.loc[::31, ["Income ($)", "plan"]] = ""
    return frame


@pytest.fixture(scope="module")
def shown(outputs, shell, tmp_path_factory):
    """Run the two commands; return what they print, the true answers, and the file of predictions."""
    folder, frame = tmp_path_factory.mktemp("churn"), customers()
    frame[:N].to_csv(folder / "churn.csv", index=False)
    frame[N:].drop(columns="churned").to_csv(folder / "new.csv", index=False)
    words = ("dataset.target=churned", "dataset.id=Customer ID", "dataset.ignore=[refund, row]")
    first = shell(
        "train", "model=hist_gb", f"dataset={folder}/churn.csv", *words, "logger=csv", "pictures=false"
    )
    assert first.returncode == 0, first.stderr
    second = shell("predict", "run=latest", f"input={folder}/new.csv", f"output={folder}/p.csv")
    assert second.returncode == 0, second.stderr
    return first.stdout, frame[N:].reset_index(drop=True), pd.read_csv(folder / "p.csv")


def test_columns_are_what_their_cells_are(shown):
    columns = load("t1").info["columns"]
    assert columns["numeric"] == ["Income ($)", "usage", "auto renew"]
    assert columns["dates"] == ["Signup Date"]
    assert columns["categorical"] == ["plan", "city", "zip"]
    assert load("t1").report["dataset"] == "churn"


def test_what_was_read_and_left_out_is_said(shown):
    for pattern in (
        r"target churned \(binary: No 9\d\.\d%, Yes \d\.\d%\)",
        r"Signup Date: '(..)/(..)/(....)' is \3-\2-\1\n", r"Income \(\$\): '\$(\d+),([\d.]+)' is \1\2\n",
        r"usage: '(\d+)%' is \1\n", r"auto renew: '(yes' is 1|no' is 0)",
        r"region: holds only 'EU'", r"as text, to keep all digits: zip", r"test  baseline",
    ):  # fmt: skip
        assert re.search(pattern, shown[0]), pattern


def test_new_rows_are_predicted_well(shown):
    _, truth, found = shown
    assert list(found.columns) == ["id", "prediction", "p_No", "p_Yes"]
    assert list(found["id"]) == list(truth["Customer ID"])
    assert set(found["prediction"]) == {"No", "Yes"}
    y, p = (truth["churned"] == "Yes").to_numpy().astype(int), found[["p_No", "p_Yes"]].to_numpy()
    assert auroc(y, p) > 0.85


def test_a_leak_and_a_counter_are_pointed_out(outputs, shell, tmp_path):
    customers()[:800].to_csv(tmp_path / "churn.csv", index=False)
    words = (f"dataset={tmp_path}/churn.csv", "dataset.target=churned", "logger=csv", "pictures=false")
    printed = shell("train", "model=linear", *words).stdout
    assert "refund alone tells churned in 100.0% of the training rows" in printed
    assert "row counts the rows" in printed and "Customer ID: text, 100% different" in printed

"""Metrics of a labelled file are those that the run recorded for the same rows."""

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit
from src.data import chunks
from src.dataset import csv
from src.evaluate import evaluate
from src.predict import predict
from src.run.table import of_part
from src.system.errors import UserError
from src.system.files import read_json


def etl(df):
    df["target"] = df.pop("y").astype(str).str.upper()
    return df


def trained(folder, task: str, function=None):
    """Return a run, and a file of its test rows; ``row`` keeps the number of the row."""
    frame = tiny_table(task).assign(row=range(240))
    frame.to_csv(folder / f"{task}.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        if function:
            patch.setattr(csv, "etl", function, raising=False)
        overrides = (f"dataset={folder}/{task}.csv", "dataset.id=row", "dataset.ignore=[row]", *QUIET)
        run = fit("model=linear", f"dataset.target={'target' if function else 'y'}", *overrides)
    frame.loc[run.arrays["test_id"]].to_csv(folder / "new.csv", index=False)
    return run


@pytest.mark.parametrize(
    ("task", "function"), [("binary", None), ("binary", etl), ("multiclass", None), ("regression", None)]
)
def test_the_test_rows_have_the_recorded_metrics(outputs, tmp_path, monkeypatch, capsys, task, function):
    """Read in pieces; the table and the picture are there."""
    monkeypatch.setattr(chunks, "N_BYTES", 2000)
    run = trained(tmp_path, task, function)
    capsys.readouterr()
    found = evaluate(run.name, str(tmp_path / "new.csv"), output=str(tmp_path / "metrics.json"))
    assert found == pytest.approx(of_part(run.report["metrics"], "test"), rel=1e-12, nan_ok=True)
    shown = capsys.readouterr().out
    assert f"{run.folder}/plots/new.png" in shown and "here: 48 rows of new" in shown
    deciding = run.report["metric"]["name"]
    line = next(line for line in shown.splitlines() if line.startswith(f"{deciding} *"))
    assert line.split()[2] == line.split()[3] == f"{found[deciding]:.4f}"
    assert (run.folder / "plots/new.png").read_bytes()[:4] == b"\x89PNG"
    saved = read_json(tmp_path / "metrics.json")
    assert saved["rows"] == 48 and saved["loss"] == found["loss"]


@pytest.fixture(scope="module")
def run(outputs):
    return trained(outputs, "binary")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.drop(columns="y"), "lack the target y"),
        (lambda frame: frame.assign(y="perhaps"), "class 'perhaps' of y occurs in these rows but not"),
        (lambda frame: frame.assign(y=np.nan), "no row has a target in y"),
        (lambda frame: frame.drop(columns="a"), "missing column: a"),
    ],
)
def test_mistakes_are_one_sentence(run, tmp_path, change, sentence):
    change(tiny_table("binary", 30)).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match=sentence):
        evaluate(run.name, str(tmp_path / "new.csv"))


def test_rows_without_a_target_are_left_out(run, tmp_path):
    frame = tiny_table("binary", 60)
    frame.to_csv(tmp_path / "all.csv", index=False)
    lost = pd.concat([frame, frame.head(9).assign(y=None)])
    lost.to_csv(tmp_path / "lost.csv", index=False)
    assert evaluate(run.name, str(tmp_path / "lost.csv")) == evaluate(run.name, str(tmp_path / "all.csv"))


def test_labels_of_sequences_come_from_a_table(outputs, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGT"), 12)) for _ in range(150)]
    labels = ["yes" if row.count("A") > 3 else "no" for row in rows]
    for name, some in (("all", range(150)), ("new", range(100, 150))):
        (tmp_path / f"{name}.fa").write_text("".join(f">s{i}\n{rows[i]}\n" for i in some))
        table = pd.DataFrame({"id": [f"s{i}" for i in some], "label": [labels[i] for i in some]})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    words = (f"dataset={tmp_path}/all.fa", f"dataset.labels={tmp_path}/all.csv", "dataset.target=label")
    run = fit("model=linear", *words, "dataset.id=id", *QUIET)
    found = evaluate(run.name, str(tmp_path / "new.fa"), labels=str(tmp_path / "new.csv"))
    predict(run.name, str(tmp_path / "new.fa"), str(tmp_path / "p.csv"))
    rows = pd.read_csv(tmp_path / "p.csv")
    assert rows["id"].tolist() == [f"s{i}" for i in range(100, 150)]
    assert found["accuracy"] == (rows["prediction"] == labels[100:]).mean() > 0.5

"""Reports: one file with what a reader asks, right numbers, nothing from elsewhere, nothing that runs."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table, tiny_text

from src import fit
from src.metric.functions import accuracy
from src.report import report
from src.study.report import BOUNDS, of_run
from src.system.errors import UserError

NEEDED_BY_SVG = ("http://www.w3.org/",)


@pytest.fixture(scope="module")
def runs(outputs):
    """A run of each task, on files; the first has pictures."""
    frames = {task: tiny_table(task, 600) for task in ("binary", "regression")} | {"text": tiny_text()}
    frames["binary"].loc[5, "colour"] = "<script>alert(1)</script> | $x$"
    made = {}
    for name, frame in frames.items():
        frame.to_csv(outputs / f"{name}.csv", index=False)
        words = (f"dataset.path={outputs / name}.csv", f"dataset.target={'label' if name == 'text' else 'y'}")
        quiet = ("logger=csv",) if name == "binary" else QUIET
        made[name] = fit("model=linear", "dataset=csv", *words, *quiet)
    return made


def table(text: str, heading: str) -> pd.DataFrame:
    """Return the table below a heading of a page."""
    body = text.partition(f"<h2>{heading}</h2>")[2].partition("</table>")[0]
    head, *rows = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("<tr")[1:])
    frame = pd.DataFrame([map(unescape, row) for row in rows], columns=head)
    numbers = {name: pd.to_numeric(column, errors="coerce") for name, column in frame.items()}
    return frame.assign(**{name: column for name, column in numbers.items() if column.notna().all()})


@pytest.mark.parametrize("task", ["binary", "regression", "text"])
def test_the_page_of_a_run_has_its_numbers_and_its_worst_rows(runs, task):
    run = runs[task]
    text = report(run=run.name).read_text()
    metrics = table(text, "Metrics").set_index("metric")
    for part in ("val", "test"):
        for name in metrics.index:
            assert metrics[part][name] == pytest.approx(run.report["metrics"][f"{part}/{name}"], abs=5e-5)
    y, p = run.arrays["test_y"], run.arrays["test_p"]
    worst = table(text, "Worst errors on test")
    distance = np.abs(y - p) if task == "regression" else 1 - p[np.arange(len(y)), y]
    assert worst["id"].tolist() == run.arrays["test_id"][np.argsort(-distance, kind="stable")[:10]].tolist()
    data = pd.read_csv(run.cfg["dataset"]["path"])
    read = ["sentence"] if task == "text" else ["a", "b", "c", "d", "colour"]
    assert [*worst.columns] == ["id", "true", "predicted", *read]
    target = data[run.info["target"]][worst["id"]]
    target = target.tolist() if task != "regression" else pytest.approx(target.tolist(), rel=1e-3)
    assert worst["true"].tolist() == target
    if task != "text":
        assert np.allclose(worst["a"], data["a"][worst["id"]], atol=1e-5)


def test_the_interval_is_that_of_the_test_rows(runs):
    """For accuracy a delete-a-group jackknife is close to the binomial formula."""
    run = runs["binary"]
    low, high = map(float, table(report(run=run.name).read_text(), "Metrics").set_index("metric")
                    ["95% interval on test"]["accuracy"].split(" to "))  # fmt: skip
    y, p = run.arrays["test_y"], run.arrays["test_p"]
    share = accuracy(y, p)
    half = 1.96 * np.sqrt(share * (1 - share) / len(y))
    assert low < share < high and high - low == pytest.approx(min(1, share + half) - (share - half), rel=0.4)
    assert all(least < most for least, most in BOUNDS.values())


def test_nothing_comes_from_elsewhere_and_cells_are_no_code(runs):
    text = report(run=runs["binary"].name).read_text()
    addresses = [one for one in re.findall(r"https?://[^\s\"'<]*", text) if not one.startswith(NEEDED_BY_SVG)]
    assert not addresses and "<script>" not in text
    assert text.count("data:image/png;base64,") == len(runs["binary"].plots) > 0


def test_markdown_names_the_pictures_beside_it(runs, tmp_path):
    run = runs["binary"]
    path = report(run=run.name, format="markdown")
    text = path.read_text()
    named = re.findall(r"!\[\w+\]\((.*?)\)", text)
    assert named == [f"plots/{name}.png" for name in run.plots]
    assert all((run.folder / one).is_file() for one in named)
    assert f"| accuracy | {run.report['train_metrics']['accuracy']:.4f} |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace(r"\|", "").count("|") == rows[0].count("|") for line in rows[:2])
    elsewhere = report(run=run.name, format="markdown", output=str(tmp_path / "x.md"))
    assert f"({run.folder}/plots/" in elsewhere.read_text()


def test_several_runs_are_compared_and_those_that_cannot_be_are_apart(runs):
    path = runs["binary"].cfg["dataset"]["path"]
    other = fit("model=knn", "dataset=csv", f"dataset.path={path}", "dataset.target=y", *QUIET)
    names = [runs["binary"].name, other.name, runs["regression"].name]
    text = report(runs=",".join(names)).read_text()
    assert "not comparable" in text and "unknown: one seed" in text
    assert f"<h3>{names[0]} and {other.name}</h3>" in text and "model.name: linear -&gt; knn" in text
    for run in (runs["binary"], other, runs["regression"]):
        assert f"<h1>{run.name}: " in text


def test_a_frame_in_memory_has_no_worst_rows_and_says_so(outputs, caplog):
    run = fit("model=linear", *QUIET, data=tiny_table("binary", 200), target="y")
    with caplog.at_level("WARNING", "reprise"):
        text = of_run(run.name, "html").read_text()
    assert "Worst errors" not in text and "was trained on a frame in memory" in caplog.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "name one of run=t7, sweep=s3 and runs=t3,t7"),
        ({"run": "t1", "sweep": "s1"}, "name one of"),
        ({"run": "t999"}, "no run t999"),
        ({"sweep": "s99"}, "s99"),
        ({"runs": "t1", "format": "markdown"}, "format=markdown: should be html or, of one run, markdown"),
        ({"run": "t1", "format": "pdf"}, "format=pdf: should be html"),
    ],
)
def test_mistakes_are_one_sentence(runs, words, says):
    with pytest.raises(UserError, match=says):
        report(**words)

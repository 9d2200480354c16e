"""The notebooks as a user would run them, in a Jupyter kernel; and an interrupt in the middle of a fit."""

import json
import os
import re
import time

import nbformat
import pytest
from conftest import CHECKOUT
from nbclient import NotebookClient

from src import load, runs

INTERRUPTED = """
import os, signal, threading, time
from src import load

def stop():
    while not runs().iloc[-1]["status"] == "running" or len(load(-1).rows) < 3:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)  # as Jupyter's stop button does

threading.Thread(target=stop, daemon=True).start()
fit(model=GatedMLP, dataset="wine", max_epochs=100_000, patience=None, logger="csv")
"""
AFTER = """
fit("model=linear", "dataset=wine", "logger=csv", "pictures=false").status
"""


@pytest.fixture(scope="module")
def cells(outputs):
    """The cells of notebooks/02_own_net.ipynb after they ran, and an interrupted one."""
    book = nbformat.read(CHECKOUT / "notebooks" / "02_own_net.ipynb", as_version=4)
    for text in (INTERRUPTED, AFTER):
        book.cells.append(nbformat.v4.new_code_cell(text, metadata={"tags": ["raises-exception"]}))
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        NotebookClient(book, timeout=240, kernel_name="python3").execute(cwd=str(CHECKOUT / "notebooks"))
    return [cell for cell in book.cells if cell.cell_type == "code"]


def find(cells, text: str):
    return next(cell for cell in cells if text in cell.source)


def shown(cell) -> str:
    """Return what a cell's last line is, as text."""
    return next(one for one in cell.outputs if one.output_type == "execute_result")["data"]["text/plain"]


def error(cell) -> list[str]:
    """Return the lines of a cell's error as the notebook shows them."""
    (found,) = [one for one in cell.outputs if one.output_type == "error"]
    return "\n".join(found["traceback"]).splitlines()


OTHERS = [path for path in sorted((CHECKOUT / "notebooks").glob("*.ipynb")) if "own_net" not in path.stem]
SAYS = {  # a cell of a notebook, what it shows
    "01_first_run": {"ours.predict(": "p_yes", 'model=hist_bg"': "did you mean hist_gb", "runs()": "hist_gb"},
    "03_sweep_compare_ask": {"board[[": "verdict", "found.sort": "test/accuracy", "sure_and_right)": "final"},
    "04_dna": {"groupby": "GACTCA|GAGTCA|TGACTC", "linear = fit": r"'dna_cnn': (1\.0|0\.[89])"},
    "06_folds_ensemble_export_serve": {
        "both = ensemble_runs": "brought", 'report["difference"]': "e-0", 'told["runtime"]': "'onnx'.*'p_",
    },
    "05_versions_and_replay": {"again = run_etl": "v2", "reload_etl(": "True", "identical": "True"},
}


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_any_directory(path, tmp_path, monkeypatch):
    book = nbformat.read(path, as_version=4)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    began = time.monotonic()
    NotebookClient(book, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    assert time.monotonic() - began < 120
    for text, says in SAYS[path.stem].items():
        assert re.search(says, json.dumps(find(book.cells[2:], text).outputs)), text


def test_the_notebook_has_no_outputs_in_git():
    for path in (CHECKOUT / "notebooks").glob("*.ipynb"):
        assert not any(cell.get("outputs") for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])


def test_a_net_and_a_metric_of_cells_train_and_replay(cells):
    assert re.fullmatch(r"t1: GatedMLP on wine, done, val/accuracy .*", shown(find(cells, "width=16, lr")))
    assert "val/accuracy" in shown(find(cells, "run.history"))
    assert re.search(r"part +id +y +prediction +p_class_0", shown(find(cells, "sure.predictions")))
    assert shown(find(cells, "replay_train(")) == "True"
    assert load("t2").report["metric"]["name"] == "sure_hits" and load("t3").report["replay_of"] == "t2"


def test_pictures_are_shown(cells):
    (data,) = [one["data"] for one in find(cells, "run.plots").outputs if "data" in one]
    assert data["text/html"].count("data:image/png;base64,") == 2  # the curves, and the test part


def test_mistakes_are_one_sentence(cells):
    assert error(find(cells, "flats = pd")) == [
        "error: GatedMLP.forward takes no x_cat, but the data has categorical columns: take x_cat in "
        "forward; or leave its columns out, dataset.ignore=[town]; or make them numbers, in an etl or with "
        "src.model.embed.Embed"
    ]
    (line,) = error(find(cells, "widht"))
    assert re.fullmatch(r"error: __main__.GatedMLP takes no widht: did you mean width\?", line)


def test_the_rest_of_the_notebook_runs(cells):
    assert re.search(r"part +id +y +prediction$", shown(find(cells, "flats_run.predictions")), re.MULTILINE)
    assert "ExtraTreesRegressor on" in shown(find(cells, "ExtraTreesRegressor("))
    assert "sure_hits" in shown(find(cells, "runs()[["))


def test_a_stopped_cell_leaves_a_run_that_goes_on(cells):
    """One line instead of forty, a record so far, and the kernel lives."""
    (line,) = error(find(cells, "as Jupyter's stop button"))
    name = runs().query("status == 'stopped'").index[-1]
    assert line == f'KeyboardInterrupt: {name} is stopped; resume_train("{name}") goes on with it'
    assert len(load(name).rows) >= 3
    assert shown(cells[-1]) == "'done'"

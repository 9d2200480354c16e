"""docs/adding.md: its files are written into a folder, and its commands use them, as a user would."""

import json
import re
import runpy
import shlex
import zipfile

import numpy as np
import pytest
from conftest import CHECKOUT, QUIET

from src import load
from src.config import tree
from src.data.versions import complete_versions
from src.dataset import wine
from src.export import export
from src.format.load import exported
from src.run.overview import places
from src.run.trackers import sync_run
from src.system.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # verbs run as in the shell
TEXT = (CHECKOUT / "docs/adding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:yaml|python)\n# (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TYPED = re.search(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def folder(outputs, tmp_path_factory):
    """A user's folder in which all commands of the page were typed; the runs are t1 to t7."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for name, content in BLOCKS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        for line in TYPED:
            verb, *words = shlex.split(line.partition("-m src.")[2])
            words += [] if verb != "train" else [QUIET[1]] if "logger=lines" in words else QUIET
            patch.setattr("sys.argv", [verb, *words])
            try:
                runpy.run_module(f"src.{verb}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                assert end.code == 0, line
            tree.own.clear()
        yield folder


def test_a_dataset(folder):
    run = load("t1")
    n = run.report["train_rows"][1] + len(run.arrays["val_y"]) + len(run.arrays["test_y"])
    assert run.report["dataset"] == "squares" and run.info["task"] == "regression"
    x = np.random.default_rng(0).normal(size=(200, 3))[:, 0]
    assert n == (x > -2).sum() < 200
    assert complete_versions("squares") == ["v1"]


def test_models(folder):
    assert len(load("t2").rows) == 10 and load("t2").report["model"] == "extra_trees"
    net, (written,) = load("t3"), re.findall(r"d_hidden=(\d+)", "".join(TYPED))
    assert net.cfg["model"]["net"] == {"class": "my_nets.Gated", "d_hidden": int(written)}
    assert net.report["best_epoch"] is not None and (net.folder / "model/model_t3.pt").is_file()


def test_a_metric(folder):
    p, y = load("t4").arrays["val_p"], load("t4").arrays["val_y"]
    expected = np.mean([y[i] in np.argsort(p[i])[-2:] for i in range(len(y))])
    assert load("t4").report["metrics"]["val/top2"] == expected


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "lines.jsonl").read_text().splitlines()]


def test_a_logger(folder):
    run = load("t3")
    rows = [{key: row[key] for key in ("epoch", "val/loss")} for row in lines(run) if "epoch" in row]
    assert rows == [{key: row[key] for key in ("epoch", "val/loss")} for row in run.rows]
    *_, final, status = lines(run)
    assert run.report["metrics"].items() <= final["metrics"].items() and final["run"] == "t3 gated wine"
    assert status == {"run": "t3 gated wine", "status": "done"}
    assert places(run).splitlines()[3] == f"Lines     {run.folder}/lines.jsonl"


def test_a_logger_that_fails_leaves_its_run_and_gets_it_afterwards(folder):
    """Its module is broken at a first sync, and mended before the second."""
    path, run = folder / "my_loggers.py", load("t3")
    good = path.read_text()
    path.write_text("import nothing_of_this_name\n")
    answers = json.loads((run.folder / "trackers.json").read_text())
    (run.folder / "trackers.json").write_text("{}")
    try:
        found = sync_run(run)["my_loggers.Lines"]["error"]
        assert found.startswith("my_loggers.Lines cannot be imported: No module named 'nothing_of_this_name'")
    finally:
        path.write_text(good)
    (run.folder / "lines.jsonl").unlink()
    assert sync_run(run)["my_loggers.Lines"] == answers["my_loggers.Lines"]
    assert len(lines(run)) == len(run.rows) + 2


def test_a_space(folder):
    strengths = [load(name).cfg["model"]["classifier"]["C"] for name in ("t5", "t6", "t7")]
    assert len({*strengths}) == 3 and all(0.1 <= C <= 10 for C in strengths)


def test_a_format(folder):
    run, frame = load("t4"), wine.read({})
    ours = exported(run, "my_formats.Json").predict_proba(frame)
    assert np.abs(ours - run.predict_proba(frame)).max() < 1e-6
    with pytest.raises(UserError, match=r"t2 cannot be written as my_formats\.Json: .* is no model=linear"):
        export("t2", "my_formats.Json")
    with pytest.raises(UserError, match=r"my_formats\.Jsn cannot be imported"):
        export("t4", "my_formats.Jsn")


def test_code_of_the_user_is_recorded_and_needs_trust_in_a_run_from_elsewhere(folder, outputs):
    """A copy in another folder of runs is as one that was received."""
    with zipfile.ZipFile(load("t1").folder / "code.zip") as archive:
        assert archive.read("my_data.py").decode() == (folder / "my_data.py").read_text()
    with zipfile.ZipFile(load("t3").folder / "code.zip") as archive:
        assert {"my_nets.py", "my_loggers.py"} <= {*archive.namelist()}
    report = load("t3").folder / "report.json"
    before = report.read_text()
    report.write_text(json.dumps(json.loads(before) | {"sealed": None, "signed": None}))
    (load("t3").folder / "trackers.json").write_text("{}")
    with pytest.raises(UserError, match=r"t3 was not made here, .* add trust=true"):
        sync_run(load("t3"))
    assert sync_run(load("t3", trust=True))["my_loggers.Lines"]["closed"] is True
    report.write_text(before)


@pytest.mark.parametrize(("name", "content"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_each_file_is_short_and_says_how_it_is_used(name, content):
    assert len(content.splitlines()) < 40
    comments = re.findall(r"^# *(.*)$", content, re.MULTILINE)
    if name.endswith(".yaml"):
        typed = [line for line in comments if line.startswith("python -m src.train --config-dir conf")]
        assert len(typed) == 1 and name.removesuffix(".yaml").rpartition("/")[2] in typed[0]

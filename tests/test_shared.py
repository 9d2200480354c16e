"""Jobs of a sweep share their data: it is read once, prepared once, and no job can change another one's."""

import json
import re
import subprocess
import sys

import forks
import numpy as np
import pytest
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text

from src import fit, load, replay_train, sweep
from src.config.compose import compose
from src.data import shared
from src.data.digest import arrays_digest
from src.data.load import load_data
from src.data.shared import load_shared

OPTIONS = {"scaler": "quantile", "class_weight": None}


@pytest.fixture
def counted(monkeypatch):
    """{"load_frame": how often tables were read, "arrays_of": how often arrays were prepared}."""
    monkeypatch.setattr(shared, "_frames", {})
    counts = {"load_frame": 0, "arrays_of": 0}
    for name in counts:
        function = getattr(shared, name)

        def call(*args, name=name, function=function, **options):
            counts[name] += 1
            return function(*args, **options)

        monkeypatch.setattr(shared, name, call)
    return counts


def section(path, *overrides: str) -> dict:
    return compose([f"dataset={path}", "dataset.target=y", *overrides])["dataset"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    tiny_table("binary").to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "text", "dates, ids, weights"])
def test_shared_data_is_what_reading_gives(outputs, tmp_path, kind):
    """Arrays with their dtypes and order in memory, info, transforms, notes and source; NaN and all."""
    frame = tiny_text().rename(columns={"label": "y"}) if kind == "text" else None
    frame = tiny_table(kind if kind in ("multiclass", "regression") else "binary") if frame is None else frame
    overrides = []
    if kind == "dates, ids, weights":
        number = frame.index.astype(str)
        frame = frame.assign(born="2020-01-" + (frame.index % 28 + 1).astype(str), name="n" + number)
        frame["w"] = np.linspace(0.5, 2, len(frame))
        overrides = ["dataset.id=name", "dataset.weight=w"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    cfg = section(tmp_path / "t.csv", *overrides)
    plain = load_data(cfg, seed=3, **OPTIONS)
    for _ in range(2):
        found = load_shared(tmp_path / "shared", cfg, seed=3, **OPTIONS)
        assert arrays_digest(found.parts) == arrays_digest(plain.parts)
        for name in ("info", "transforms", "notes", "source"):
            assert repr(getattr(found, name)) == repr(getattr(plain, name))
        for part, arrays in plain.parts.items():
            assert list(found.parts[part]) == list(arrays)
            for key, values in arrays.items():
                same = found.parts[part][key]
                assert same.dtype == values.dtype and same.flags.f_contiguous == values.flags.f_contiguous


def test_what_differs_is_prepared_again_and_nothing_else(outputs, table, tmp_path, counted):
    cfg, folder = section(table), tmp_path / "shared"

    def after(cfg=cfg, seed=0, **options) -> tuple[int, int]:
        data = load_shared(folder, cfg, seed=seed, **(OPTIONS | options))
        plain = load_data(cfg, seed=seed, **(OPTIONS | options))
        assert arrays_digest(data.parts) == arrays_digest(plain.parts)
        return counted["load_frame"], counted["arrays_of"]

    assert after() == (1, 1) and after() == (1, 1)
    assert after(seed=1) == (1, 2)  # another val
    assert after(scaler="standard") == (1, 3) and after(class_weight="balanced") == (1, 4)
    assert after(seed=1) == (1, 4)
    other = section(table, "dataset.ignore=[a]")
    assert after(other) == (2, 5)
    tiny_table("binary", seed=5).to_csv(table, index=False)
    assert after() == (3, 6)  # the file has changed


def test_seeds_share_arrays_where_a_column_cuts_val(outputs, table, tmp_path, counted):
    frame = tiny_table("binary")
    frame["part"] = np.repeat(["train", "val", "test"], [160, 40, 40])
    frame.to_csv(table, index=False)
    cfg = section(table, "dataset.split=part")
    found = [load_shared(tmp_path / "s", cfg, seed=seed, **OPTIONS) for seed in range(3)]
    digests = {arrays_digest(data.parts) for data in found}
    assert len(digests) == 1 and counted == {"load_frame": 1, "arrays_of": 1}


def test_a_job_that_writes_into_its_arrays_changes_no_other_job(outputs, table, tmp_path):
    cfg = section(table)
    first = load_shared(tmp_path / "s", cfg, seed=0, **OPTIONS)
    before = arrays_digest(first.parts)
    for arrays in first.parts.values():
        for values in arrays.values():
            values[:] = 0
    assert arrays_digest(first.parts) != before
    assert arrays_digest(load_shared(tmp_path / "s", cfg, seed=0, **OPTIONS).parts) == before


@pytest.mark.slow
def test_tables_kept_in_memory_are_bounded(outputs, tmp_path, monkeypatch, counted):
    """In number and in size; the arrays of a table that is not kept are."""
    monkeypatch.setattr(shared, "N_FRAMES", 1)
    paths = [tmp_path / f"t{i}.csv" for i in range(2)]
    for i, path in enumerate(paths):
        tiny_table("binary", n=60, seed=i).to_csv(path, index=False)
    first, second = map(section, paths)
    for cfg in (first, second, first, second):
        load_shared(tmp_path / "s", cfg, seed=0, **OPTIONS)
    assert len(shared._frames) == 1 and counted == {"load_frame": 2, "arrays_of": 2}
    load_shared(tmp_path / "s", second, seed=1, **OPTIONS)
    assert counted["load_frame"] == 2
    monkeypatch.setattr(shared, "MAX_FRAME", 10)
    load_shared(tmp_path / "s", first, seed=1, **OPTIONS)
    load_shared(tmp_path / "s", first, seed=2, **OPTIONS)
    assert counted["load_frame"] == 4 and len(shared._frames) == 1


@pytest.mark.parametrize("trouble", ["full", "share", "object"])
def test_data_that_cannot_be_shared_is_read(outputs, table, tmp_path, monkeypatch, trouble):
    """Nothing half-written is left; one line says why."""
    folder, cfg = tmp_path / "s", section(table)
    plain = load_data(cfg, seed=0, **OPTIONS)

    def refuse(*args, **options):
        raise OSError(28, "No space left on device")

    if trouble == "full":
        monkeypatch.setattr(shared.np, "save", refuse)
    elif trouble == "share":
        monkeypatch.setattr(shared, "MAX_DISK", 0)
    else:
        made = shared.arrays_of
        plain.parts["val"]["id"] = plain.parts["val"]["id"].astype(object)
        monkeypatch.setattr(shared, "arrays_of", lambda *args, **options: made(*args, **options) and plain)
    said = []
    monkeypatch.setattr(shared.log, "info", lambda text, *values: said.append(text % values))
    data = load_shared(folder, cfg, seed=0, **OPTIONS)
    assert len(data.parts["val"]["y"]) == len(plain.parts["val"]["y"])
    assert all(np.array_equal(data.parts["test"][key], x) for key, x in plain.parts["test"].items())
    assert sum("not kept for other jobs of the sweep" in line for line in said) == 1
    assert not folder.is_dir() or not any(path.is_dir() for path in folder.iterdir())


SCRIPT = """
import json, sys
from src.data import shared
counts = {"load_frame": 0, "arrays_of": 0}
for name in counts:
    def call(*args, name=name, function=getattr(shared, name), **options):
        counts[name] += 1
        return function(*args, **options)
    setattr(shared, name, call)
from pathlib import Path
cfg = json.loads(sys.argv[2])
for scaler in ("quantile", "standard"):
    shared.load_shared(Path(sys.argv[1]), cfg, seed=0, scaler=scaler, class_weight=None)
print(json.dumps(counts))
"""


def test_two_processes_prepare_once(outputs, table, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "s"), json.dumps(section(table))]
    both = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [json.loads(one.communicate(timeout=100)[0].splitlines()[-1]) for one in both]
    assert sum(count["arrays_of"] for count in counts) == 2
    assert sum(count["load_frame"] for count in counts) in (1, 2)  # once in a process


SAME = ("metrics", "arrays_digest", "data_digest", "etl_version", "input_path", "input_digest", "notes")


def trained(outputs, table, *words: str) -> list:
    """The runs of a sweep of four jobs, which reads its file once: a reading of other signs says so."""
    tiny_table("binary").to_csv(table, index=False, sep=";")
    words = (f"dataset={table}", "dataset.target=y", "model.scaler=standard", *QUIET, *words)
    done = forks.call("src.train", "--multirun", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    name = re.search(r"(s\d+)   4 jobs", done.stdout)[1]
    assert not (outputs / "sweeps" / name / ".data").exists()
    runs = [load(run) for run in sweep(name)["run"]]
    logs = "".join((run.folder / "log.txt").read_text() for run in runs)
    assert logs.count("file     people.csv, separator ;") == 1
    assert len(runs) == 4 and len({run.report["arrays_digest"] for run in runs}) == 1
    return runs


def test_a_sweep_reads_its_file_once(outputs, table):
    """Its runs are those of fits that read the file themselves."""
    runs = trained(outputs, table, "model=linear", "model.classifier.C=1,2,4,8")
    words = [f"dataset={table}", "dataset.target=y", "model=linear", "model.scaler=standard", *QUIET]
    alone = fit(*words, "model.classifier.C=8")
    assert all(alone.report[key] == runs[-1].report[key] for key in SAME)
    assert all(np.array_equal(values, runs[-1].arrays[key]) for key, values in alone.arrays.items())


@pytest.mark.slow
def test_two_workers_read_the_file_of_a_sweep_once(outputs, table):
    """A replay, which reads the file, is identical for each family."""
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=1,2")
    for run in trained(outputs, table, "model=hist_gb,mlp", *words)[::2]:
        assert replay_train(run.name)["identical"]
        again = load("latest")
        assert all(again.report[key] == run.report[key] for key in SAME)

"""Every model in every format on a table, a text and DNA: how far from the run, and how fast beside it.

DATA_DIR=... python benchmarks/parity.py                    # all: about 8 minutes on 2 cores
DATA_DIR=... python benchmarks/parity.py adult linear,mlp   # datasets, models; README.md stays as it is
DATA_DIR=... python benchmarks/parity.py adult team         # the team of strong_tabular as one file
DATA_DIR=... OUTPUTS_DIR=folder python benchmarks/parity.py # keeps its rows: the same command goes on

A model is fitted once on few rows for one epoch. Its exports are proven in this process, which has the
libraries; `python -m src.export` proves in a new one. The times are medians of ten batches in microseconds
a row: of the file and the run from arrays to predictions; of `pyfunc` and the run beside it from raw rows; of
the run beside the team's file from rows after the ETL.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sides import table

from src import fit
from src.config.tree import choices
from src.data.load import read_dataset
from src.data.prepare import apply_transforms
from src.format import export as exporting
from src.format.export import FORMATS, N_ROWS
from src.format.proof import prove
from src.run.again import origin
from src.run.members import node_of
from src.run.rows import rows_of
from src.share import pyfolder
from src.system.errors import UserError
from src.trainer.family import family

DATA = {  # dataset -> overrides that make it small
    "adult": ("dataset.max_rows=2000",),
    "sst2": ("dataset.max_rows=1000",),
    "prom_core_tata": ("dataset.max_rows=1000",),
}
TEAM = ("experiment=strong_tabular", "dataset=california_housing", "dataset.max_rows=1000", "cv.n_folds=3")
MODELS = [name for name in choices("model") if name != "pretrained"]  # which needs a folder or the hub
DEFAULTS = (",".join(DATA), ",".join([*MODELS, "team"]))
SMALL = ("trainer.max_epochs=1", "logger=csv", "pictures=false")
SIZES = (1, 257)
HEAD = "| data | model | format | difference | µs a row, one by one | run | 257 at once | run |"
HEAD += "\n|---|---|---|---|---|---|---|---|"


def microseconds(predict, rows) -> list[float]:
    """Return the microseconds a row for each of `SIZES`; ``rows(places)`` are the rows at some places."""
    found = []
    for size in SIZES:
        part, times = rows(np.arange(size)), []
        for _ in range(11):
            began = time.perf_counter()
            predict(part)
            times.append(time.perf_counter() - began)
        found.append(1e6 * float(np.median(times[1:])) / size)
    return found


def of_run(run, frame, form: str) -> list[float]:
    """Return the microseconds a row of the run's own model, given what the format is given."""
    if form == "pyfunc":
        raw = read_dataset(run.cfg["dataset"], origin(run))[0].head(N_ROWS)
        return microseconds(run.predict, lambda places: raw.iloc[places % len(raw)])
    leaf, some = node_of(run), lambda places: frame.iloc[places % len(frame)]
    if "members" in leaf:
        return microseconds(run._predictor.output, some)
    own = family(leaf["model"])
    model = own.load(Path(leaf["file"]), leaf["model"], run.info)
    return microseconds(
        lambda part: own.predict(model, part, run.info),
        lambda places: apply_transforms(leaf["transforms"], some(places)),
    )


def here(run, path: Path, y, form: str) -> dict:
    """Prove an export within this process; a file that cannot be used is refused as by a new process."""
    try:
        return {"file": path.name} | json.loads(json.dumps(prove(path, run.info, form)))
    except Exception as error:  # whatever a format's library raises
        raise UserError(f"{path.name} cannot be used: {str(error).splitlines()[-1][:100]}") from error


def folder_here(name: str, folder: Path) -> str:
    """Prove a folder for MLflow within this process."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as said:
        exec(pyfolder.PROOF, {})
    return said.getvalue()


def lines(data: str, model: str):
    """Yield a line for each format of one model on one dataset."""
    words = (*TEAM, "budget=600") if model == "team" else (f"model={model}", f"dataset={data}", *DATA[data])
    try:
        run = fit(*words, *SMALL)
    except UserError as error:
        yield f"| {data} | `{model}` | | {error} | | | | |"
        return
    frame = rows_of(run, "test").head(N_ROWS)
    own = {form: of_run(run, frame, form) for form in ("arrays", "pyfunc")}
    for form in (*(["onnx"] if model == "team" else FORMATS["net" in run.cfg["model"]]), "pyfunc"):
        try:
            report = pyfolder.export(run) if form == "pyfunc" else exporting.export(run, form)
        except UserError as error:
            yield f"| {data} | `{model}` | {form} | {str(error).partition(': ')[2]} | | | | |"
            continue
        theirs = [1000 * report["ms_per_row"][str(size)] for size in SIZES]
        pairs = zip(theirs, own.get(form, own["arrays"]), strict=True)
        cells = " | ".join(f"{x:,.1f}" for pair in pairs for x in pair)
        yield f"| {data} | `{model}` | {form} | {report['difference']:.1e} | {cells} |"


def rows(names: list[str], models: list[str], kept: Path):
    """Yield all lines; those that ``kept`` holds are not measured again."""
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    pairs = [(data, model) for data in names for model in models if model != "team"]
    pairs += [("california_housing", "team")] * ("team" in models)
    for data, model in pairs:
        if f"{data} {model}" not in known:
            known[f"{data} {model}"] = [*lines(data, model)]
            kept.write_text(json.dumps(known, indent=1), encoding="utf-8")
        yield from known[f"{data} {model}"]


if __name__ == "__main__":
    exporting._proven, pyfolder._proven = here, folder_here
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(os.environ.setdefault("OUTPUTS_DIR", folder))
        folder.mkdir(parents=True, exist_ok=True)
        datasets, models = ([*word.split(",")] for word in (*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]))
        table("parity", HEAD, rows(datasets, models, folder / "parity.json"))

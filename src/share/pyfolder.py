"""A run as a folder that MLflow loads, proven in a process that knows nothing but this folder."""

from src.data.load import read_dataset
from src.format.export import N_ROWS, check, found_by, placed
from src.run.again import origin
from src.run.folder import Run
from src.run.trust import check_trust
from src.share.registry import model_of
from src.system.errors import UserError
from src.system.files import write_json

PROOF = """
import json, time
import mlflow.pyfunc, numpy, pandas
model = mlflow.pyfunc.load_model("model")
rows, wanted = pandas.read_parquet("rows.parquet"), pandas.read_parquet("p.parquet")
values, gaps, found = list(wanted)[1:] or list(wanted), [], {}  # probabilities, or the values
for size in (1, 3, 257, len(rows)):
    times = []
    for i in range(11 if size < len(rows) else 1):
        places = numpy.arange(i * size, (i + 1) * size) % len(rows)
        began = time.perf_counter()
        p = model.predict(rows.iloc[places])
        times.append(time.perf_counter() - began)
        gaps.append(numpy.abs(p[values].to_numpy() - wanted[values].to_numpy()[places]).max())
    if size in (1, 3, 257):
        found[size] = 1000 * float(numpy.median(times)) / size
print("found", json.dumps({"difference": float(numpy.max(gaps)), "ms_per_row": found}))
"""


def export(run: Run, rows=None) -> dict:
    """Write ``exports/pyfunc/model``, and return the content of its export.json.

    rows : a file to prove it with, in place of the first rows of the run's own data
    """
    check_trust(run, code=True)  # the config names what reads the data
    predictor, dataset = run._predictor, run.cfg["dataset"]
    if rows is None and dataset["name"] == "frame":
        raise UserError(f"{run.name} was trained on a frame in memory: name rows with input=...")
    raw = read_dataset(dataset, origin(run))[0] if rows is None else predictor.prepared(rows, etl=False)[0]
    raw = raw.head(N_ROWS).reset_index(drop=True)
    import mlflow  # seconds

    with placed(run, "pyfunc") as folder:
        with model_of(run) as made:
            mlflow.pyfunc.save_model(folder / "model", **made)
        raw.to_parquet(folder / "rows.parquet")
        run.predict(raw).drop(columns="id").to_parquet(folder / "p.parquet")
        found = found_by(["-c", PROOF], folder, f"the folder for MLflow of {run.name}")
        found["difference"] /= run.info["y_std"]
        report = {"run": run.name, "format": "pyfunc", "pickle": False, "rows": len(raw), "file": "model"}
        report |= check(found, run, "pyfunc")
        for name in ("rows", "p"):
            (folder / f"{name}.parquet").unlink()
        write_json(folder / "export.json", report)
    return report

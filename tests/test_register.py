"""A run in MLflow's registry: loaded and served elsewhere it predicts the same."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table, until
from test_predict import etl, raw_table, trained

from src import fit
from src.export import export
from src.format.load import exported
from src.register import register
from src.run.schema import columns
from src.share.registry import requirements
from src.system.errors import UserError
from src.system.files import read_json

LOAD = """
import sys
import mlflow, pandas as pd
rows = pd.read_parquet(sys.argv[2])
mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_parquet(sys.argv[3])
import src
assert "/code/" in src.__file__, src.__file__
"""


@pytest.fixture(scope="module")
def run(outputs):
    return fit("model=mlp", "trainer.max_epochs=2", *QUIET, data=tiny_table("binary"), target="y")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"name": "a/b"}, "name=a/b: should be a short name"),
        ({"name": ""}, "name=: should be"),
        ({"name": "a", "alias": "v3"}, "alias=v3: should be"),
        ({"name": "a", "alias": "latest"}, "alias=latest: should be"),
    ],
)
def test_a_wrong_name_is_one_sentence(run, words, says):
    with pytest.raises(UserError, match=re.escape(says)):
        register(run.name, **words)


def test_a_dead_server_is_one_sentence(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=f"MLflow did not take {run.name}: .*127.0.0.1"):
        register(run.name, "a")


@pytest.mark.slow
def test_a_folder_for_mlflow_is_proven_in_a_process_of_its_own(outputs):
    """With an ETL: its raw rows go in; signature and example come along."""
    import mlflow

    raw_table().to_csv(outputs / "folder.csv", index=False)
    run = trained(outputs / "folder.csv", etl)
    report = export(run.name, "pyfunc")
    folder = run.folder / "exports/pyfunc"
    assert report["difference"] < 1e-6 and list(report["ms_per_row"]) == ["1", "3", "257"]
    assert read_json(folder / "export.json") == report and report["rows"] == len(raw_table())
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model"], "no rows of data"
    model = mlflow.pyfunc.load_model(str(folder / "model"))
    assert "Income ($)" in model.metadata.signature.inputs.input_names()
    assert list(model.input_example["age"]) == [columns(run)["age"]["example"]]
    with pytest.raises(UserError, match=r"is for MLflow: mlflow.pyfunc.load_model\('.*/model'\)"):
        exported(run, "pyfunc")


def test_a_folder_for_mlflow_needs_rows(run):
    with pytest.raises(UserError, match="trained on a frame in memory: name rows with input="):
        export(run.name, "pyfunc")
    with pytest.raises(UserError, match="quantize=int8: there is int8 alone, for format=onnx of nets"):
        export(run.name, "pyfunc", quantize="int8")


@pytest.mark.slow
def test_a_folder_for_mlflow_that_differs_is_not_kept(run, tmp_path, monkeypatch):
    rows = tiny_table("binary", 30, seed=2)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    predict = run.predict
    half = lambda self, rows: predict(rows).assign(p_yes=lambda p: p["p_yes"] / 2)  # noqa: E731
    monkeypatch.setattr(type(run), "predict", half)
    with pytest.raises(UserError, match=r"pyfunc export of t\d+ is not kept: .* differ .* more than 1e-05"):
        export(run.name, "pyfunc", input=str(tmp_path / "rows.csv"))
    assert not list((run.folder / "exports").iterdir())


@pytest.mark.slow
def test_train_registers_one_run_and_a_sweep_none(outputs, shell, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{outputs}/train.db")
    words = ("model=linear", "dataset=iris", "logger=csv", "pictures=false", "register=flowers")
    done = shell("train", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "registered as flowers version 1" in done.stdout
    store = mlflow.MlflowClient(f"sqlite:///{outputs}/train.db")
    assert [int(one.version) for one in store.search_model_versions("name='flowers'")] == [1]
    refused = shell("train", "--multirun", *words, "seed=0,1")
    assert refused.returncode == 2 and "register= is for one run" in refused.stderr
    wrong = shell("train", *words, "register=a/b")
    assert wrong.returncode == 2 and "register=a/b: should be" in wrong.stderr


def test_packages_are_pinned(run):
    pinned = dict(text.split("==") for text in requirements(run))
    assert pinned["scikit-learn"] == version("scikit-learn") and "+" not in pinned["torch"]
    assert "pytest" not in pinned and "ray" not in pinned


def elsewhere(*command: str, tmp_path, **environment: str) -> subprocess.Popen:
    """Start a process that knows neither this checkout nor its outputs."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "OUTPUTS_DIR")}
    path = f"{os.path.dirname(sys.executable)}:{kept['PATH']}"
    return subprocess.Popen(command, cwd=tmp_path, env=kept | {"PATH": path} | environment)


@pytest.mark.slow
def test_raw_rows_are_predicted_elsewhere_and_versions_count_up(outputs, tmp_path):
    """With an ETL, from a sqlite store."""
    raw_table().to_csv(outputs / "raw.csv", index=False)
    run, rows = trained(outputs / "raw.csv", etl), raw_table(20, seed=1).drop(columns="churned")
    assert [register(run.name, "churn"), register(run.name, "churn", "best")] == ["1", "2"]
    rows.to_parquet(tmp_path / "rows.parquet")
    words = (sys.executable, "-c", LOAD, "models:/churn@best", "rows.parquet", "p.parquet")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{outputs}/mlflow.db"}
    assert elsewhere(*words, tmp_path=tmp_path, **store).wait(200) == 0
    found, expected = pd.read_parquet(tmp_path / "p.parquet"), run.predict(rows)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert np.array_equal(found["p_Yes"] if "p_Yes" in found else found["p_yes"], expected.iloc[:, -1])


@pytest.mark.slow
def test_a_server_with_artifacts_in_s3_serves_what_the_run_predicts(outputs, run, tmp_path, monkeypatch):
    """A real MLflow server with a database, an S3 API, and MLflow's own scoring server."""
    import boto3
    import httpx
    from moto.server import ThreadedMotoServer
    from test_serve import free_port

    store, port, scoring = ThreadedMotoServer("127.0.0.1", 0, verbose=False), free_port(), free_port()
    store.start()
    host, s3_port = store.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    keys |= {"MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{s3_port}", "AWS_ENDPOINT_URL": f"http://{host}:{s3_port}"}
    for name, value in (keys | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}).items():
        monkeypatch.setenv(name, value)
    s3 = boto3.Session().client("s3")
    s3.create_bucket(Bucket="mlflow")
    words = ("mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/store.db", "--port", str(port))
    words += ("--artifacts-destination", "s3://mlflow/artifacts", "--host", "127.0.0.1", "--workers", "1")
    started = [elsewhere(*words, tmp_path=tmp_path)]
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        assert register(run.name, "tiny", "champion") == "1"
        assert s3.list_objects_v2(Bucket="mlflow", Prefix="artifacts/")["KeyCount"] > 5
        words = ("mlflow", "models", "serve", "-m", "models:/tiny@champion", "--env-manager", "local")
        started.append(elsewhere(*words, "--port", str(scoring), tmp_path=tmp_path))
        until(lambda: answers(f"http://127.0.0.1:{scoring}/health"))
        rows = tiny_table("binary").drop(columns="y").head(20)
        body = {"dataframe_split": json.loads(rows.to_json(orient="split", index=False, double_precision=15))}
        answer = httpx.post(f"http://127.0.0.1:{scoring}/invocations", json=body, timeout=60)
        found, expected = pd.DataFrame(answer.json()["predictions"]), run.predict(rows)
        assert found["prediction"].tolist() == expected["prediction"].tolist()
        assert np.abs(found["p_yes"] - expected["p_yes"]).max() < 1e-6
    finally:
        for process in started:
            process.terminate()
            process.wait(60)
        store.stop()


def answers(address: str) -> bool:
    import httpx

    try:
        return httpx.get(address, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False

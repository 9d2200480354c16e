"""Put a run into MLflow's registry as a model that needs nothing of this machine."""

import io
import logging
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import requires, version
from pathlib import Path

import pandas as pd

from src.logger.mlflow import client, experiment_id, uri
from src.run.folder import Run
from src.run.schema import columns
from src.system.errors import UserError, log, one_line
from src.system.paths import CHECKOUT

FILES = ("config.json", "report.json", "info.json", "transforms.json", "env.json", "code.zip", "DONE")
NAME = re.compile(r"[\w.\- ]{1,250}", re.ASCII)
# packages beside the project's own, by the package of the model's class or by its name
EXTRAS = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost-cpu",), "catboost": ("catboost",)}
EXTRAS["pretrained"] = ("transformers", "peft", "tokenizers")


def register(run: Run, name: str, alias: str | None = None) -> str:
    """Log a run as a model, register it as the next version of ``name``, and return that version.

    The model holds the run's files and this project's code; MLflow knows its columns, an example and the
    pinned packages. It belongs to the run's own record in MLflow, if there is one.
    """
    for key, text in {"name": name, "alias": alias or "a"}.items():
        if not NAME.fullmatch(text) or (key == "alias" and re.fullmatch(r"v\d+|latest|.* .*", text)):
            raise UserError(f"{key}={text}: should be a short name of letters, digits, - and _")
    run._predictor  # noqa: B018  a run without a model, or a foreign one, is refused
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        store = client()
        mlflow.set_tracking_uri(uri())
        with model_of(run) as made, mlflow.start_run(**_place(store, run)), redirect_stderr(io.StringIO()):
            logged = mlflow.pyfunc.log_model(name="model", registered_model_name=name, **made)
        if alias:
            store.set_registered_model_alias(name, alias, logged.registered_model_version)
    except MlflowException as error:
        raise UserError(f"MLflow did not take {run.name}: {one_line(error)}") from None
    return str(logged.registered_model_version)


@contextmanager
def model_of(run: Run):
    """Yield what MLflow's ``log_model`` and ``save_model`` need of a run."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        copy, code = Path(folder, run.name), Path(__file__).with_name("pyfunc.py")
        shutil.copytree(run.folder / "model", copy / "model")
        for file in FILES:
            shutil.copy(run.folder / file, copy)
        sources = [str(CHECKOUT / one) for one in ("src", "conf")]
        made = {"python_model": str(code), "artifacts": {"run": str(copy)}, "code_paths": sources}
        yield made | _signature(run) | {"pip_requirements": requirements(run)}


def registered(name: str, run: Run) -> None:
    """Register a run that has just been trained, and say so."""
    log.info("registered as %s version %s", name, register(run, name))


def _place(store, run: Run) -> dict:
    """Return the run's own record in MLflow, or what makes a new one."""
    known = run.trackers.get("mlflow", {}).get("run_id")
    try:
        if known and store.get_run(known).info.lifecycle_stage == "active":
            return {"run_id": known}
    except Exception as error:  # of another store
        if "RESOURCE_DOES_NOT_EXIST" not in str(getattr(error, "error_code", "")):
            raise
    return {"experiment_id": experiment_id(store, run.cfg["logger"]["project"]), "run_name": run.name}


def _signature(run: Run) -> dict:
    """Return the signature and an example, from the columns that the run was trained on."""
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    fields = columns(run)
    example = pd.DataFrame([{name: field["example"] for name, field in fields.items()}])
    known = []
    for name, field in fields.items():  # "double" would refuse whole numbers, "long" empty cells
        kind = "string" if field["kind"] in ("word", "text") else AnyType()
        known.append(ColSpec(kind, name, required=field["needed"]))
    try:
        output = infer_signature(model_output=run.predict(example).drop(columns="id")).outputs
    except UserError:  # the example is made up, and an ETL may refuse it
        output, example = None, None
    return {"signature": ModelSignature(Schema(known), output), "input_example": example}


def requirements(run: Run) -> list[str]:
    """Return this project's packages and those of the run's model, pinned to what is installed."""
    wanted = [re.match(r"[\w.-]+", text)[0] for text in requires("reprise") if "extra ==" not in text]
    model = run.cfg["model"]
    spec = model.get("classifier") or model.get("regressor") or {}
    wanted += EXTRAS.get(model["name"], EXTRAS.get(str(spec.get("class")).partition(".")[0], ()))
    return [f"{name}=={version(name).partition('+')[0]}" for name in wanted]

"""A run that a server has loaded: it reads the body of a request, predicts, and describes itself."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pandas as pd
from pydantic import ConfigDict, Field, ValidationError, create_model

from src.format.load import exported
from src.run.folder import Run
from src.run.schema import columns
from src.serving.batch import Batcher
from src.system.errors import UserError, log

TABLES = {  # content type of a request -> suffix of a file that a run reads
    "text/csv": ".csv", "text/tab-separated-values": ".tsv", "application/vnd.apache.parquet": ".parquet",
    "application/x-parquet": ".parquet", "text/x-fasta": ".fasta",
}  # fmt: skip


def row_model(run: Run, fields: dict[str, dict]):
    """Return a pydantic model of one row: fields c0, c1, ... by position, with the columns as aliases."""
    cell = bool | int | float | str | None
    kinds = {"number": float | None, "cell": cell, "category": cell}
    made = {}
    for i, (name, field) in enumerate(fields.items()):
        about = field.get("about") or (field.get("known") and f"known: {', '.join(map(str, field['known']))}")
        default = ... if field["needed"] else None
        options = {"alias": name, "description": about or field["kind"]}
        options |= {"allow_inf_nan": False} if field["kind"] == "number" else {}
        made[f"c{i}"] = (kinds.get(field["kind"], str | None), Field(default, **options))
    if run.cfg["dataset"].get("id") is not None:
        made["id"] = (int | str | None, Field(None, alias=str(run.cfg["dataset"]["id"]), description="id"))
    example = {name: field["example"] for name, field in fields.items()}
    return create_model(
        "Row", __config__=ConfigDict(extra="forbid", json_schema_extra={"examples": [example]}), **made
    )


def _predictor(run: Run) -> tuple:
    """Return "onnx" and a proven export that predicts, where there is one, else "run" and the run."""
    if (run.folder / "exports" / "onnx" / "export.json").is_file():
        try:
            return "onnx", exported(run, "onnx")
        except UserError as error:
            log.warning("%s; the run's own model is served", error)
    return "run", run._predictor  # a model that cannot be loaded is told now


class Loaded:
    """A `Run` with its model in memory.

    settings : of `src.serve`: trust, max_rows, max_batch, max_waiting
    watch : called with the number of rows of each call of the model
    """

    def __init__(self, name: str, settings: dict, watch):
        self.run = Run.open(name, settings["trust"])
        self.name, self.columns, self.max_rows = self.run.name, columns(self.run), settings["max_rows"]
        row = row_model(self.run, self.columns)
        rows = (list[row], Field(min_length=1, max_length=self.max_rows))
        self.Request = create_model("Rows", __config__=ConfigDict(extra="forbid"), rows=rows)
        self.names = {field: one.alias for field, one in row.model_fields.items()}
        self.settings, self.watch, self.batcher, self.answered = settings, watch, None, None
        self.runtime, self.predictor = _predictor(self.run)
        with suppress(UserError):  # an example that is no real row; the libraries are loaded
            example = {name: one["example"] for name, one in self.columns.items()}
            self.answered = self.predictor.predict(pd.DataFrame([example]))
        if self.predictor.etl:
            with suppress(UserError):  # then each request is checked
                self.predictor.etl.settle([name for name, one in self.columns.items() if one["needed"]])

    def open(self) -> None:
        """Begin to predict, in the running event loop."""
        sizes = {"max_rows": self.settings["max_batch"], "max_waiting": self.settings["max_waiting"]}
        self.batcher = Batcher(self.predictor.predict, **sizes, watch=self.watch)

    def rows(self, body: bytes, kind: str) -> dict[str, list] | pd.DataFrame:
        """Return the rows of a body of content type ``kind``: JSON as {column: cells}, a file as a table."""
        if kind not in TABLES:
            return self._json_rows(body)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"body{TABLES[kind]}")
            path.write_bytes(body)
            try:
                frame, _ = self.predictor.prepared(path, etl=False)
            except UserError as error:
                raise UserError(str(error).replace(str(path), "the body")) from None
        if not 0 < len(frame) <= self.max_rows:
            raise UserError(f"the body has {len(frame):,} rows: should be 1 to {self.max_rows:,}")
        return frame

    def _json_rows(self, body: bytes) -> dict[str, list]:
        try:
            rows = self.Request.model_validate_json(body).rows
        except ValidationError as error:
            text, where = self._wrong(error.errors(include_url=False, include_context=False)[0])
            refusal = UserError(text)
            refusal.where = where
            raise refusal from None
        given = set().union(*(row.model_fields_set for row in rows))
        names = {field: name for field, name in self.names.items() if field in given}
        return {name: [getattr(row, field) for row in rows] for field, name in names.items()}

    def _wrong(self, error: dict) -> tuple[str, dict]:
        """Return an error of pydantic as a sentence, and its row and column."""
        place, text = error["loc"], error["msg"][:1].lower() + error["msg"][1:]
        if place[:1] != ("rows",) or len(place) < 2:
            example = '{"rows": [{"column": value, ...}]}'
            return f"{'.'.join(map(str, place)) or 'the body'}: {text}; it should be {example}", {}
        where = {"row": place[1]} | ({"column": place[2]} if len(place) > 2 else {})
        if error["type"] == "missing":
            return f"row {place[1]} lacks the column {place[2]}", where
        if error["type"] == "extra_forbidden":
            known = ", ".join(list(self.names.values())[:30])
            return f"row {place[1]} has a column {place[2]}; the run reads {known}", where
        cell = repr(error["input"])[:60]
        column = f", column {place[2]}" if len(place) > 2 else ""
        return f"row {place[1]}{column}: {text}, not {cell}", where

    def described(self) -> dict:
        """Return what `/metadata` tells of the run."""
        report = self.run.report
        keys = ("model", "dataset", "metric", "metrics", "data_digest", "started", "finished")
        told = {"run": self.name, "runtime": self.runtime} | {key: report.get(key) for key in keys}
        info = {key: self.run.info.get(key) for key in ("task", "target", "classes", "etl_version")}
        return told | info | {"columns": self.columns}

"""The model of a request: a row has the columns that the run was trained on."""

from typing import Any

from pydantic import ConfigDict, Field, create_model

from src.run.folder import Run


def row_model(run: Run, fields: dict[str, dict]):
    """Return a pydantic model of one row: fields c0, c1, ... by position, with the columns as aliases."""
    cell = bool | int | float | str | None
    kinds = {"number": float | None, "cell": cell, "category": cell}
    made: dict[str, Any] = {}
    for i, (name, field) in enumerate(fields.items()):
        about = field.get("about") or (field.get("known") and f"known: {', '.join(map(str, field['known']))}")
        default = ... if field["needed"] else None
        options = {"alias": name, "description": about or field["kind"], "allow_inf_nan": False}
        if field["kind"] != "number":
            del options["allow_inf_nan"]
        made[f"c{i}"] = (kinds.get(field["kind"], str | None), Field(default, **options))
    if run.cfg["dataset"].get("id") is not None:
        made["id"] = (int | str | None, Field(None, alias=str(run.cfg["dataset"]["id"]), description="id"))
    example = {name: field["example"] for name, field in fields.items()}
    return create_model(
        "Row", __config__=ConfigDict(extra="forbid", json_schema_extra={"examples": [example]}), **made
    )

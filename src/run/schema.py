"""The columns of a request, as the run's training data had them: names, types, known values, an example."""

from src.data.prepare import COLUMN_KEYS, columns_of
from src.data.roles import ROLES
from src.data.rows import is_number
from src.run.folder import Run
from src.system.files import read_json

N_KNOWN = 50  # values of a category that the page of the server shows
SEQUENCES = {"dna": "ACGTACGTACGT", "rna": "ACGUACGUACGU", "protein": "MKTAYIAKQR", "smiles": "CCO"}


def columns(run: Run) -> dict[str, dict]:
    """Return {name: {"kind", "needed", "about", "known", "example"}} of the columns of a request.

    kind : number, cell (a number that may be written as text), word (a category of text), category, date
        or text
    needed : whether the model reads it; the other columns are those that only the run's ETL reads
    known : the values of a category in the training rows; others are taken, too
    """
    transforms, dataset = read_json(run.folder / "transforms.json"), run.cfg["dataset"]
    needed, etl = columns_of(transforms), transforms.get("etl") or {}
    apart = {str(dataset[key]) for key in COLUMN_KEYS if dataset.get(key) is not None} - {*needed}
    raw = etl.get("input_columns") or dict.fromkeys(needed)
    made = [name for name in needed if name not in raw]  # by the ETL, of columns that all must be there
    role = {name: role for role in ROLES for name in transforms["roles"].get(role, ())}
    found = {}
    for name, dtype in raw.items():
        if name not in apart:
            cells = (etl.get("cells") or {}).get(name) or [None]
            example = cells[len(cells) // 2]
            field = _by_role(name, role.get(name), transforms) if name in role else {"kind": "text"}
            if dtype and field["kind"] == "number" and not is_number(dtype):
                field = {"kind": "text"}  # the ETL makes a number of it
            if field["kind"] == "category" and dtype == "str":
                field["kind"] = "word"
            if name not in role and dtype and is_number(dtype):
                field = {"kind": "number"}
            example = example if example is not None else field.get("example")
            found[name] = {"needed": name in needed or bool(made)} | field | {"example": example}
    return found


def _by_role(name: str, role: str, transforms: dict) -> dict:
    if role == "categorical":
        known = transforms["categories"][name]
        return {"kind": "category", "known": known[:N_KNOWN], "example": known[0] if known else None}
    if role == "numeric":
        fitted = transforms["numeric"]["columns"][name]
        about = f"median {fitted['median']:.6g} in training"
        if limits := fitted.get("quantiles"):
            about += f", from {limits[0]:.6g} to {limits[-1]:.6g}"
        elif "std" in fitted:
            about += f", mean {fitted['mean']:.6g}, sd {fitted['std']:.6g}"
        kind = "cell" if fitted.get("kind") else "number"  # of flags, money, percents: text is taken, too
        return {"kind": kind, "about": about, "example": fitted["median"]}
    if role == "dates":
        return {"kind": "date", "example": "2024-01-31"}
    letters = (transforms.get("tokenizer") or {}).get("kind")
    return {"kind": "text", "example": SEQUENCES.get(letters, "a few words")}

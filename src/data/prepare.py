"""From a frame to `Data`, in two steps: `cut` its rows into parts, `shape` them into arrays.

Folds cut rows another way; a cache may keep what `cut` was given. Nothing is learned before `shape`.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from src.data import cells, columns, leaks, target, tokenizer
from src.data.cells import Rows
from src.data.digest import digest
from src.data.folds import folds
from src.data.roles import ROLES, Table, arrange, text_kind
from src.data.similar import clusters
from src.data.split import moments, split
from src.data.strands import complements, on_both
from src.system.errors import UserError, nearest, printable

Part = dict[str, np.ndarray]
OF_FASTA = "; key=value in the headers, dataset.labels=table.csv or dataset.header=pattern make more"
COLUMN_KEYS = ("target", "split", "group", "weight", "id", "time")  # each names one column


@dataclass
class Data:
    parts: dict[str, Part]  # "train", "val", "test": x_num, x_cat, input_ids, lengths, y, weight, id
    info: dict  # what a model is built from; JSON
    transforms: dict  # how to turn new rows into the same arrays; JSON
    notes: dict[str, list[str]] = field(default_factory=dict)  # for people; those of `Table`
    source: dict = field(default_factory=dict)  # input_path (or None) and input_digest of the table


def cut(frame: pd.DataFrame, dataset: dict, seed: int, cv: dict | None = None):
    """Return the row numbers of each part, ascending: {"train", "val", "test"}; with ``cv`` of each fold.

    ``seed`` cuts val, ``dataset["split_seed"]`` test. Rows without a target, if allowed, are in no part.
    """
    frame, dataset = _checked(frame, dataset)
    task, y = _target(frame, dataset)
    empty = y.isna().to_numpy()
    if empty.any() and not dataset["drop_missing_target"]:
        raise UserError(
            f"target {y.name} is empty in {empty.sum()} of {len(y)} rows, first in row {np.argmax(empty)}: "
            "fill them, or leave these rows out with dataset.drop_missing_target=true"
        )
    usable = np.flatnonzero(~empty)
    some = Rows(frame, usable)
    classes = target.class_of_row(y.iloc[usable]) if task == "classification" else None
    groups = np.array(cells.as_text(some[dataset["group"]])) if dataset["group"] else None
    by = {"named": cells.as_text(some[dataset["split"]]) if dataset["split"] else None}
    if dataset.get("time"):
        by["times"] = moments(some[dataset["time"]])
    if dataset.get("split_by") == "similarity":
        groups = _alike(frame, dataset, usable)
    by |= {"groups": groups, "classes": None if dataset.get("split_by") == "random" else classes}
    sizes = {key: dataset[key] for key in ("test_size", "val_size", "split_seed")}
    parts = split(len(usable), seed=seed, **by, **sizes)
    if n := dataset["max_rows"]:
        rng = np.random.default_rng(dataset["split_seed"])
        parts = {name: np.sort(rng.permutation(index)[:n]) for name, index in parts.items()}
    names = None if classes is None else np.array(cells.as_text(y.iloc[usable]))
    several = folds(parts, cv, seed, names, groups, by.get("times")) if cv else [parts]
    several = [{name: usable[index] for name, index in one.items()} for one in several]
    return several if cv else several[0]


def _alike(frame: pd.DataFrame, dataset: dict, rows: np.ndarray) -> np.ndarray:
    """Return the cluster of similar sequences of each of ``rows``."""
    if dataset["group"]:
        raise UserError("dataset.group and dataset.split_by=similarity both make groups: choose one")
    table = arrange(frame, dataset, _apart(dataset))
    if not table.roles["text"]:
        raise UserError("dataset.split_by=similarity needs a column of sequences: dataset.text=[name]")
    texts = tokenizer.joined(Rows(table.frame, rows), table.roles["text"])
    return clusters(texts, text_kind(table, dataset), dataset["similarity"])


def _apart(dataset: dict) -> set:
    return {dataset.get(key) for key in COLUMN_KEYS} | {*dataset["ignore"]}


def shape(
    frame: pd.DataFrame, rows: dict[str, np.ndarray], dataset: dict, *, scaler: str, class_weight=None,
    etl_version: str | None = None, data_digest: str | None = None,
) -> Data:
    """Return the arrays of each part of ``rows``, which `cut` returns or a user's own splitter.

    Everything is learned from ``rows["train"]`` alone. Only roles of columns and the task, unless the config
    names them, are inferred from the whole table, so that all folds have the same.
    """
    frame, dataset = _checked(frame, dataset)
    (task, y), ids = _target(frame, dataset), _ids(frame, dataset["id"])
    info = target.info_of(y.iloc[rows["train"]], task, dataset)
    table = arrange(frame, dataset, _apart(dataset))
    transforms = fit_transforms(table, rows["train"], dataset, scaler)
    parts = {}
    for name, index in rows.items():
        part = Rows(table.frame, index)
        own = {"y": target.encode(y.iloc[index], info, name), "id": ids[index]}
        parts[name] = apply_transforms(transforms, part) | own
        if dataset["weight"]:
            values = columns.numbers(part[dataset["weight"]])
            parts[name]["weight"] = target.weights(values, f"dataset.weight={dataset['weight']}")
    if class_weight is not None:
        target.weigh_classes(parts["train"], class_weight, info)
    text = transforms.get("tokenizer")
    info |= {
        "dataset": dataset["name"], "etl_version": etl_version, "digest": data_digest or digest(frame),
        "columns": table.roles, "n_num_features": columns.n_numeric(transforms["numeric"]),
        "cat_cardinalities": [len(values) + 2 for values in transforms["categories"].values()],
        "vocab_size": len(text["words"]) + 2 if text else 0, "max_len": text["max_len"] if text else 0,
    }
    if text and text.get("kind"):
        info |= _sequence_info(text, dataset)
        if dataset["reverse_complement"]:
            parts["train"] = on_both(parts["train"], info)
    if "dates" in dataset:
        table.notes["note"] += leaks.hints(parts, info, transforms)
        names = [info["target"], *(name for role in ROLES for name in table.roles.get(role, ()))]
        table.notes["note"] += leaks.shared(table.frame, names, rows)
    return Data(parts, info, transforms, table.notes)


def describe_data(data: Data) -> str:
    """Return what was inferred, for people: a line on rows and target, a line for each role of columns."""
    info, task = data.info, data.info["task"]
    if info["classes"]:
        y = np.concatenate([part["y"] for part in data.parts.values()])
        shares = [f"{printable(name)} {(y == k).mean():.1%}" for k, name in enumerate(info["classes"])]
        task += f": {', '.join(shares[:6])}{', …' if len(shares) > 6 else ''}"
    counts = ", ".join(f"{len(part['y']):,} {name}" for name, part in data.parts.items())
    lines = [f"rows     {counts}   target {printable(info['target'])} ({task})"]
    for role, names in info["columns"].items():
        if names and role != "ignored":
            more = f", … ({len(names)} in all)" if len(names) > 12 else ""
            lines.append(f"{role:<12} {', '.join(map(printable, names[:12]))}{more}")
    for kind, notes in data.notes.items():
        more = [f"… ({len(notes)} in all)"] if len(notes) > 12 else []
        for i, note in enumerate(notes[:12] + more):
            lines.append(f"{'' if i else kind:<12} {printable(note)}")
    return "\n".join(lines)


def _sequence_info(text: dict, dataset: dict) -> dict:
    """Return what ``info`` says of sequences, by the tokenizer's state."""
    found = {"sequence": text["kind"], "sequence_as": dataset["sequence_as"]}
    found["ngrams"] = tokenizer.NGRAMS[text["kind"]] if text["tokenizer"] == "char" else 2
    if text["tokenizer"] == "hf":
        found["pretrained"] = dataset["pretrained"]  # whose tokens they are
    if dataset["reverse_complement"]:
        found |= {"complements": complements(text), "special_tokens": text["special_tokens"]}
    return found


def fit_transforms(table: Table, rows: np.ndarray, dataset: dict, scaler: str) -> dict:
    """Return, as JSON, everything that is learned from training rows to turn columns into arrays."""
    train, roles = Rows(table.frame, rows), table.roles
    transforms = {"roles": roles, "categories": columns.fit_categories(train, roles["categorical"])}
    dates = roles.get("dates", ())
    transforms["numeric"] = columns.fit_numeric(train, roles["numeric"], scaler, dates, table.kinds)
    if roles["text"]:
        options = {key: dataset[key] for key in tokenizer.OPTIONS}
        if "alphabet" in dataset:  # older configs know no sequences
            options |= {"kind": text_kind(table, dataset)} | {key: dataset[key] for key in tokenizer.NEWER}
        state = transforms["tokenizer"] = tokenizer.fit(tokenizer.joined(train, roles["text"]), **options)
        whole = tokenizer.joined(table.frame, roles["text"])
        table.notes["note"] += tokenizer.check(state, whole, roles["text"])
    return transforms


def columns_of(transforms: dict) -> list[str]:
    """Return the names of the columns that a model reads."""
    return [name for role in ROLES for name in transforms["roles"].get(role, ())]


def missing(names: list[str], frame: pd.DataFrame) -> str:
    near = nearest(names[0], list(frame.columns)) if len(names) == 1 else ""
    return f"missing column{'s' if len(names) > 1 else ''}: {', '.join(names)}{near}"


def apply_transforms(transforms: dict, frame: pd.DataFrame | Rows) -> Part:
    """Return the arrays of new rows, without keys of roles that no column has; refuse missing columns."""
    roles = transforms["roles"]
    if absent := [name for name in columns_of(transforms) if name not in frame.columns]:
        raise UserError(missing(absent, frame))
    part = {}
    if roles["numeric"] or roles.get("dates"):
        part["x_num"] = columns.apply_numeric(transforms["numeric"], frame)
    if roles["categorical"]:
        part["x_cat"] = columns.apply_categories(transforms["categories"], frame)
    if roles["text"]:
        rows = frame if isinstance(frame, Rows) else Rows(frame, np.arange(len(frame)))
        texts = tokenizer.slices(rows, roles["text"])
        part["input_ids"], part["lengths"] = tokenizer.apply(transforms["tokenizer"], texts)
    return part


def _checked(frame: pd.DataFrame, dataset: dict) -> tuple[pd.DataFrame, dict]:
    """Return the frame with row numbers as its index, and the config with names as text: dataset.target=0."""
    if isinstance(dataset["target"], list | tuple):
        raise UserError("dataset.target names several columns: multi-label tasks are not supported, name one")
    dataset = dataset | {key: str(dataset[key]) for key in COLUMN_KEYS if dataset.get(key) is not None}
    several = [key for key in (*ROLES, "ignore") if key in dataset]  # older configs have no dates
    for key in several:
        value = dataset[key] or []
        is_dict = isinstance(value, dict)  # of formats of dates
        dataset[key] = {str(k): v for k, v in value.items()} if is_dict else [str(name) for name in value]
        if dataset["target"] in dataset[key]:
            raise UserError(f"dataset.{key} names the target {dataset['target']}")
    named = [(key, dataset[key]) for key in COLUMN_KEYS if dataset.get(key) is not None]
    named += [(key, name) for key in several for name in dataset[key]]
    known = frame.columns
    for key, name in named:
        if name not in known:
            there = f"there are {', '.join(known[:30])}"
            there += OF_FASTA if "header" in dataset else ""
            raise UserError(f"dataset.{key}={name}: no such column{nearest(name, known) or ';'} {there}")
    return frame.reset_index(drop=True), dataset


def _target(frame: pd.DataFrame, dataset: dict) -> tuple[str, pd.Series]:
    """Return the task and the column to predict."""
    y = frame[dataset["target"]]
    if cells.holds_several(y.dropna().head(100)):
        raise UserError(f"cells of {y.name} hold several values: multi-label tasks are not supported")
    task = target.task_of(y, dataset["task"])
    return task, target.readable(y, task)


def _ids(frame: pd.DataFrame, name: str | None) -> np.ndarray:
    """Return (n,) the id column as int64, or as text unless all cells are such; without one row numbers."""
    if not name:
        return np.arange(len(frame), dtype=np.int64)
    ids = cells.bare(frame[name])
    if not ids.hasnans:
        ids = ids.infer_objects()
    whole = ids.dtype.kind in "iu" and ids.max() < 2**63
    return ids.to_numpy(np.int64) if whole else np.array(cells.as_text(ids))

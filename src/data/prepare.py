"""From a frame to `Data`: roles, target, split, and the transforms learned on the training rows."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.data import columns, target, tokenizer
from src.data.digest import digest
from src.data.split import split
from src.system.errors import UserError

log = logging.getLogger("reprise")
Part = dict[str, np.ndarray]


@dataclass
class Data:
    """parts: {"train", "val", "test"} of named arrays (`x_num`, `x_cat`, `input_ids`, `attention_mask`, `y`, ...);
    info: what a model is built from; transforms: how to turn new rows into the same arrays. The last two are JSON."""

    parts: dict[str, Part]
    info: dict
    transforms: dict


class Rows:
    """Some rows of a frame, read like one; a column is copied when it is asked for, the frame never."""

    def __init__(self, frame: pd.DataFrame, rows: np.ndarray):
        self.frame, self.rows, self.columns = frame, rows, frame.columns

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> pd.Series:
        return self.frame[name].iloc[self.rows]


def prepare(
    frame: pd.DataFrame, cfg: dict, *, scaler: str, class_weight, seed: int, etl_version=None, data_digest=None
) -> Data:
    """``cfg`` is the dataset section of the config; ``scaler`` what the model wants its numbers to be like."""
    cfg = _named_as_text(cfg)
    frame = frame.reset_index(drop=True)  # from here on the index is the row's number in the user's table
    frame = _drop_missing_target(frame, cfg)
    roles = _roles(frame, cfg)
    task, target_text = target.infer(frame, cfg)
    rows = split(
        len(frame),
        named=_texts(frame, cfg["split"]) if cfg["split"] else None,
        classes=np.unique(target_text, return_inverse=True)[1] if task == "classification" else None,
        groups=np.array(_texts(frame, cfg["group"])) if cfg["group"] else None,
        test_size=cfg["test_size"],
        val_size=cfg["val_size"],
        split_seed=cfg["split_seed"],
        seed=seed,
    )
    if cfg["max_rows"]:
        rng = np.random.default_rng(cfg["split_seed"])
        rows = {name: np.sort(rng.permutation(index)[: cfg["max_rows"]]) for name, index in rows.items()}
    ids = _ids(frame, cfg)
    train = Rows(frame, rows["train"])
    transforms = fit_transforms(train, roles, cfg, scaler)
    info = target.describe(task, cfg, train) | _input_info(transforms, cfg)
    info |= {"etl_version": etl_version, "digest": data_digest or digest(frame)}
    parts = {}
    for name, index in rows.items():
        part = Rows(frame, index)
        parts[name] = apply_transforms(transforms, part) | {"y": target.encode(part, info, name), "id": ids[index]}
        if cfg["weight"]:
            parts[name]["weight"] = _weights(part, cfg["weight"])
    if class_weight is not None:
        target.weigh_classes(parts["train"], class_weight, info)
    return Data(parts, info, transforms)


def describe(data: Data) -> str:
    """What was inferred, for people: one line on rows and target, one on columns."""
    info, n = data.info, {name: len(part["y"]) for name, part in data.parts.items()}
    predicted = f"{info['target']} ({info['task']}"
    predicted += (
        f": {', '.join(info['classes'][:6])}{', …' if len(info['classes']) > 6 else ''})" if info["classes"] else ")"
    )
    lines = [f"rows     {n['train']:,} train, {n['val']:,} val, {n['test']:,} test   target {predicted}"]
    for role in ("numeric", "categorical", "text", "ignored"):
        names = info["columns"][role]
        if names:
            shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
            lines.append(f"{role:<12} {shown}")
    return "\n".join(lines)


def fit_transforms(frame: pd.DataFrame, roles: dict, cfg: dict, scaler: str) -> dict:
    """Everything learned from training rows that turns columns into arrays, as JSON."""
    transforms = {"roles": roles, "categories": columns.fit_categories(frame, roles["categorical"])}
    transforms["numeric"] = columns.fit_numeric(frame, roles["numeric"], scaler)
    if roles["text"]:
        words = {key: cfg[key] for key in ("tokenizer", "lower", "min_count", "max_vocab", "max_len")}
        transforms["tokenizer"] = tokenizer.fit(_joined(frame, roles["text"]), **words)
    return transforms


def apply_transforms(transforms: dict, frame: pd.DataFrame) -> Part:
    """New rows to arrays, keys absent where there is no such column.

    Raises
    ------
    UserError
        naming columns that are missing or cells that do not fit.
    """
    roles = transforms["roles"]
    wanted = [*roles["numeric"], *roles["categorical"], *roles["text"]]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise UserError(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}")
    part = {}
    if roles["numeric"]:
        part["x_num"] = columns.apply_numeric(transforms["numeric"], frame)
    if roles["categorical"]:
        part["x_cat"] = columns.apply_categories(transforms["categories"], frame)
    if roles["text"]:
        texts = _joined(frame, roles["text"])
        part["input_ids"], part["attention_mask"] = tokenizer.apply(transforms["tokenizer"], texts)
    return part


def _named_as_text(cfg: dict) -> dict:
    """Names of columns are text, also those that look like numbers: dataset.target=0."""
    one = {key: cfg[key] if cfg[key] is None or isinstance(cfg[key], list) else str(cfg[key]) for key in COLUMN_KEYS}
    return cfg | one | {key: [str(name) for name in cfg[key] or []] for key in ROLE_KEYS}


COLUMN_KEYS = ("target", "split", "group", "weight", "id")
ROLE_KEYS = ("numeric", "categorical", "text", "ignore")


def _drop_missing_target(frame, cfg):
    name = cfg["target"]
    if isinstance(name, list | tuple):
        raise UserError("dataset.target names several columns: multi-label tasks are not supported, name one")
    for key in COLUMN_KEYS:
        if cfg[key] is not None and cfg[key] not in frame.columns:
            raise UserError(f"dataset.{key}={cfg[key]}: no such column; there are {', '.join(frame.columns[:30])}")
    sample = frame[name].dropna().head(100)
    if sample.map(lambda x: isinstance(x, list | tuple | set | dict | np.ndarray)).any():
        raise UserError(f"cells of {name} hold several values: multi-label tasks are not supported")
    empty = frame[name].isna().to_numpy()
    if empty.any() and not cfg["drop_missing_target"]:
        raise UserError(
            f"target {name} is empty in {empty.sum()} of {len(frame)} rows, first in row {int(np.argmax(empty))}: "
            "fill them, or leave these rows out with dataset.drop_missing_target=true"
        )
    return frame[~empty] if empty.any() else frame


def _roles(frame, cfg) -> dict:
    """Roles named in the config, the rest inferred."""
    special = {cfg[key] for key in COLUMN_KEYS} | set(cfg["ignore"])
    named = {role: cfg[role] for role in ("numeric", "categorical", "text")}
    for role, wanted in [*named.items(), ("ignore", cfg["ignore"])]:
        for name in wanted:
            if name not in frame.columns:
                there = ", ".join(frame.columns[:30])
                raise UserError(f"dataset.{role} names {name}: no such column; there are {there}")
            if name == cfg["target"]:
                raise UserError(f"dataset.{role} names the target {name}")
    twice = [name for name in frame.columns if sum(name in some for some in named.values()) > 1]
    if twice:
        raise UserError(f"dataset names {twice[0]} in two roles; a column has one")
    taken = special | {name for some in named.values() for name in some}
    roles = columns.infer_roles(frame[[name for name in frame.columns if name not in taken]])
    for role, some in named.items():
        roles[role] = [name for name in frame.columns if name in some or name in roles[role]]
    if not (roles["numeric"] or roles["categorical"] or roles["text"]):
        raise UserError("no column is left to learn from")
    return roles


def _input_info(transforms, cfg) -> dict:
    words = transforms.get("tokenizer")
    return {
        "dataset": cfg["name"],
        "columns": transforms["roles"],
        "n_num_features": columns.n_numeric(transforms["numeric"]),
        "cat_cardinalities": [len(values) + 2 for values in transforms["categories"].values()],
        "vocab_size": tokenizer.vocab_size(words) if words else 0,
        "max_len": words["max_len"] if words else 0,
    }


def _ids(frame, cfg) -> np.ndarray:
    """(n,) the id column as int64 or text, or the row's number in the user's table."""
    if not cfg["id"]:
        return frame.index.to_numpy(np.int64)
    column = frame[cfg["id"]]
    whole = pd.api.types.is_integer_dtype(column) and not column.isna().any()
    return column.to_numpy(np.int64) if whole else np.array(columns.as_text(column))


def _weights(frame, name) -> np.ndarray:
    weight = columns.numbers(frame[name])
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.sum() > 0:
        raise UserError(f"dataset.weight={name} holds empty, infinite or negative cells, or only zeros")
    return weight.astype(np.float32)


def _texts(frame, name) -> list[str]:
    return columns.as_text(frame[name])


def _joined(frame, columns) -> list[str]:
    """Text columns of a row as one text; empty cells count as empty text."""
    texts = [frame[name].astype(object).where(frame[name].notna(), "").astype(str).tolist() for name in columns]
    return texts[0] if len(texts) == 1 else [" ".join(row) for row in zip(*texts, strict=True)]

"""From a frame to arrays: cut rows, learn from training rows only, refuse data that cannot be used."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_table, tiny_text
from omegaconf import OmegaConf
from sklearn.model_selection import StratifiedKFold

from src.config.tree import CONF
from src.data import cells, columns, target, tokenizer
from src.data.digest import arrays_digest, column_digests, digest
from src.data.prepare import apply_transforms, cut, describe_data, shape
from src.data.source import check_frame
from src.data.split import split
from src.data.words import SCALERS
from src.system.errors import UserError
from src.trainer.loader import BatchOrder

BASE = OmegaConf.to_container(OmegaConf.load(CONF / "dataset/_base.yaml")) | {"name": "frame", "target": "y"}
SPLIT = {"test_size": 0.2, "val_size": 0.15, "split_seed": 0, "seed": 0}
TEXT = {"tokenizer": "words", "lower": True, "min_count": 1, "max_vocab": 100, "max_len": 50}


def prepare(frame, *, scaler="quantile", class_weight=None, seed=0, **dataset):
    """Return the `Data` of ``frame``, cut and shaped with these values of the dataset section."""
    rows = cut(frame, BASE | dataset, seed)
    return shape(frame, rows, BASE | dataset, scaler=scaler, class_weight=class_weight)


def table(n=60, **columns) -> pd.DataFrame:
    """Return a number a, a balanced 0/1 target y, and the given columns."""
    return pd.DataFrame({"a": np.linspace(-1, 1, n), "y": np.arange(n) % 2} | columns)


def held_out(frame):
    """Return a split column for ``frame``: the last 20 rows are test, the 20 before them val."""
    return ["train"] * (len(frame) - 40) + ["val"] * 20 + ["test"] * 20


# -- split


@pytest.mark.parametrize("kind", ["plain", "classes", "groups"])
def test_parts_are_disjoint_and_cover_all_rows(kind):
    values = {"plain": None, "classes": np.arange(200) % 3, "groups": np.arange(200) // 7}
    parts = split(200, **({} if kind == "plain" else {kind: values[kind]}), **SPLIT)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    assert len(parts["test"]) == pytest.approx(40, abs=7)
    assert len(parts["val"]) == pytest.approx(0.15 * 160, abs=7)
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_every_part_keeps_the_shares_of_the_classes():
    classes = np.repeat([0, 1, 2], [700, 250, 50])
    for rows in split(1000, classes=classes, **SPLIT).values():
        shares = np.bincount(classes[rows]) / len(rows)
        np.testing.assert_allclose(shares, [0.7, 0.25, 0.05], atol=0.01)


def test_a_class_of_one_row_stays_in_train():
    classes = np.array([0] * 99 + [1])
    for seed in range(20):
        assert 99 in split(100, classes=classes, **SPLIT | {"seed": seed, "split_seed": seed})["train"]


def test_rows_of_a_group_stay_together():
    groups = np.random.default_rng(0).integers(40, size=300)
    parts = split(300, groups=groups, classes=np.arange(300) % 2, **SPLIT)
    owners = [set(groups[rows]) for rows in parts.values()]
    assert sum(map(len, owners)) == len(set(groups))


def test_named_parts_are_kept():
    named = ["test", "train", "validation", "train", "valid"]
    parts = split(5, named=named, **SPLIT)
    parts = {name: rows.tolist() for name, rows in parts.items()}
    assert parts == {"train": [1, 3], "val": [2, 4], "test": [0]}


@pytest.mark.parametrize("given,cut", [("test", "val"), ("val", "test")])
def test_the_part_that_is_not_named_is_cut_from_train(given, cut):
    named = [given] * 10 + ["train"] * 90
    parts = split(100, named=named, **SPLIT)
    assert parts[given].tolist() == list(range(10))
    assert len(parts[cut]) == round(SPLIT[f"{cut}_size"] * 90)
    assert len(parts["train"]) == 90 - len(parts[cut])


def test_runs_that_differ_in_seed_share_their_test_rows():
    first, again, other, moved = (
        prepare(tiny_table("binary"), seed=seed, split_seed=split_seed).parts
        for seed, split_seed in [(0, 0), (0, 0), (1, 0), (0, 1)]
    )
    for part in first:
        np.testing.assert_array_equal(first[part]["id"], again[part]["id"])
    np.testing.assert_array_equal(first["test"]["id"], other["test"]["id"])
    assert set(first["val"]["id"]) != set(other["val"]["id"])
    assert set(first["test"]["id"]) != set(moved["test"]["id"])


@pytest.mark.parametrize(
    "arguments,says",
    [
        ({"n_rows": 2}, "2 rows are too few to cut a test part of 20%"),
        ({"n_rows": 3}, "2 rows are too few to cut a val part of 15%"),
        ({"n_rows": 50, "groups": np.zeros(50)}, "50 rows in 1 groups or clusters are too few"),
        ({"n_rows": 2, "named": ["train", "dev"]}, "'dev'; it may hold train, val"),
        ({"n_rows": 2, "named": ["val", "test"]}, "no row to train on"),
    ],
)
def test_split_refuses(arguments, says):
    with pytest.raises(UserError, match=says):
        split(**SPLIT | arguments)


def test_split_group_and_named_columns_are_no_features():
    frame = table(g=np.arange(60) // 4, s=["train"] * 50 + ["test"] * 10)
    data = prepare(frame, group="g", split="s")
    assert data.info["columns"]["numeric"] == ["a"]
    assert data.parts["test"]["id"].tolist() == list(range(50, 60))
    groups = frame["g"].to_numpy()
    assert not set(groups[data.parts["train"]["id"]]) & set(groups[data.parts["val"]["id"]])


def test_max_rows_limits_every_part_without_mixing_them():
    frame = table(300)
    whole, few = prepare(frame).parts, prepare(frame, max_rows=20).parts
    assert {name: len(part["y"]) for name, part in few.items()} == {"train": 20, "val": 20, "test": 20}
    for name, part in few.items():
        assert set(part["id"]) <= set(whole[name]["id"])


# -- learned from training rows only


def poison(frame, rows, y):
    """Return a copy whose ``rows`` differ in every cell from all others."""
    poisoned = frame.copy()
    poisoned.loc[rows, ["a", "b"]] = 1e9
    poisoned.loc[rows, ["c", "d"]] = np.nan
    poisoned.loc[rows, "colour"] = "ultraviolet"
    poisoned.loc[rows, "note"] = "poison " * 300
    poisoned.loc[rows, "y"] = y
    return poisoned


def assert_learned_the_same(before, after):
    """Compare two `Data` whose held-out rows differ."""
    assert json.dumps(before.transforms) == json.dumps(after.transforms)
    assert before.info == after.info | {"digest": before.info["digest"]}
    for name, values in before.parts["train"].items():
        np.testing.assert_array_equal(values, after.parts["train"][name])


@pytest.mark.parametrize("scaler", SCALERS)
def test_held_out_rows_teach_nothing(scaler):
    clean = tiny_table("regression").assign(note=tiny_text(240)["sentence"])
    clean["s"] = held_out(clean)
    poisoned = poison(clean, np.flatnonzero(clean["s"] != "train"), y=-1e9)
    before, after = (prepare(frame, split="s", scaler=scaler) for frame in (clean, poisoned))
    assert_learned_the_same(before, after)
    assert np.isfinite(after.parts["test"]["x_num"]).all()
    assert (after.parts["test"]["x_cat"] == columns.UNSEEN).all()
    assert (after.parts["test"]["input_ids"] == tokenizer.UNKNOWN).all()


@pytest.mark.parametrize("scaler", SCALERS)
def test_rows_that_are_cut_another_way_learn_from_their_own_training_rows(scaler):
    """Folds made by scikit-learn."""
    clean = tiny_table("binary").assign(note=tiny_text(240)["sentence"])
    dataset, learned = BASE | {"text": ["note"]}, set()
    for train, held in StratifiedKFold(3, shuffle=True, random_state=0).split(clean, clean["y"]):
        rows = {"train": train, "val": held[::2], "test": held[1::2]}
        poisoned = poison(clean, held, y="no")
        before, after = (shape(frame, rows, dataset, scaler=scaler) for frame in (clean, poisoned))
        assert_learned_the_same(before, after)
        assert {name: part["id"].tolist() for name, part in before.parts.items()} == {
            name: index.tolist() for name, index in rows.items()
        }
        assert (after.parts["test"]["x_cat"] == columns.UNSEEN).all()
        learned.add(json.dumps(before.transforms))
    assert len(learned) == 3


def test_rows_without_a_target_are_in_no_part():
    frame = table(y=["no", "yes", None] * 20)
    rows = cut(frame, BASE | {"drop_missing_target": True}, 0)
    every = np.sort(np.concatenate(list(rows.values())))
    assert every.tolist() == np.flatnonzero(frame["y"].notna()).tolist()
    assert all((np.diff(part) > 0).all() for part in rows.values())


def test_what_was_inferred_is_described():
    frame = tiny_table("binary").assign(note=tiny_text(240)["sentence"])
    assert describe_data(prepare(frame)).splitlines() == [
        "rows     163 train, 29 val, 48 test   target y (binary: no 50.0%, yes 50.0%)",
        "numeric      a, b, c, d",
        "categorical  colour",
        "text         note",
    ]


def test_transforms_are_json_and_give_the_same_arrays():
    frame = tiny_table("binary").assign(note=tiny_text(240)["sentence"])
    data = prepare(frame)
    again = apply_transforms(json.loads(json.dumps(data.transforms)), frame.iloc[data.parts["val"]["id"]])
    assert set(again) == {"x_num", "x_cat", "input_ids", "lengths"}
    for name, values in again.items():
        np.testing.assert_array_equal(values, data.parts["val"][name])


def test_arrays_have_the_types_and_shapes_of_the_contract():
    data = prepare(tiny_table("binary").assign(note=tiny_text(240)["sentence"], w=2.0), weight="w")
    part, n, info = data.parts["train"], len(data.parts["train"]["y"]), data.info
    kinds = {name: (str(values.dtype), values.ndim) for name, values in part.items()}
    assert kinds == {
        "x_num": ("float32", 2), "x_cat": ("int64", 2),
        "input_ids": ("int8", 2), "lengths": ("int32", 1),
        "y": ("int64", 1), "id": ("int64", 1), "weight": ("float32", 1),
    }
    assert part["x_num"].shape == (n, info["n_num_features"])
    assert part["x_cat"].max() < info["cat_cardinalities"][0] == 5
    assert part["input_ids"].shape[1] == info["max_len"]
    assert part["input_ids"].max() < info["vocab_size"]


def test_the_frame_is_left_as_it_was():
    frame = tiny_table("binary").set_index(np.arange(240)[::-1])
    before = frame.copy()
    prepare(frame, drop_missing_target=True)
    pd.testing.assert_frame_equal(frame, before)


# -- numbers


@pytest.mark.parametrize("scaler", SCALERS)
def test_empty_and_infinite_cells_become_the_median_and_a_flag(scaler):
    x = np.random.default_rng(0).normal(size=(500, 2))
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame.loc[[3, 4, 5], "a"] = [np.nan, np.inf, -np.inf]
    state = columns.fit_numeric(frame, ["a", "b"], scaler)
    out = columns.apply_numeric(state, frame)
    assert out.shape == (500, 3)
    assert np.isfinite(out).all()
    assert np.flatnonzero(out[:, 2]).tolist() == [3, 4, 5]
    assert len(set(out[3:6, 0])) == 1
    assert np.mean(out[:, 0] < out[3, 0]) == pytest.approx(0.5, abs=0.01)


def test_a_cell_that_is_empty_in_new_rows_only_gets_the_median():
    state = columns.fit_numeric(pd.DataFrame({"a": [1.0, 2.0, 9.0]}), ["a"], "none")
    assert columns.apply_numeric(state, pd.DataFrame({"a": [np.nan, 5.0]})).tolist() == [[2.0], [5.0]]


def test_quantile_scaler_makes_any_number_roughly_normal():
    rng = np.random.default_rng(0)
    train, new = (pd.DataFrame({"a": column}) for column in rng.lognormal(sigma=2, size=(2, 20_000)))
    state = columns.fit_numeric(train, ["a"], "quantile")
    for x in (train, new):
        out = columns.apply_numeric(state, x)[:, 0]
        np.testing.assert_allclose(np.quantile(out, [0.025, 0.5, 0.975]), [-1.96, 0, 1.96], atol=0.06)
        assert out.std() == pytest.approx(1, abs=0.05)
    assert np.all(np.diff(columns.apply_numeric(state, new.sort_values("a"))[:, 0]) >= 0)


def test_standard_scaler():
    x = pd.DataFrame(np.random.default_rng(0).normal(2000, 3, size=(300, 2)), columns=["a", "b"])
    out = columns.apply_numeric(columns.fit_numeric(x, ["a", "b"], "standard"), x)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("scaler", SCALERS)
def test_a_number_beyond_float32_stays_finite(scaler):
    state = columns.fit_numeric(pd.DataFrame({"a": np.arange(60.0)}), ["a"], scaler)
    assert np.isfinite(columns.apply_numeric(state, pd.DataFrame({"a": [1e300, -1e300]}))).all()


@pytest.mark.parametrize("scaler", ["quantile", "standard"])
def test_a_constant_column_does_not_blow_up_new_values(scaler):
    frame = pd.DataFrame({"a": [0.1] * 7})  # its deviation comes out as 1e-17
    state = columns.fit_numeric(frame, ["a"], scaler)
    assert np.abs(columns.apply_numeric(state, pd.DataFrame({"a": [0.1, 0.3]}))).max() < 10


def test_dates_are_days():
    frame = pd.DataFrame({"d": pd.to_datetime(["1970-01-02 12:00", None])})
    np.testing.assert_array_equal(columns.numbers(frame["d"]), [1.5, np.nan])


def test_booleans_are_numbers():
    frame = pd.DataFrame({"b": pd.array([True, None, False], dtype="boolean")})
    np.testing.assert_array_equal(columns.numbers(frame["b"]), [1, np.nan, 0])


@pytest.mark.parametrize(
    "frame,options,says",
    [
        (table(b=["1"] * 59 + ["one"]), {"numeric": ["b"]}, "b should hold numbers, but row 59 holds 'one'"),
        (table(b=[1.0] + [np.inf] * 59), {}, "column b has no value in the training rows"),
    ],
)
def test_numbers_are_refused(frame, options, says):
    frame["s"] = ["val"] * 10 + ["test"] * 10 + ["train"] * 40
    with pytest.raises(UserError, match=says):
        prepare(frame, split="s", **options)


# -- categories


def test_unseen_category_is_0_and_missing_1():
    train = pd.DataFrame({"c": ["red", "blue", None]})
    state = columns.fit_categories(train, ["c"])
    assert columns.apply_categories(state, train).ravel().tolist() == [3, 2, 1]
    new = pd.DataFrame({"c": ["green", None, "red"]})
    assert columns.apply_categories(state, new).ravel().tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "new",
    [
        pd.Series([1.0, 2.5, np.nan]),
        pd.Series([1.0, 2.5, None], dtype="Float64"),
        pd.Series(["1", "2.5", None]),
        pd.Series([1.0, 2.5, None], dtype=object),
        pd.Series([1.0, 2.5, None], dtype="category"),
    ],
    ids=["float", "Float64", "text", "object", "category"],
)
def test_a_number_is_the_same_category_in_every_type(new):
    state = columns.fit_categories(pd.DataFrame({"c": pd.Series([1.0, 2.5])}), ["c"])
    assert columns.apply_categories(state, pd.DataFrame({"c": new})).ravel().tolist() == [2, 3, 1]


def test_whole_numbers_read_as_float_keep_their_category():
    state = columns.fit_categories(pd.DataFrame({"c": [3, 4]}), ["c"])
    new = pd.DataFrame({"c": [4.0, 3.0, np.nan]})
    assert columns.apply_categories(state, new).ravel().tolist() == [3, 2, 1]


# -- text


def test_the_vocabulary_is_in_falling_count():
    state = tokenizer.fit(["B a a", "c b a"], **TEXT)
    assert state["words"] == ["a", "b", "c"]
    ids, lengths = tokenizer.apply(state, [["a new B", "c"]])
    assert ids.tolist() == [[2, 1, 3], [4, 0, 0]]
    assert lengths.tolist() == [3, 1]


@pytest.mark.parametrize(
    "options,known",
    [({"min_count": 2}, ["a", "b"]), ({"max_vocab": 1}, ["a"]), ({"lower": False}, ["a", "B", "b", "c"])],
)
def test_vocabulary_is_limited(options, known):
    assert tokenizer.fit(["B a a", "c b a"], **TEXT | options)["words"] == known


@pytest.mark.parametrize(
    "name,tokens", [("word", ["don", "'", "t"]), ("whitespace", ["don't"]), ("chars", list("don't"))]
)
def test_tokenizers(name, tokens):
    state = tokenizer.fit(["Don't"], **TEXT | {"tokenizer": name})
    assert sorted(state["words"]) == sorted(tokens)
    assert tokenizer.apply(state, [["don't"]])[0].shape == (1, len(tokens))


@pytest.mark.parametrize("empty", ["", "   ", None])
def test_empty_text_is_one_unknown_token(empty):
    frame = table(t=[f"some words number {i} here" for i in range(59)] + [empty])
    data = prepare(frame, text=["t"])
    part = apply_transforms(data.transforms, frame.tail(1))
    assert part["input_ids"].tolist() == [[tokenizer.UNKNOWN]]
    assert part["lengths"].tolist() == [1]


def test_over_long_text_is_cut():
    state = tokenizer.fit(["a b c d e f"], **TEXT | {"max_len": 4})
    assert tokenizer.apply(state, [["f e d c b a", "a"]])[0].tolist() == [[7, 6, 5, 4], [2, 0, 0, 0]]
    shorter = tokenizer.fit(["a b"], **TEXT)  # no position beyond those that training has seen
    assert tokenizer.apply(shorter, [["a b a b a"]])[0].tolist() == [[2, 3]]


def test_several_text_columns_are_read_as_one():
    frame = table(t=["red"] * 60, u=["blue", None] * 30)
    part = prepare(frame, text=["t", "u"]).parts["train"]
    assert set(part["lengths"]) == {1, 2}


@pytest.mark.parametrize("kind", ["str", "object", "category"])
def test_text_of_any_type_may_have_empty_cells(kind):
    texts = pd.Series([f"the film number {i} is fine" for i in range(60)], dtype=kind)
    texts[7] = None
    data = prepare(table(t=texts))
    assert data.info["columns"]["text"] == ["t"]
    part = apply_transforms(data.transforms, table(t=texts).iloc[[7]])
    assert part["input_ids"].tolist() == [[tokenizer.UNKNOWN]]


# -- target


@pytest.mark.parametrize(
    "labels,classes,task,kind",
    [
        (["no", "yes"], ["no", "yes"], "binary", "str"),
        ([15, 5, 25], ["5", "15", "25"], "multiclass", "int"),
        ([-1, 1], ["-1", "1"], "binary", "int"),
        ([5.0, 15.0], ["5", "15"], "binary", "int"),
        ([True, False], ["False", "True"], "binary", "bool"),
    ],
)
def test_labels_become_class_numbers(labels, classes, task, kind):
    frame = table(y=labels * (60 // len(labels)))
    data = prepare(frame)
    assert {key: data.info[key] for key in ("classes", "task", "class_type")} == {
        "classes": classes, "task": task, "class_type": kind,
    }
    assert data.info["n_outputs"] == len(classes)
    part = data.parts["train"]
    assert [classes[k] for k in part["y"]] == cells.as_text(frame["y"].iloc[part["id"]])


def test_float_target_is_a_regression_in_its_own_units():
    frame = tiny_table("regression")
    data = prepare(frame)
    train = data.parts["train"]
    assert (data.info["task"], data.info["n_outputs"], data.info["classes"]) == ("regression", 1, [])
    assert train["y"].dtype == np.float64
    np.testing.assert_array_equal(train["y"], frame["y"].to_numpy()[train["id"]])
    assert data.info["y_mean"] == pytest.approx(train["y"].mean())
    assert data.info["y_std"] == pytest.approx(train["y"].std())


@pytest.mark.parametrize(
    "values,task",
    [
        (range(20), "classification"),
        (range(21), "regression"),
        ([0.5, 1.5], "regression"),
        ([True, False], "classification"),
        (["1", "2"], "classification"),
        ([1.0, 2.0, np.nan], "classification"),
    ],
)
def test_task_is_inferred(values, task):
    assert target.task_of(pd.Series(values)) == task


def test_task_can_be_named():
    assert prepare(table(), task="regression").info["task"] == "regression"
    assert prepare(table(y=[0.5, 1.5] * 30), task="classification").info["classes"] == ["0.5", "1.5"]


@pytest.mark.parametrize(
    "positive,classes", [(None, ["no", "yes"]), ("yes", ["no", "yes"]), ("no", ["yes", "no"])]
)
def test_positive_is_class_1(positive, classes):
    assert prepare(table(y=["no", "yes"] * 30), positive=positive).info["classes"] == classes


def test_positive_as_yaml_reads_it():
    assert prepare(table(), positive=0).info["classes"] == ["1", "0"]
    assert prepare(table(y=[True, False] * 30), positive=False).info["classes"] == ["True", "False"]


def test_drop_missing_target():
    frame = table(y=["no", "yes", None] * 20)
    data = prepare(frame, drop_missing_target=True)
    assert data.info["classes"] == ["no", "yes"]
    ids = np.sort(np.concatenate([part["id"] for part in data.parts.values()]))
    assert ids.tolist() == np.flatnonzero(frame["y"].notna()).tolist()  # numbers of the user's rows


def test_constant_regression_has_a_sane_unit():
    assert prepare(table(y=[0.1] * 60), task="regression").info["y_std"] == 1.0


def test_the_baseline_predicts_the_shares_of_the_training_classes():
    data = prepare(table(y=["no", "no", "yes", "maybe"] * 15))
    shares = np.bincount(data.parts["train"]["y"]) / len(data.parts["train"]["y"])
    p = target.baseline(data, "test")
    assert p.shape == (len(data.parts["test"]["y"]), 3) and (p == shares).all()


def test_the_baseline_of_values_is_their_training_mean():
    data = prepare(tiny_table("regression"))
    assert (target.baseline(data, "val") == data.parts["train"]["y"].mean()).all()
    assert len(target.baseline(data, "val")) == len(data.parts["val"]["y"])


@pytest.mark.parametrize(
    "frame,options,says",
    [
        (table(), {"target": "z"}, "dataset.target=z: no such column; there are a, y"),
        (table(), {"target": ["a", "y"]}, "several columns: multi-label tasks are not supported"),
        (table(y=[["x"], ["x", "z"]] * 30), {}, "cells of y hold several values: multi-label"),
        (table(y=[1.5, None] * 30), {}, "30 of 60 rows.*row 1.*drop_missing_target=true"),
        (table(y=1), {}, "target y holds only '1': there is nothing to learn"),
        (table(y=["a", "b", "c"] * 20), {"positive": "a"}, "positive=a is not one of two classes: a, b, c"),
        (table(), {"positive": "yes"}, "positive=yes is not one of two classes: 0, 1"),
        (table(y=["1.5", "x"] * 30), {"task": "regression"}, "y should hold numbers, but row 1 holds 'x'"),
        (table(y=[0] * 30 + [1] * 10 + [2] * 20), {"split": "s"}, "'2' of y occurs in test but not in train"),
        (table(y=[1] * 40 + [2] * 20), {"split": "s"}, "the training part holds one class only: '1'"),
    ],
)
def test_targets_are_refused(frame, options, says):
    if "split" in options:
        frame["s"] = ["train"] * 40 + ["test"] * 20
    with pytest.raises(UserError, match=says):
        prepare(frame, **options)


@pytest.mark.parametrize("row", [0, 45, 55])
def test_an_infinite_target_is_refused_in_every_part(row):
    frame = table(y=np.linspace(0, 1, 60), s=held_out(range(60)))
    frame.loc[row, "y"] = np.inf
    with pytest.raises(UserError, match="target y holds an infinite"):
        prepare(frame, split="s")


# -- weights and ids


def test_weights_of_rows_reach_every_part():
    data = prepare(table(w=np.arange(60.0)), weight="w")
    assert data.info["columns"]["numeric"] == ["a"]
    for part in data.parts.values():
        np.testing.assert_array_equal(part["weight"], part["id"].astype(np.float32))


@pytest.mark.parametrize("weights", [[1.0, np.nan], [1.0, -1.0], [1.0, np.inf], [0.0, 0.0]])
def test_weights_are_refused(weights):
    with pytest.raises(UserError, match="weight=w holds"):
        prepare(table(w=weights * 30), weight="w")


def test_balanced_classes_weigh_the_same():
    frame = tiny_table("binary").query("y == 'yes' or index < 120")
    train = prepare(frame, class_weight="balanced").parts["train"]
    sums = np.bincount(train["y"], weights=train["weight"])
    assert np.bincount(train["y"])[0] != np.bincount(train["y"])[1]
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)
    assert train["weight"].mean() == pytest.approx(1, rel=1e-6)


def test_class_weight_by_name_multiplies_weights_of_training_rows():
    data = prepare(table(w=2.0), weight="w", class_weight={1: 3})
    train = data.parts["train"]
    np.testing.assert_array_equal(train["weight"], np.where(train["y"] == 1, 6, 2))
    assert set(data.parts["val"]["weight"]) == {2.0}
    assert "weight" not in prepare(table(), class_weight="balanced").parts["test"]


def test_class_weight_of_an_unknown_class_is_refused():
    with pytest.raises(UserError, match="class_weight names 2; the classes are 0, 1"):
        prepare(table(), class_weight={"2": 1.0})


def test_class_weight_of_a_regression_is_refused():
    with pytest.raises(UserError, match="class_weight is for classification"):
        prepare(tiny_table("regression"), class_weight="balanced")


def test_ids_are_row_numbers_whatever_the_index():
    frame = table(a=np.arange(60.0)).set_index(pd.Index(list("xy") * 30))
    for part in prepare(frame, scaler="none").parts.values():
        np.testing.assert_array_equal(part["id"], part["x_num"][:, 0])
        assert part["id"].dtype == np.int64


@pytest.mark.parametrize(
    "ids,kind",
    [
        (range(100, 160), "i"),
        ([f"row {i}" for i in range(60)], "U"),
        (pd.array([None, *range(59)], dtype="Int64"), "U"),
    ],
)
def test_ids_of_a_column(ids, kind):
    data = prepare(table(key=ids, a=np.arange(60.0)), id="key", scaler="none")
    assert data.info["columns"]["numeric"] == ["a"]
    for part in data.parts.values():
        assert part["id"].dtype.kind == kind
        expected = ["" if pd.isna(ids[int(i)]) else str(ids[int(i)]) for i in part["x_num"][:, 0]]
        assert part["id"].astype(str).tolist() == expected


# -- roles


def test_roles_are_inferred():
    n = 200
    frame = table(
        n,
        code=[f"user{i}" for i in range(n)],
        colour=["red", None] * 100,
        flag=[True, False] * 100,
        day=pd.date_range("2020", periods=n),
        nothing=np.nan,
        note=[f"the film number {i} was fine" for i in range(n)],
    )
    assert prepare(frame).info["columns"] == {
        "numeric": ["a", "flag"], "dates": ["day"], "categorical": ["colour"],
        "text": ["note"], "ignored": ["code", "nothing"],
    }


def test_roles_can_be_named():
    frame = table(size=[1, 2, 3] * 20, colour=["red", "blue"] * 30, b=2.0)
    data = prepare(frame, categorical=["size"], text=["colour"], ignore=["b"])
    roles = {"numeric": ["a"], "categorical": ["size"], "text": ["colour"], "ignored": []}
    assert data.info["columns"] == roles


def test_columns_that_are_called_by_numbers():
    frame = check_frame(pd.DataFrame({0: np.linspace(0, 1, 60), 1: [1, 2] * 30, 2: [0, 1] * 30}))
    info = prepare(frame, target=2, categorical=[1]).info
    assert (info["target"], info["columns"]["numeric"], info["columns"]["categorical"]) == ("2", ["0"], ["1"])


@pytest.mark.parametrize(
    "options,says",
    [
        ({"numeric": ["z"]}, "dataset.numeric=z: no such column; there are a, y"),
        ({"ignore": ["z"]}, "dataset.ignore=z: no such column"),
        ({"categorical": ["y"]}, "dataset.categorical names the target y"),
        ({"ignore": ["a"]}, "no column is left to learn from"),
        ({"weight": "z"}, "dataset.weight=z: no such column"),
        ({"group": "z"}, "dataset.group=z: no such column"),
        ({"numeric": ["a"], "categorical": ["a"]}, "names a"),
    ],
)
def test_roles_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        prepare(table(), **options)


def test_missing_columns_are_named():
    data = prepare(tiny_table("binary"))
    with pytest.raises(UserError, match="missing columns: b, colour"):
        apply_transforms(data.transforms, tiny_table("binary")[["a", "d", "c"]])


def test_new_rows_may_have_other_columns_and_another_order():
    frame = tiny_table("binary")
    transforms = prepare(frame).transforms
    shuffled = frame.drop(columns="y").assign(more=1)[["more", "d", "colour", "b", "c", "a"]]
    for name, values in apply_transforms(transforms, frame).items():
        np.testing.assert_array_equal(values, apply_transforms(transforms, shuffled)[name])


def test_no_new_rows_give_empty_arrays():
    frame = tiny_table("binary").assign(note=tiny_text(240)["sentence"])
    part = apply_transforms(prepare(frame).transforms, frame.head(0))
    assert {len(values) for values in part.values()} == {0}


@pytest.mark.parametrize(
    "frame,says",
    [
        (pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), "names a column twice: a"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "names a column twice: 1"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
        (pd.DataFrame({"a": []}), "has no rows"),
        (pd.DataFrame(index=[0, 1]), "has no rows"),
        ({"a": [1]}, "must be a pandas DataFrame, not dict"),
    ],
)
def test_frames_are_refused(frame, says):
    with pytest.raises(UserError, match=says):
        check_frame(frame)


# -- digest


def changed(frame, change: str):
    if change == "cell":
        return frame.assign(a=frame["a"].where(frame.index != 7, 5.0))
    if change == "text cell":
        return frame.assign(colour=frame["colour"].where(frame.index != 7, "violet"))
    if change == "empty cell":
        return frame.assign(a=frame["a"].where(frame.index != 7))
    if change == "missing or the text nan":
        return frame.assign(colour=frame["colour"].fillna("nan"))
    if change == "name":
        return frame.rename(columns={"a": "A"})
    if change == "type":
        return frame.assign(a=frame["a"].astype(str))
    return frame[frame.columns[::-1]] if change == "columns" else frame.iloc[::-1]


@pytest.mark.parametrize(
    "change",
    ["cell", "text cell", "empty cell", "missing or the text nan", "name", "type", "columns", "rows"],
)
def test_digest_changes_with_what_is_in_the_frame(change):
    frame = tiny_table("binary")
    assert digest(changed(frame, change)) != digest(frame)


@pytest.mark.parametrize("large", [0, 1 << 26])
@pytest.mark.parametrize("n", [0, 1, 1000, 2001])
def test_digest_of_text_is_that_of_codes_and_json(n, large, monkeypatch):
    """As in runs and versions of before, which wrote the JSON as one text."""
    monkeypatch.setattr("src.data.digest.LARGE", large)
    texts = pd.Series([f"ü{i % 1500}\n" for i in range(n)], dtype="str")
    texts[texts == "ü7\n"] = None
    codes, different = pd.factorize(texts)
    content = codes.astype(np.int64).tobytes() + json.dumps(different.tolist()).encode()
    expected = "O" + hashlib.blake2b(content, digest_size=8).hexdigest()
    assert column_digests(pd.DataFrame({"s": texts})) == {"s": expected}


def test_digest_leaves_the_index_out():
    frame = tiny_table("binary")
    assert digest(frame.set_index(pd.Index(range(5, 245)))) == digest(frame.copy()) == digest(frame)
    assert len(digest(frame)) == 16
    assert prepare(frame).info["digest"] == digest(frame)


def test_digest_of_arrays_is_of_a_mask_where_they_have_lengths():
    """As in runs of before, which had the mask among their arrays."""
    lengths, ids = np.arange(1, 2502, dtype=np.int32) % 7 + 1, np.ones((2501, 7), np.int8)
    old = {"y": np.arange(2501), "input_ids": ids, "attention_mask": np.arange(7) < lengths[:, None]}
    new = {"y": np.arange(2501), "input_ids": ids, "lengths": lengths}
    expected = hashlib.blake2b(digest_size=8)
    for key, values in sorted(old.items()):
        expected.update(f"val {key} {values.dtype} {values.shape}".encode() + values.tobytes())
    assert arrays_digest({"val": new}) == expected.hexdigest()


# -- order of minibatches


@pytest.mark.parametrize("lengths", [None, np.arange(1000) % 37])
def test_every_epoch_has_every_row_once_in_an_order_of_its_own(lengths):
    order, again, other = (BatchOrder(1000, 64, seed=seed, lengths=lengths) for seed in (0, 0, 1))
    seen = []
    for epoch in range(2):
        order.set_epoch(epoch)
        seen.append(np.concatenate(order.batches()))
        assert sorted(seen[-1]) == list(range(1000))
        assert max(map(len, order.batches())) == 64
    again.set_epoch(1)  # without having been asked for epoch 0
    np.testing.assert_array_equal(np.concatenate(again.batches()), seen[1])
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(np.concatenate(other.batches()), seen[0])


def test_rows_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(1, 50, size=2000)
    batches = BatchOrder(2000, 50, seed=0, lengths=lengths).batches()
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert padded < 1.1 * lengths.sum()

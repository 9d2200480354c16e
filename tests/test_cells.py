"""A column is what its cells are: kinds in every container, roles, reasons, hints, text of any script."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import QUIET
from test_data import BASE, held_out, prepare, table

from src import fit, load
from src.data import cells, tokenizer
from src.data.digest import arrays_digest
from src.data.prepare import apply_transforms, cut, describe_data, shape
from src.data.target import class_names
from src.dataset import csv, parquet
from src.system.errors import UserError


def values(*texts, **options) -> tuple[str, list]:
    """Return the kind of a column and its numbers."""
    kind, numbers = cells.read(pd.Series(texts, **options))
    assert numbers is None or np.array_equal(
        numbers, cells.numbers(pd.Series(texts, **options), kind), equal_nan=True
    )
    return kind["kind"], numbers if numbers is None else [None if np.isnan(x) else x for x in numbers]


def days(*dates) -> list[float]:
    return [np.datetime64(date, "us").astype(np.int64) / 86_400e6 for date in dates]


# -- text that says something else


@pytest.mark.parametrize(
    "texts,expected",
    [
        (["1", "2.5", "-3e5", ".5", "+4"], [1, 2.5, -3e5, 0.5, 4]),
        ([" 1 ", "2\t"], [1, 2]),
        (["1", "?", "NA", "n/a", "None", "null", "nan", "-", "", None], [1] + [None] * 9),
        (["$29,416.10", "-$5", "$-5.5", "($1,234.50)"], [29416.1, -5, -5.5, -1234.5]),
        (["US$3", "€5", "5 €", "5 EUR", "CHF 1'234.50", "£7"], [3, 5, 5, 5, 1234.5, 7]),
        (["74 %", "7%", "0.5 %", "8\u00a0%"], [74, 7, 0.5, 8]),
        (["R$ 1.234,50", "1 234,50 €", "1\u00a0234,5\u202f€"], [1234.5, 1234.5, 1234.5]),
        (["1 234 567", "1\u00a0234", "1\u202f234"], [1234567, 1234, 1234]),
        (["\u22127", "7"], [-7, 7]),
        (["1,234", "2,500"], [1234, 2500]),
        (["1.234,50 €", "3,5", "1.000"], [1234.5, 3.5, 1000]),
        (["3,5", "2,75", "1,234"], [3.5, 2.75, 1.234]),
        (["0,123", "0,250"], [0.123, 0.25]),
        (["1.234.567", "2.000.000"], [1234567, 2000000]),
        (["1e400", "1"], [None, 1]),  # infinite
    ],
)
def test_text_that_says_numbers(texts, expected):
    assert values(*texts) == ("number", expected)


@pytest.mark.parametrize(
    "texts,expected",
    [
        (["yes", "no", "Yes", None], [1, 0, 1, None]),
        (["TRUE", "false"], [1, 0]),
        (["Y", "N", "n/a"], [1, 0, None]),
        (["on", "off"], [1, 0]),
    ],
)
def test_text_that_says_flags(texts, expected):
    assert values(*texts) == ("flag", expected)


@pytest.mark.parametrize(
    "texts,dates",
    [
        (["2020-01-15", "2020-2-3"], ["2020-01-15", "2020-02-03"]),
        (["2020/01/15", "2020.02.03"], ["2020-01-15", "2020-02-03"]),
        (["2020-01-15 10:30", "2020-01-15T10:30:15.5"], ["2020-01-15 10:30", "2020-01-15 10:30:15.5"]),
        (["2020-01-15T10:00:00Z", "2020-01-15T10:00:00+01:00"], ["2020-01-15 10:00", "2020-01-15 09:00"]),
        (["15/01/2020", "03/02/2020"], ["2020-01-15", "2020-02-03"]),
        (["01/15/2020", "03/02/2020"], ["2020-01-15", "2020-03-02"]),
        (["05/02/2020", "03/02/2020"], ["2020-02-05", "2020-02-03"]),  # undecided: the day is first
        (["15.1.2020", "3.2.2020"], ["2020-01-15", "2020-02-03"]),
        (["15-01-2020", "03-02-2020"], ["2020-01-15", "2020-02-03"]),
        (["15/01/20", "03/02/21"], ["2020-01-15", "2021-02-03"]),
        (["15 Jan 2020", "3 Feb 2020"], ["2020-01-15", "2020-02-03"]),
        (["15-Jan-2020", "03-Feb-2020"], ["2020-01-15", "2020-02-03"]),
        (["January 15, 2020", "May 3, 2020"], ["2020-01-15", "2020-05-03"]),
        (["15/01/2020 13:45", "03/02/2020 00:00"], ["2020-01-15 13:45", "2020-02-03"]),
        (["01/15/2020 1:45 PM", "02/03/2020 11:00 AM"], ["2020-01-15 13:45", "2020-02-03 11:00"]),
        (["2020-01", "2020-12"], ["2020-01-01", "2020-12-01"]),
        (["15/01/2020", "2020-02-03"], ["2020-01-15", "2020-02-03"]),
        (["1850-06-01", "9999-12-31"], ["1850-06-01", "9999-12-31"]),
    ],
)
def test_text_that_says_dates(texts, dates):
    assert values(*texts, None, "NaT") == ("date", [*days(*dates), None, None])


@pytest.mark.parametrize(
    "texts,expected",
    [
        (["0 days 00:05:00", "1 days 02:03:04.5", "2 days"], [300, 93784.5, 172800]),
        (["1 day, 2:03:04", "-1 days +23:00:00"], [93784, -3600]),
        (["13:45", "0:30", "7:05:06"], [49500, 1800, 25506]),
    ],
)
def test_text_that_says_durations(texts, expected):
    assert values(*texts) == ("duration", expected)


@pytest.mark.parametrize(
    "texts",
    [
        ["02134", "2134"],  # codes
        ["0.5", "00501"],
        ["yes", "no", "maybe"],
        ["T", "N", "F"],  # three values are no flag
        ["10-20", "20-30"],  # ranges
        ["1.2.10", "1.15.0", "2.0.1"],  # versions
        ["192.168.0.1", "10.0.0.1"],
        ["3 rooms", "4 rooms"],
        ["A1", "B2"],
        ["1", "2", "three", "4"],  # too few fit
        ["2020 Q1", "2020 Q2"],
        ["may", "june"],
        ["+49 171 1234567", "+49 30 901820"],
    ],
)
def test_other_text_stays_text(texts):
    assert values(*texts) == ("text", None)


def test_a_few_cells_that_do_not_fit_are_empty():
    kind, numbers = cells.read(pd.Series(["1.5"] * 97 + ["two", "three", "?"]))
    assert kind == {"kind": "number", "loose": True}
    assert numbers[:97].tolist() == [1.5] * 97 and np.isnan(numbers[97:]).all()


def test_all_cells_confirm_what_a_sample_says():
    """2,000 of 10,000 cells are looked at; the codes and the words are between them."""
    texts = np.array(["12.5"] * 10_000, object)
    texts[1::5] = "x"
    assert values(*texts) == ("text", None)
    texts[1::5] = "12.5"
    texts[1] = "007"
    assert values(*texts) == ("text", None)


# -- containers


@pytest.mark.parametrize(
    "plain",
    [
        pd.Series([1.5, 2.0, -3.25]),
        pd.Series([7, 8, 2**60 + 1]),
        pd.Series([True, False, True]),
        pd.Series(["a", "b", "1.0"]),
        pd.Series(pd.to_datetime(["2020-01-15", "2020-02-03 12:00", "1850-01-01"], format="ISO8601")),
        pd.Series(pd.to_timedelta(["1.5h", "2D", "7us"])),
    ],
    ids=["float", "int", "bool", "text", "date", "duration"],
)
@pytest.mark.parametrize("gap", [False, True])
def test_a_column_is_the_same_in_every_container(plain, gap):
    nullable, arrow = plain.convert_dtypes(), plain.convert_dtypes(dtype_backend="pyarrow")
    containers = [plain, nullable, arrow, plain.astype(object), plain.astype("category")]
    if plain.dtype.kind == "M":
        containers += [plain.astype("datetime64[us]"), plain.dt.tz_localize("UTC"), plain.astype(str)]
        containers += [plain.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")]
        containers += [plain.astype(pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo")))]
    if plain.dtype.kind == "m":
        containers += [plain.astype("timedelta64[ns]"), plain.astype(str)]
    if plain.dtype.kind in "bf":
        containers += [pd.Series(pd.arrays.SparseArray(plain)), plain.astype(str)]
    if gap:
        containers = [column.astype(object).where([True, False, True], None) for column in containers[3:5]]
        containers += [column.where([True, False, True]) for column in (nullable, arrow)]
    kinds, numbers = zip(*map(cells.read, containers), strict=True)
    assert len({kind["kind"] for kind in kinds}) == 1
    if kinds[0]["kind"] == "text":
        assert len({tuple(cells.as_text(column)) for column in containers}) == 1
    assert all(x is numbers[0] is None or np.array_equal(x, numbers[0], equal_nan=True) for x in numbers)


def test_decimals_and_days_of_databases_are_numbers_and_dates():
    decimals = [Decimal("3.10"), None, Decimal("12")]
    for dtype in (object, pd.ArrowDtype(pa.decimal128(10, 2))):
        assert values(*decimals, dtype=dtype) == ("number", [3.1, None, 12])
    day, noon = dt.date(2020, 1, 15), dt.datetime(2020, 2, 3, 12)
    assert values(day, None) == ("date", [*days("2020-01-15"), None])
    assert values(day, None, dtype="date32[pyarrow]") == ("date", [*days("2020-01-15"), None])
    assert values(day, noon) == ("date", days("2020-01-15", "2020-02-03 12:00"))


def test_a_mixture_is_read_as_its_text():
    assert values(1, "2", Decimal("3.10"), None, "?", dtype=object) == ("number", [1, 2, 3.1, None, None])
    both = days("2020-01-15", "2020-02-03")
    assert values("2020-01-15", dt.date(2020, 2, 3), dtype=object) == ("date", both)


@pytest.mark.parametrize(
    "column,texts",
    [
        (pd.Series(["1.0", "02134", " x", "None"]), ["1.0", "02134", " x", "None"]),
        (pd.Series([1.0, 2.5, np.nan]), ["1", "2.5", ""]),
        (pd.Series([0.1, 2.0], dtype="float32"), ["0.1", "2"]),
        (pd.Series([0.1, None], dtype="float[pyarrow]"), ["0.1", ""]),
        (pd.Series([np.float32(0.1), 0.1, 3, True], dtype=object), ["0.1", "0.1", "3", "True"]),
        (pd.Series([2**60 + 1, None], dtype="Int64"), [str(2**60 + 1), ""]),
        (pd.Series([2**63, 5], dtype="uint64"), [str(2**63), "5"]),
        (pd.Series([10**21, None], dtype=object), [str(10**21), ""]),
        (pd.Series([Decimal("1.50"), Decimal("100")]), ["1.5", "100"]),
        (pd.Series(pd.to_datetime(["2020-01-15", "2020-02-03"])), ["2020-01-15", "2020-02-03"]),
        (pd.Series(pd.to_datetime(["2020-01-15 10:00"])), ["2020-01-15 10:00:00"]),
        (pd.Series([dt.date(2020, 1, 15)]), ["2020-01-15"]),
        (pd.Series([True, None], dtype="bool[pyarrow]"), ["True", ""]),
    ],
)  # fmt: skip
def test_one_text_for_one_value(column, texts):
    assert cells.as_text(column) == texts


# -- roles and what is said of them


def messy(n=300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    y = rng.choice(["No", "Yes"], n, p=[0.9, 0.1])
    return pd.DataFrame({
        "Unnamed: 0": np.arange(n),
        "row_no": np.arange(1, n + 1),
        "Customer ID": [f"C{i:05d}" for i in rng.permutation(n)],
        "Income ($)": [f"${x:,.2f}" for x in rng.gamma(2, 20_000, n)],
        "share": [f"{x} %" for x in rng.integers(0, 100, n)],
        "signup": day.strftime("%d/%m/%Y"),
        "active": rng.choice(["yes", "no"], n),
        "hp": rng.choice(["50", "75", "?"], n),
        "zip": rng.choice(["02134", "2134", "00501"], n),
        "garage": rng.choice(np.array(["None", "attached", None], object), n),
        "const": "x",
        "one": 1,
        "nothing": None,
        "refund": np.where(y == "Yes", rng.gamma(2, 30, n), 0),
        "y": y,
    })


def test_a_messy_table_is_described():
    frame = messy()
    data = prepare(frame)
    assert data.info["columns"] == {
        "numeric": ["row_no", "Income ($)", "share", "active", "hp", "refund"], "dates": ["signup"],
        "categorical": ["zip", "garage"], "text": [],
        "ignored": ["Unnamed: 0", "Customer ID", "const", "one", "nothing"],
    }  # fmt: skip
    first, n_words = frame.iloc[0], (frame["hp"] == "?").sum()
    day = "-".join(reversed(first["signup"].split("/")))
    share = (frame["y"] == "Yes").mean()
    counts = ", ".join(f"{len(part['y'])} {name}" for name, part in data.parts.items())
    money = first["Income ($)"].strip("$").replace(",", "")
    assert describe_data(data).splitlines() == [
        f"rows     {counts}   "
        f"target y (binary: No {1 - share:.1%}, Yes {share:.1%})",
        "numeric      row_no, Income ($), share, active, hp, refund",
        "dates        signup",
        "categorical  zip, garage",
        f"read         Income ($): {first['Income ($)']!r} is {money}",
        f"             share: {first['share']!r} is {first['share'].split()[0]}",
        f"             signup: {first['signup']!r} is {day}",
        f"             active: {first['active']!r} is {int(first['active'] == 'yes')}",
        f"             hp: {n_words} cells ('?') counted as empty",
        "ignored      Unnamed: 0: has no name and a different number in each row; looks like an index",
        "             Customer ID: text, 100% different; looks like an identifier",
        "             const: holds only 'x'",
        "             one: holds only '1'",
        "             nothing: is empty",
        "note         row_no counts the rows: dataset.ignore=[row_no] if it measures nothing",
        "             garage: 'None' is a value; dataset.read.na_values=[None] makes it an empty cell of a "
        "file",
        "             refund alone tells y in 100.0% of the training rows: dataset.ignore=[refund] if it is "
        "known only afterwards",
    ]


def test_new_rows_are_read_as_the_table_was():
    frame = messy()
    data = prepare(frame)
    transforms = json.loads(json.dumps(data.transforms))
    for part in data.parts.values():
        again = apply_transforms(transforms, frame.iloc[part["id"]])
        assert all(np.array_equal(again[key], part[key]) for key in ("x_num", "x_cat"))
    row = frame.iloc[[7]]
    day = pd.to_datetime(row["signup"].iloc[0], dayfirst=True)
    text = apply_transforms(transforms, row.assign(hp="50", active="yes"))
    typed = apply_transforms(transforms, row.assign(hp=50, active=True, signup=day))
    assert np.array_equal(text["x_num"], typed["x_num"])
    with pytest.raises(UserError, match="column active should hold flags, but row 7 holds 'perhaps'"):
        apply_transforms(transforms, row.assign(active="perhaps"))


def test_dates_become_their_parts():
    days = pd.to_datetime(["2020-01-31", "2021-12-05 18:00", None, "2021-06-30 06:00"] * 15, format="ISO8601")
    data = prepare(table(day=days), scaler="none")
    parts = data.transforms["numeric"]["dates"]["day"]["parts"]
    assert list(parts) == ["days", "year", "month", "day", "weekday", "hour"]
    x = apply_transforms(data.transforms, table(4, day=days[:4]))["x_num"][:, 1:]  # without a
    assert x[0].tolist() == [18292, 2020, 1, 31, 4, 0, 0]
    assert x[1].tolist() == [18966.75, 2021, 12, 5, 6, 18, 0]
    assert x[2, 6] == 1 and x[2, 0] == parts["days"]["median"]  # one flag for all parts
    assert data.info["n_num_features"] == 8


def test_parts_of_dates_that_do_not_vary_are_left_out():
    data = prepare(table(day=pd.date_range("2020-03-01", periods=60)))
    assert list(data.transforms["numeric"]["dates"]["day"]["parts"]) == ["days", "month", "day", "weekday"]


@pytest.mark.parametrize(
    "named,roles",
    [
        ({"categorical": ["d", "k"]}, {"categorical": ["d", "k"]}),
        ({"numeric": ["d", "k"]}, {"numeric": ["a", "d", "k"]}),
        ({"dates": ["d"], "text": ["k"]}, {"dates": ["d"], "text": ["k"]}),
        ({"dates": {"d": "%m/%d/%Y"}}, {"dates": ["d"], "numeric": ["a", "k"]}),
    ],
)
def test_the_config_overrides_the_cells(named, roles):
    frame = table(d=["03/02/2020", "04/02/2020", "05/02/2020"] * 20, k=["1", "2", "5"] * 20)
    data = prepare(frame, **named)
    assert {key: data.info["columns"][key] for key in roles} == roles
    if isinstance(named.get("dates"), dict):
        first = data.transforms["numeric"]["dates"]["d"]["parts"]["month"]["median"]
        assert first == 4  # April, as February would be with the day first


def test_wrong_dates_are_refused():
    with pytest.raises(UserError, match="column d should hold dates, but row 0 holds 'soon'"):
        prepare(table(d=["soon", "later"] * 30), dates=["d"])
    for named in (["a"], {"a": "%Y%m%d"}):
        with pytest.raises(UserError, match="names a, which holds numbers: make dates of them in an etl"):
            prepare(table(a=np.arange(20200101, 20200161)), dates=named)


def test_a_config_from_before_kinds_has_the_roles_of_then():
    frame = messy().assign(t=pd.date_range("2020", periods=300))
    older = {key: value for key, value in BASE.items() if key != "dates"}
    data = shape(frame, cut(frame, older, 0), older, scaler="none")
    assert data.info["columns"] == {
        "numeric": ["Unnamed: 0", "row_no", "one", "refund", "t"],
        "categorical": ["share", "active", "hp", "zip", "garage", "const"],
        "text": [], "ignored": ["Customer ID", "Income ($)", "signup", "nothing"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "Unnamed: 3"])
def test_a_nameless_column_that_numbers_the_rows_is_left_out(name):
    for numbers in (np.arange(60), np.random.default_rng(0).permutation(1000)[:60]):
        data = prepare(table(**{name: numbers}))
        assert data.info["columns"]["ignored"] == [name]
    data = prepare(table(**{name: np.arange(60) % 7}))
    assert data.info["columns"]["numeric"] == ["a", name]


@pytest.mark.parametrize(
    "column,told",
    [
        (lambda y, rng: y, True),
        (lambda y, rng: 100 - 3 * y, True),
        (lambda y, rng: np.where(y == 1, "x", "z"), True),
        (lambda y, rng: np.where(y == 1, rng.normal(5, 1, len(y)), 0), True),
        (lambda y, rng: np.where(y == 1, np.nan, rng.normal(size=len(y))), True),  # empty cells tell
        (lambda y, rng: np.where(rng.random(len(y)) < 0.002, 1 - y, y), True),
        (lambda y, rng: np.where(rng.random(len(y)) < 0.1, 1 - y, y), False),
        (lambda y, rng: rng.integers(0, 2, len(y)), False),
        (lambda y, rng: np.zeros(len(y)) + (np.arange(len(y)) == 5), False),
        (lambda y, rng: rng.choice(list("abcdefgh"), len(y)), False),
    ],
)
@pytest.mark.parametrize("positives", [0.06, 0.5])
def test_a_column_that_tells_the_target_is_pointed_out(column, told, positives):
    """In a file that is sorted by the target, too."""
    rng = np.random.default_rng(0)
    y = np.sort((rng.random(1500) < positives).astype(int))
    notes = prepare(pd.DataFrame({"a": rng.normal(size=1500), "leak": column(y, rng), "y": y})).notes["note"]
    assert [note.split(" ")[0] for note in notes if "alone tells" in note] == ["leak"] * told


@pytest.mark.parametrize("noise,told", [(0.0, True), (0.05, True), (0.5, False)])
def test_a_column_that_explains_a_value_is_pointed_out(noise, told):
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    usd = 1.1 * y + noise * rng.normal(size=500)
    notes = prepare(pd.DataFrame({"a": rng.normal(size=500), "usd": usd, "y": y})).notes["note"]
    assert any("usd alone explains" in note for note in notes) == told


def test_rows_that_parts_share_are_counted():
    a = np.random.default_rng(0).normal(size=60)
    texts = ["some words in a row"] * 59 + ["more"]
    frame = table(a=a, c=["u", "u", "v"] * 20, t=texts, s=held_out(range(60)))
    frame.loc[[25, 45, 46], ["a", "c", "t", "y"]] = frame.loc[[0, 1, 2], ["a", "c", "t", "y"]].to_numpy()
    frame.loc[47, ["a", "c", "t"]] = frame.loc[3, ["a", "c", "t"]].to_numpy()
    frame.loc[47, "y"] = 1 - frame.loc[3, "y"]  # another target
    notes = prepare(frame.astype({"a": float, "y": int}), split="s", text=["t"]).notes["note"]
    assert notes == [
        "1 of 20 val rows (5.0%) have the same features as a training row",
        "3 of 20 test rows (15.0%) have the same features as a training row, 1 of them with another target",
    ]


# -- targets


@pytest.mark.parametrize(
    "y,kind",
    [
        (pd.Categorical([0, 1] * 30), "int"),
        (pd.Categorical([False, True] * 30), "bool"),
        (pd.Series([0, 1] * 30, dtype=object), "int"),
        (pd.Series([False, True] * 29 + [None, True], dtype=object), "bool"),
        (pd.Series([0, 1] * 29 + [None, 1], dtype="Int64"), "int"),
        (pd.Series([False, True] * 29 + [None, True], dtype="boolean"), "bool"),
        (pd.Series([0, 1] * 30, dtype="int64[pyarrow]"), "int"),
        (pd.Series([False, True] * 30, dtype="bool[pyarrow]"), "bool"),
        (pd.Series([0.0, 1.0] * 30), "int"),
        (pd.Series([0.5, 1.5] * 30), "float"),
        (pd.Series([0.1, 1.1] * 30, dtype="float32"), "float32"),
        (pd.Series(["0", "1"] * 30), "str"),
        (pd.Series(["0.0", "1.0"] * 30), "str"),
        (pd.Series(["02134", "2134"] * 30), "str"),
        (pd.Series(["None", "NA"] * 30), "str"),
        (pd.Series(["yes", "no"] * 30), "str"),
        (pd.arrays.SparseArray([0, 1] * 30), "int"),
    ],
)
def test_classes_come_back_in_the_type_of_the_target(y, kind):
    frame = table(y=y)
    data = prepare(frame, task="classification", drop_missing_target=True)
    assert data.info["class_type"] == kind
    for part in data.parts.values():
        assert (class_names(data.info)[part["y"]] == frame["y"].iloc[part["id"]].to_numpy()).all()


@pytest.mark.parametrize(
    "y,first",
    [
        ([f"${x:,.2f}" for x in np.arange(60) * 1234.5], 0),
        ([Decimal(f"{x}.25") for x in range(60)], 0.25),
        ([str(x + 0.5) for x in range(60)], 0.5),
        (pd.date_range("1970-01-02", periods=60), 1),
        (pd.to_timedelta(np.arange(1, 61), "min"), 60),
        (pd.to_timedelta(np.arange(1, 61), "min").astype(str), 60),
    ],
)
def test_a_target_of_values_is_a_regression_in_every_container(y, first):
    data = prepare(table(y=y))
    assert data.info["task"] == "regression"
    assert min(part["y"].min() for part in data.parts.values()) == first


def test_words_in_a_target_of_numbers_are_empty_cells():
    frame = table(y=["0", "1", "NA"] * 20)
    with pytest.raises(UserError, match="target y is empty in 20 of 60 rows, first in row 2"):
        prepare(frame)
    assert prepare(frame, drop_missing_target=True).info["classes"] == ["0", "1"]


# -- ids


@pytest.mark.parametrize(
    "ids",
    [
        [1577134800018164904 + i for i in range(60)],
        pd.array([None, *range(2**60, 2**60 + 59)], dtype="Int64"),
        np.arange(2**63, 2**63 + 60, dtype=np.uint64),
        [10**21 + i for i in range(60)],
        [f"{i:06d}" for i in range(60)],
        [f"{i:06d}" if i else None for i in range(60)],
        pd.array(range(60), dtype="int64[pyarrow]"),
        pd.Categorical(range(60)),
    ],
)
def test_ids_are_those_of_the_table(ids):
    ids = pd.Series(ids)
    for part in prepare(table(key=ids, a=np.arange(60.0)), id="key", scaler="none").parts.values():
        expected = ["" if pd.isna(x) else str(x) for x in ids.iloc[part["x_num"][:, 0].astype(int)]]
        assert part["id"].astype(str).tolist() == expected
        assert part["id"].dtype.kind in "iU"


# -- text


@pytest.mark.parametrize(
    "text,tokens",
    [
        ("Don't stop, 3.5% now!", ["don", "'", "t", "stop", ",", "3", ".", "5", "%", "now", "!"]),
        ("किताब अच्छी है", ["किताब", "अच्छी", "है"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("عَرَبِيّ", ["عَرَبِيّ"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("cafe\u0301 noël", ["café", "noël"]),
        ("这部电影 2020年 ok", ["这", "部", "电", "影", "2020", "年", "ok"]),
        ("テキスト", list("テキスト")),
        ("ดีมาก", ["ดี", "ม", "า", "ก"]),
        ("한국어 영화", ["한국어", "영화"]),
    ],
)
def test_text_of_any_script(text, tokens):
    options = {"tokenizer": "words", "lower": True, "min_count": 1, "max_vocab": 100, "max_len": 50}
    state = tokenizer.fit([text], **options)
    assert sorted(state["words"]) == sorted(set(tokens))
    assert tokenizer.apply(state, [[text]])[0].shape == (1, len(tokens))


def test_a_tokenizer_from_before_cuts_as_it_did():
    state = {"tokenizer": "words", "lower": True, "words": ["क", "त"], "max_len": 9}  # क ि त ा ब
    assert tokenizer.apply(state, [["किताब"]])[0].tolist() == [[2, 1, 3, 1, 1]]


@pytest.mark.parametrize(
    "sentence",
    ["这部电影很好看吗{}", "この映画は面白いです{}", "ภาพยนตร์เรื่องนี้ดีมาก{}", "यह फ़िल्म अच्छी थी {}"],
)
def test_sentences_of_any_script_are_text(sentence):
    letters = "一二三四五六七八九十"
    texts = [sentence.format(letters[i // 10] + letters[i % 10]) for i in range(60)]
    assert prepare(table(t=texts)).info["columns"]["text"] == ["t"]


def test_names_are_no_text():
    names = [f"王{a}{b}" for a in "一二三四五六七八九十" for b in "东南西北中上"]
    assert prepare(table(t=names)).info["columns"]["text"] == []


# -- one table in seven containers, and put together from pieces


def containers(frame: pd.DataFrame, folder) -> dict[str, pd.DataFrame]:
    """Return what readers make of the table in a CSV, TSV and Parquet file, and the frame in other forms."""
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_csv(folder / "t.tsv", index=False, sep="\t")
    frame.to_parquet(folder / "t.parquet")
    return {
        "csv": csv.read({"path": str(folder / "t.csv"), "separator": ","}),
        "tsv": csv.read({"path": str(folder / "t.tsv"), "separator": "\t"}),
        "parquet": parquet.read({"path": str(folder / "t.parquet")}),
        "pandas": frame,
        "nullable": frame.convert_dtypes(),
        "arrow": frame.convert_dtypes(dtype_backend="pyarrow"),
        "object": frame.astype(object),
        "pieces": pd.concat([frame[:80], frame[80:]]),
        "arrow pieces": pd.concat([frame[:80], frame[80:]]).convert_dtypes(dtype_backend="pyarrow"),
    }


def one_table() -> pd.DataFrame:
    """Return numbers, flags, dates, durations, money, categories and text, some cells empty."""
    rng, n = np.random.default_rng(0), 200
    frame = pd.DataFrame({
        "a": rng.normal(size=n).round(4),
        "k": rng.integers(0, 9, n),
        "c": rng.choice(np.array(["u", "v", None], object), n),
        "f": rng.choice([True, False], n),
        "t": pd.date_range("2020", periods=n, freq="h"),
        "wait": pd.to_timedelta(rng.integers(0, 90, n), "min"),
        "price": [f"${x:,.2f}" for x in rng.gamma(2, 2000, n)],
        "note": [f"the film number {i} was fine" for i in range(n)],
    })
    frame.loc[::11, ["a", "t", "wait"]] = None
    frame["y"] = np.where(frame["a"].fillna(0) + frame["k"] > 4, "yes", "no")
    return frame


def test_one_table_in_seven_containers(tmp_path):
    made = {name: prepare(one) for name, one in containers(one_table(), tmp_path).items()}
    plain = made["pandas"]
    assert plain.info["columns"] == {
        "numeric": ["a", "k", "f", "wait", "price"],
        "dates": ["t"], "categorical": ["c"], "text": ["note"], "ignored": [],
    }  # fmt: skip
    for name, data in made.items():
        assert data.info["columns"] == plain.info["columns"], name
        assert arrays_digest(data.parts) == arrays_digest(plain.parts), name
        for part, arrays in data.parts.items():
            for key, expected in plain.parts[part].items():
                same = arrays[key].dtype == expected.dtype and np.array_equal(arrays[key], expected)
                assert same, (name, key)


def test_seven_containers_train_the_same_model(outputs, tmp_path):
    frame, found = one_table(), {}
    for name, one in containers(frame, tmp_path).items():
        run = fit("model=linear", "dataset.target=y", *QUIET, data=one)
        p = load(run.name).predict_proba(one)
        found[name] = run.report["arrays_digest"], run.report["metrics"], p.tobytes()
        assert run.report["notes"]["read"][-1].startswith("price: '$")
    assert len(found) == 9 and all(one == found["pandas"] for one in found.values())

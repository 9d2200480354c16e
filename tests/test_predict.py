"""New rows are raw rows: the run's ETL prepares them, one by one; in a notebook and in the shell."""

import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit, load
from src.data.code import Closure
from src.data.rows import Etl, _like
from src.dataset import csv
from src.predict import predict
from src.share.package import pack, unpack
from src.system.errors import UserError
from src.system.files import read_json, write_json

N = 120
OPTIONS = ("dataset.id=code", *QUIET)


def raw_table(n: int = N, seed: int = 0) -> pd.DataFrame:
    """A table as a file may have it: the model's columns are made of these."""
    rng = np.random.default_rng(seed)
    money, age = rng.uniform(10, 9999, n), rng.integers(18, 90, n)
    plan = rng.choice(["gold", "basic"], n)
    return pd.DataFrame({
        "code": [f"c{i}" for i in range(n)],
        "zip": [f"Z{x}" for x in rng.integers(10_000, 99_999, n)],
        "Income ($)": [f"${x:,.2f}" for x in money],
        "age": age,
        "plan": plan,
        "note": "x",
        "churned": np.where(money / 100 + age + 30 * (plan == "gold") > 110, "Yes", "No"),
    })  # fmt: skip


def etl(df):
    df["income"] = df["Income ($)"].str.replace("[$,]", "", regex=True).astype(float)
    df["region"] = df["zip"].str[1:2]
    df["plan"] = df["plan"].str.upper()
    df["churned"] = df["churned"].str.lower()
    return df.drop(columns=["Income ($)", "zip", "note"])


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    return etl(frame.copy())


def trained(path, function=etl, *overrides: str, model: str = "linear"):
    """Return a run on the rows of ``path``, whose dataset has this ETL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "etl", function, raising=False)
        overrides = (f"model={model}", "dataset=csv", f"dataset.path={path}", *OPTIONS, *overrides)
        return fit("dataset.target=churned", *overrides)


@pytest.fixture(scope="module")
def file(outputs):
    path = outputs / "customers.csv"
    raw_table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(file):
    return load(trained(file).name)


def test_raw_rows_get_the_recorded_predictions(run):
    for part in ("val", "test"):
        ids = run.arrays[f"{part}_id"]
        rows = raw_table().set_index("code", drop=False).loc[ids]
        assert len(rows) > 10 and np.array_equal(run.predict_proba(rows), run.arrays[f"{part}_p"])


def test_the_result_has_id_prediction_and_a_probability_of_each_class(run):
    frame = raw_table(9, seed=1).set_index(pd.Index(range(70, 79)))
    found = run.predict(frame)
    assert list(found) == ["id", "prediction", "p_no", "p_yes"] and list(found.index) == list(frame.index)
    assert list(found["id"]) == list(frame["code"])
    p = run.predict_proba(frame)
    assert np.array_equal(found[["p_no", "p_yes"]], p) and np.allclose(p.sum(1), 1)
    assert list(found["prediction"]) == [["no", "yes"][i] for i in p.argmax(1)]
    assert list(run.predict(frame.drop(columns="code"))["id"]) == list(frame.index), "without ids"


def without(*names):
    return lambda frame: frame.drop(columns=list(names))


@pytest.mark.parametrize(
    "change",
    [
        without("churned"),
        without("churned", "note", "code"),
        lambda frame: frame[sorted(frame)],
        lambda frame: frame.assign(other=1.5),
        lambda frame: frame.assign(churned="unheard of"),
        lambda frame: frame.assign(churned=None),
        lambda frame: frame.assign(age=frame["age"].astype(str)),
        lambda frame: frame.astype("string[pyarrow]").assign(age=frame["age"].astype("Int64")),
    ],
    ids="no target,neither id,order,one more,new target,empty target,text,arrow".split(","),
)
def test_what_the_model_does_not_read_may_differ(run, change):
    frame = raw_table(30, seed=2)
    assert np.array_equal(run.predict_proba(change(frame)), run.predict_proba(frame))
    one = frame.iloc[[4]]
    assert np.allclose(run.predict_proba(change(one)), run.predict_proba(frame)[[4]], atol=1e-12)


def test_a_file_is_read_as_the_run_s_own(run, file, tmp_path):
    assert run.predict(str(file)).equals(run.predict(raw_table())) and run.predict(file)["id"][3] == "c3"
    frame = raw_table()
    frame.to_csv(tmp_path / "all.csv", index=False, sep=";")
    other = trained(tmp_path / "all.csv", etl, "dataset.separator=';'")
    frame.head(5).drop(columns="churned").to_csv(tmp_path / "new.csv", index=False, sep=";")
    assert np.array_equal(other.predict(tmp_path / "new.csv")["p_yes"], run.predict(frame.head(5))["p_yes"])
    with pytest.raises(UserError, match=r"no file .*nothing\.csv"):
        run.predict("nothing.csv")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("age"), "missing column: age"),
        (lambda frame: frame.rename(columns={"age": "Age"}), "missing column: age: did you mean Age?"),
        (without("zip"), "needs what these rows lack: zip"),
        (without("zip", "churned"), "needs what these rows lack: zip, churned"),
        (lambda frame: frame.assign(age=["old", *frame["age"][1:]]), "column age .* row 40 holds 'old'"),
        (lambda frame: frame.assign(**{"Income ($)": "much"}), "fails on these rows .ValueError"),
        (lambda frame: frame.assign(**{"Income ($)": "much"}).drop(columns="churned"), "which lack churned"),
        (lambda frame: frame.head(0), "no rows"),
        (lambda frame: frame.to_numpy(), "pandas DataFrame"),
    ],
)
def test_wrong_columns_are_one_sentence(run, change, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        run.predict(change(raw_table(8).set_index(pd.Index(range(40, 48)))))
    assert "\n" not in str(caught.value)


def old_enough(df, least, plans=()):
    return df.assign(old=(df["age"] >= least).astype(int), plan=df["plan"].where(df["plan"].isin(plans)))


def untouched(df):
    return df


def test_arguments_and_versions_are_those_of_the_run(file):
    """A run that named a recorded version gets its code, whatever the dataset's file has now."""
    ignored = "dataset.ignore=[zip,note,'Income ($)',age]"
    arguments = ("+dataset.args.least=40", "+dataset.args.plans=[gold]")
    run = trained(file, old_enough, ignored, *arguments)
    version, frame = run.report["etl_version"], raw_table(20, seed=6)
    wanted = run.predict(frame)
    assert len(set(wanted["p_Yes"].round(6))) == 4, "old or not, gold or empty"
    again = trained(file, untouched, ignored, f"dataset.etl={version}")
    assert again.predict(frame).equals(wanted)
    assert run.predict(frame.drop(columns=["zip", "churned"])).equals(wanted)


# -- rows that are prepared already


def test_rows_as_the_etl_returns_them_are_taken(run, caplog, monkeypatch):
    frame = raw_table(20, seed=3)
    wanted = run.predict(frame)
    assert run.predict(prepared(frame), etl=False).equals(wanted)
    monkeypatch.setattr("src.data.rows.log.propagate", True)
    pd.testing.assert_frame_equal(run.predict(prepared(frame)), wanted)
    pd.testing.assert_frame_equal(run.predict(prepared(frame).drop(columns="churned")), wanted)
    assert len(set(re.findall("lack: (.*); the rows are taken as what it returns", caplog.text))) == 2


def money(df):
    df["Income ($)"] = df["Income ($)"].str.strip("$").str.replace(",", "").astype(float)
    return df


def test_their_kinds_tell_them_from_raw_rows(file, outputs):
    """The names are those of the raw table."""
    run = trained(file, money, "dataset.ignore=[zip,note]")
    frame = raw_table(20, seed=3)
    assert run.predict(money(frame.copy())).equals(run.predict(frame))
    with pytest.raises(UserError, match="fails on these rows"):
        run.predict(frame.assign(**{"Income ($)": "n.a."}))


# -- an ETL that does not go row by row


def drops(df):
    return df[df["age"] >= 40]


def drops_and_renumbers(df):
    return df[df["age"] >= 40].reset_index(drop=True)


def doubles(df):
    return pd.concat([df, df], ignore_index=True)


def sorts(df):
    return df.sort_values("age")


def sorts_and_renumbers(df):
    return df.sort_values("age", ignore_index=True)


def turns_round(df):
    return df[::-1].reset_index(drop=True)


def shuffles(df):
    return df.sample(frac=1, random_state=0, ignore_index=True)


def centres(df):
    return df.assign(age=df["age"] - df["age"].mean())


def recorded(function, frame: pd.DataFrame) -> Etl:
    """Return the ETL ``function`` of a model that reads age and plan."""
    kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    record = {"source": Closure(function).text, "function": function.__name__, "arguments": {}}
    return Etl(record | {"input_columns": kinds, "columns": kinds}, ["age", "plan"], "the ETL")


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (drops, r"drops 1 of 3 rows, the first is row 8;"),
        (drops_and_renumbers, r"drops 1 of 3 rows;"),
        (doubles, "makes 6 rows of 3"),
        (sorts, "reorders rows"),
        (sorts_and_renumbers, "reorders rows"),
        (turns_round, "reorders rows"),
        (shuffles, "reorders rows"),
    ],
)
def test_rows_stay_in_their_places_or_the_sentence_says_why_not(function, sentence):
    frame = raw_table(3).assign(age=[70, 20, 50]).set_index(pd.Index([7, 8, 9]))
    known = recorded(function, frame)
    with pytest.raises(UserError, match=sentence) as caught:
        known.prepare(frame)
    assert "etl=False" in str(caught.value)
    kept = frame[frame["age"] >= 40]
    if function in (drops, drops_and_renumbers):
        assert known.prepare(kept).equals(kept[["age", "plan"]]), "where it drops nothing, all is well"


def test_an_etl_that_drops_rows_trains_and_predicts_the_others(file):
    run = trained(file, drops, "dataset.ignore=[zip,note,'Income ($)']")
    with pytest.raises(UserError, match=f"the ETL of {run.name} drops"):
        run.predict(raw_table())
    kept = raw_table().query("age >= 40")
    assert len(run.predict(kept)) == len(kept) and run.predict(kept).index.equals(kept.index)


def test_an_etl_that_reads_other_rows_is_named(caplog, monkeypatch):
    monkeypatch.setattr("src.data.rows.log.propagate", True)
    frame = raw_table(200)
    assert recorded(centres, frame).prepare(frame)["age"].mean() == pytest.approx(0)
    assert "the ETL makes a row of other rows, too" in caplog.text


def shortens(df):
    return df.assign(plan=df["plan"].str[:3])


def test_text_that_looks_like_numbers_in_a_few_rows_is_text():
    """As a file of two rows with the codes 941 and 102 is read."""
    frame = raw_table(3).assign(plan=["94110", "10245", None])
    known = recorded(shortens, frame)
    wanted = known.prepare(frame)
    assert list(wanted["plan"])[:2] == ["941", "102"]
    for plan in ([94110, 10245, None], [94110.0, 10245.0, np.nan]):
        assert known.prepare(frame.assign(plan=plan)).equals(wanted)
    empty = known.prepare(frame.assign(plan=[np.nan] * 3))
    assert empty["plan"].isna().all() and len(empty) == 3


DAY = "2025-05-06"


@pytest.mark.parametrize(
    ("known", "new", "wanted", "same"),
    [
        ([1, 2], ["3", "4"], [3, 4], True),  # numbers that another cell of the file turned into text
        ([1, 2], [3.0, 4.0], [3, 4], True),
        ([1.5, 2.0], [3, 4], [3.0, 4.0], True),
        ([1, 2], [3.5, 4.0], [3.5, 4.0], False),
        ([1, 2], [3.0, None], [3.0, None], False),
        ([True, False], [1, 0], [True, False], True),
        (["a", "b"], [10, 20], ["10", "20"], True),
        (["a", "b"], [None, None], [None, None], True),
        (pd.to_datetime(["2024-01-02"]), [DAY, None], pd.to_datetime([DAY, None]), True),
    ],
)
def test_a_column_of_new_rows_has_the_dtype_of_before_if_no_cell_changes(known, new, wanted, same):
    known = pd.Series(known)
    found = _like(pd.Series(new), str(known.dtype))
    pd.testing.assert_series_equal(found, pd.Series(wanted, dtype=found.dtype), check_names=False)
    assert (found.dtype == known.dtype) is same


# -- targets of each type


@pytest.mark.parametrize(
    ("task", "target", "kind"),
    [
        ("binary", None, str),
        ("binary", lambda y: y == "yes", np.bool_),
        ("multiclass", None, np.integer),
        ("multiclass", lambda y: y + 0.5, np.floating),
        ("regression", None, np.floating),
    ],
)
def test_predictions_are_of_the_target_s_type(outputs, task, target, kind):
    frame = tiny_table(task)
    if target:
        frame["y"] = target(frame["y"])
    task = task if task == "regression" else "classification"
    run = fit("model=linear", "dataset.target=y", f"dataset.task={task}", *QUIET, data=frame)
    found = run.predict(frame.drop(columns="y"))
    assert isinstance(found["prediction"].iloc[0], kind) and found.index.equals(frame.index)
    if task == "regression":
        assert list(found) == ["id", "prediction"]
        assert (found["prediction"] - frame["y"]).abs().mean() < frame["y"].std()
    else:
        assert list(found)[2:] == [f"p_{name}" for name in run.info["classes"]]
        assert (found["prediction"] == frame["y"]).mean() > 0.6


# -- elsewhere


def test_a_pack_predicts_raw_rows_elsewhere(run, tmp_path, monkeypatch):
    """Without the ETL's versions there; its code needs trust."""
    file, frame = pack(run.name, str(tmp_path / "run.zip")), raw_table(20, seed=4)
    wanted, ready = run.predict(frame), prepared(frame)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "elsewhere"))
    there = unpack(file, trust=True)
    assert load(there.name).predict(frame).equals(wanted) and not (tmp_path / "elsewhere/etl").exists()
    other = unpack(file)
    with pytest.raises(UserError, match="add trust=true"):
        load(other.name).predict(frame)
    assert load(other.name, trust=True).predict(ready, etl=False).equals(wanted)


def test_the_code_of_an_etl_from_elsewhere_needs_trust(file, tmp_path, monkeypatch):
    """A net's weights need none, and rows that are prepared need no code."""
    run = trained(file, etl, "trainer.max_epochs=1", model="mlp")
    frame, marker = raw_table(6, seed=4), tmp_path / "marker"
    wanted = run.predict(frame)
    transforms = read_json(run.folder / "transforms.json")
    transforms["etl"]["source"] += f"\n\nopen({str(marker)!r}, 'w')\n"
    write_json(run.folder / "transforms.json", transforms)
    with pytest.raises(UserError, match=r"transforms\.json was changed since; its ETL could run anything"):
        load(run.name).predict(frame)
    assert load(run.name).predict(prepared(frame), etl=False).equals(wanted) and not marker.exists()
    assert load(run.name, trust=True).predict(frame).equals(wanted) and marker.exists()


def test_an_older_run_takes_the_version_that_made_its_data(file, tmp_path, monkeypatch):
    """Its transforms hold no ETL; where no version fits, rows are taken as they are."""
    run = trained(file)
    frame = raw_table(6, seed=4)
    wanted = run.predict(frame)
    transforms = read_json(run.folder / "transforms.json")
    del transforms["etl"]
    write_json(run.folder / "transforms.json", transforms)
    for name, cells in (("with a target", frame), ("without", frame.drop(columns=["churned", "note"]))):
        assert load(run.name).predict(cells).equals(wanted), name
    shutil.copytree(run.folder.parent, tmp_path / "runs")
    shutil.copy(run.folder.parent.parent / ".key", tmp_path)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    assert load(run.name).predict(prepared(frame)).equals(wanted)
    with pytest.raises(UserError, match="missing columns: income, region"):
        load(run.name).predict(frame)


# -- the verb


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("p.csv", lambda path: pd.read_csv(path, dtype={"id": str})),
        ("p.tsv", lambda path: pd.read_csv(path, dtype={"id": str}, sep="\t")),
        ("p.parquet", pd.read_parquet),
    ],
)
def test_the_verb_writes_a_file(run, tmp_path, capsys, name, read):
    new, output = tmp_path / "new.csv", tmp_path / name
    raw_table(12, seed=5).drop(columns="churned").to_csv(new, index=False)
    output.write_text("of before")
    predict(run.name, str(new), str(output))
    found, wanted = read(output), run.predict(new)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
    n_no = (wanted["prediction"] == "no").sum()
    assert f"{output}   12 rows, " in (shown := capsys.readouterr().out) and f", {n_no} no" in shown
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_verb_shows_csv_and_nothing_else(run, tmp_path, shell):
    raw_table(3, seed=5).drop(columns="churned").to_csv(tmp_path / "new.csv", index=False)
    done = shell("predict", f"run={run.name}", f"input={tmp_path}/new.csv")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == run.predict(tmp_path / "new.csv").to_csv(index=False)
    assert done.stdout.startswith("id,prediction,p_no,p_yes\nc0,")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"output": "p.xlsx"}, r"output=p\.xlsx: should end with \.csv, \.tsv, \.parquet"),
        ({"output": "p"}, "output=p: should end with"),
        ({"output": "new.csv"}, "output=new.csv is the input"),
        ({"run": "t999"}, "no run t999"),
        ({"input": "no.csv"}, "no file no.csv"),
    ],
)
def test_mistakes_of_the_verb_are_one_sentence(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    raw_table(3).to_csv("new.csv", index=False)
    with pytest.raises(UserError, match=sentence):
        predict(**{"run": run.name, "input": "new.csv", "output": "p.csv"} | arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv"]


def test_the_run_keeps_the_code_of_its_etl(run):
    recipe = read_json(run.folder / "transforms.json")["etl"]
    assert "def etl(df):" in recipe["source"] and recipe["version"] == run.report["etl_version"]
    assert set(recipe["cells"]["churned"]) == {"Yes", "No"} and recipe["cells"]["note"] == ["x"]
    assert min(recipe["cells"]["age"]) < 30 and max(recipe["cells"]["age"]) > 80, "also the ends"
    wine = fit("model=linear", "dataset=wine", *QUIET)
    assert read_json(wine.folder / "transforms.json")["etl"] is None, "it changes nothing"
    assert zipfile.is_zipfile(run.folder / "code.zip")

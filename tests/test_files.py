"""Files as people have them: separators, encodings, packing, blanks; no digit, zero or word is lost."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import QUIET

from src import fit, load, reload_etl, run_etl, runs
from src.config.compose import compose
from src.data.load import load_data
from src.data.source import read_csv
from src.data.table import read_table
from src.dataset import csv, parquet
from src.run.job import run_job
from src.system.errors import UserError
from src.system.files import read_json
from src.system.tables import name_of

TEXT = "a,y\n" + "".join(f"{i % 17},{'grün' if i % 17 > 8 else 'no'}\n" for i in range(200))
FRAME = pd.read_csv(io.StringIO(TEXT))


def read(folder, content, name="my.csv", **options) -> pd.DataFrame:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / name, options)


def said(caplog) -> str:
    return " ".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def notes(caplog, monkeypatch):
    """Return a function that gives what was printed since."""
    import logging

    monkeypatch.setattr(logging.getLogger("reprise"), "propagate", True)
    caplog.set_level("INFO", "reprise")
    return lambda: said(caplog)


def packed_by_arrow(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(text.encode())
    return sink.getvalue().to_pybytes()


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


SAME = {  # name of the file -> its bytes: all are the table FRAME
    "plain.csv": TEXT.encode(),
    "bom.csv": b"\xef\xbb\xbf" + TEXT.encode(),
    "bom_quoted.csv": b"\xef\xbb\xbf" + TEXT.replace("a,y", '"a","y"').encode(),
    "mac.csv": TEXT.replace("\n", "\r").encode(),
    "windows.csv": TEXT.replace("\n", "\r\n").encode(),
    "latin.csv": TEXT.encode("latin-1"),
    "utf16.csv": TEXT.encode("utf-16"),
    "utf16_big_end.csv": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf16_no_mark.csv": TEXT.encode("utf-16-le"),
    "excel.csv": b"sep=,\n" + TEXT.encode(),
    "excel_semicolon.csv": b"sep=;\r\n" + TEXT.replace(",", ";").encode(),
    "semicolon.csv": TEXT.replace(",", ";").encode(),
    "pipe.txt": TEXT.replace(",", "|").encode(),
    "tab.tsv": TEXT.replace(",", "\t").encode(),
    "tab.csv": TEXT.replace(",", "\t").encode(),
    "blanks.csv": TEXT.replace(",", ", ").encode(),
    "blanks_behind.csv": TEXT.replace("\n", "  \n").encode(),
    "tail.csv": TEXT.replace("\n", ",\n").replace("y,\n", "y\n").encode(),
    "packed.csv.gz": gzip.compress(b"\xef\xbb\xbf" + TEXT.encode()),
    "misnamed.csv": gzip.compress(TEXT.encode()),
    "not_packed.csv.gz": TEXT.encode(),
    "packed.csv.zst": packed_by_arrow(TEXT),
    "packed.tsv.gz": gzip.compress(TEXT.replace(",", "\t").encode("latin-1")),
    "mac.csv.zip": zipped(**{"x.csv": TEXT, "__MACOSX/._x.csv": "junk"}),
}


@pytest.mark.parametrize("name", SAME)
def test_one_table_however_it_is_written(tmp_path, name):
    pd.testing.assert_frame_equal(read(tmp_path, SAME[name], name), FRAME)


REFUSED = {
    "cut.csv.gz": (gzip.compress(TEXT.encode())[:-20], "not a readable CSV file: Compressed file ended"),
    "junk.csv.zst": (b"\x28\xb5\x2f\xfdjunk", "not a readable CSV file"),
    "cut.csv.zst": (packed_by_arrow(TEXT)[:40], "not a readable CSV file"),
    "x.csv.tar": (b"junk" * 300, "is a tar archive: save its table"),
    "x.csv.tar.gz": (gzip.compress(b"junk"), "is a tar archive"),
    "x.tgz": (b"", "is a tar archive"),
    "x.xlsx": (b"PK\x03\x04" + bytes(range(256)), "is an Excel file"),
    "xlsx.csv": (zipped(**{"a.xml": "", "b.xml": ""}), "the zip holds 2 files"),
    "broken.csv.zip": (b"PK\x03\x04junk", "not a readable CSV file: File is not a zip file"),
    "empty.csv.zip": (zipped(), "has no rows"),
    "twice.csv": ("a, a\n1,2\n", "names a column twice: a"),
    "long_rows.csv": ("a;b\n1;2;3\n4;5;6\n", r"separator was ';', dataset.read.separator=\.\.\. sets"),
    "noise.csv": (np.random.default_rng(0).bytes(5000), "it was read as .*, dataset.read.encoding=... sets"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_one_sentence(tmp_path, name):
    content, says = REFUSED[name]
    with pytest.raises(UserError, match=says) as refusal:
        read(tmp_path, content, name)
    assert name in str(refusal.value) and "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_what_was_found_is_printed(tmp_path, notes):
    read(tmp_path, SAME["semicolon.csv"], "churn.csv")
    read(tmp_path, SAME["latin.csv"], "old.csv")
    read(tmp_path, "a, job ,y\n1, 'x',007\n", "odd.csv")
    assert "churn.csv, separator ;" in notes()
    assert "old.csv, separator ,; not UTF-8, read as cp1252: if letters are wrong, set dataset." in notes()
    assert "as text, to keep all digits: y; blanks around names and cells left out: job" in notes()


def test_options_are_those_of_pandas(tmp_path):
    text = "tag;n;x\n2020-01-05;1.234;0,5\n2021-03-01;5;-\n"
    frame = read(tmp_path, text, decimal=",", thousands=".", na_values=["-"], parse_dates=["tag"])
    assert frame["n"].tolist() == [1234, 5] and frame["x"].tolist()[0] == 0.5 and frame["x"].isna()[1]
    assert frame["tag"].tolist() == [pd.Timestamp("2020-01-05"), pd.Timestamp("2021-03-01")]
    chinese = read(tmp_path, "性别|\n男\n".encode("gbk"), encoding="gbk", separator=",")
    assert chinese["性别|"].tolist() == ["男"]
    for word, sign in {"tab": "\t", "semicolon": ";", "space": " ", r"\t": "\t", "::": "::"}.items():
        assert read(tmp_path, f"a{sign}b\n1{sign}2\n", separator=word)["b"].tolist() == [2]
    with pytest.raises(UserError, match=r"parse_dates=day.*did you mean Day"):
        read(tmp_path, "Day\n2020-01-05\n", parse_dates=["day"])
    with pytest.raises(UserError, match=r"unknown encoding: nosuch.*dataset.read.encoding="):
        read(tmp_path, TEXT, encoding="nosuch")
    with pytest.raises(UserError, match=r"utf-8.*codec can't decode.*dataset.read.encoding="):
        read(tmp_path, SAME["latin.csv"], encoding="utf-8")


CELLS = {  # a column of a file -> what must be read; a number where nothing is lost
    "zip": (["02134", "2134", "00501", "501"], str),
    "quoted": (['"007"', '"7"', '"x"', '"y"'], str),
    "quoted_zeros": (['"007"', '"7"', '"08"', '"9"'], str),
    "signed": (["-007", "1", "2", "3"], str),
    "phones": (["+4917012345", "+4917012346", "4917012347", "1"], str),
    "long_with_gap": (["1577134800018164904", "", "1577134800018164905", "3"], str),
    "beyond_int64": (["9223372036854775809", "9223372036854775811", "1", "2"], str),
    "beyond_uint64": (["1000000000000000000007", "1000000000000000000014", "1", "2"], str),
    "beyond_uint64_gap": (["1000000000000000000007", "", "1", "2"], str),
    "negative_beyond": (["-9223372036854775809", "1", "2", "3"], str),
    "words": (["None", "NA", "null", "nan"], str),
    "more_words": (["N/A", "NaN", "<NA>", "#N/A"], str),
    "int64": (["1577134800018164904", "-1", "0", "9223372036854775807"], int),
    "zero_one": (["0", "1", "0", "1"], int),
    "signs": (["+5", "-3", "0", "1"], int),
    "money": (["0.50", "007.50", "-0.5", "00.1"], float),
    "gaps": (["1", "", "3", ""], float),
    "whole_floats": (["1.0", "0.0", "10.0", "2.0"], float),
    "huge": (["1e300", "1e20", "0", "-1e17"], float),
}


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("name", CELLS)
def test_no_digit_and_no_word_is_lost(tmp_path, name, separator):
    cells, kind = CELLS[name]
    lines = [f'"a{separator} b"{separator}{cell}{separator}01/02/2020' for cell in cells]
    frame = read(tmp_path, "\n".join([f"t{separator}c{separator}d", *lines, ""]))
    expected = [cell.strip('"') for cell in cells]
    found = frame["c"].astype(object).where(frame["c"].notna(), "").tolist()
    assert found == (expected if kind is str else [kind(cell) if cell else "" for cell in expected])
    assert frame["d"].tolist() == ["01/02/2020"] * 4 and frame["t"][0] == f"a{separator} b"


def test_a_code_far_down_the_file_is_found(tmp_path):
    lines = [str(i) for i in range(30_000)]
    assert read(tmp_path, "\n".join(["c", *lines]))["c"].dtype == np.int64
    lines[29_000] = "0029000"
    frame = read(tmp_path, "\n".join(["c", *lines]))
    assert frame["c"][29_000] == "0029000" and frame["c"][1] == "1"


def test_where_arrow_cuts_lines_in_another_way_pandas_reads_the_text(tmp_path):
    frame = read(tmp_path, "a,b,c\n01,2\n2,3,4\n")  # a short row
    assert frame["a"].tolist() == ["01", "2"] and frame["c"].isna().tolist() == [True, False]


def test_na_values_make_cells_empty(tmp_path):
    frame = read(tmp_path, "a,b\n?,NA\n1,x\n-999,NA \n", na_values=["NA", "?", -999])
    assert frame.isna().to_numpy().tolist() == [[True, True], [False, False], [True, True]]


def test_blanks_are_no_part_of_names_and_cells(tmp_path):
    frame = read(tmp_path, 'a, job , y\n1,  clerk ," yes"\n2,clerk,yes\n3,"   ",no\n')
    assert frame.columns.tolist() == ["a", "job", "y"]
    assert frame["job"].tolist()[:2] == ["clerk"] * 2 and frame["job"].isna()[2]
    assert frame["y"].tolist() == ["yes", "yes", "no"]


# -- Parquet


def test_a_folder_of_parquet_files(tmp_path):
    for year in (2020, 2021):
        (tmp_path / f"sales/year={year}").mkdir(parents=True)
        pd.DataFrame({"a": [year, 1], "y": ["u", "v"]}).to_parquet(tmp_path / f"sales/year={year}/0.parquet")
    (tmp_path / "sales/_SUCCESS").touch()
    frame = parquet.read({"path": str(tmp_path / "sales")})
    assert frame["a"].tolist() == [2020, 1, 2021, 1] and frame["year"].tolist() == [2020, 2020, 2021, 2021]
    pd.DataFrame({"b": [1]}).to_parquet(tmp_path / "sales/x.parquet")
    with pytest.raises(UserError, match="different columns: name one file"):
        read_table(tmp_path / "sales")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="is a folder without Parquet files"):
        read_table(tmp_path / "none")


# -- where files are, what datasets are called


def test_a_missing_file_names_its_folder_and_near_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "churn.csv").write_text(TEXT)
    for path, says in {
        "chrun.csv": f"no file chrun.csv in {tmp_path}, .*did you mean churn.csv",
        "zzz": f"in {tmp_path}.*there are churn.csv",
        "sub/churn.csv": f"no file churn.csv in {tmp_path}/sub",
    }.items():
        with pytest.raises(UserError, match=says):
            read_table(path)


@pytest.mark.parametrize(
    ("path", "name"),
    {
        "churn.csv": "churn", "a/b/data (1).csv.gz": "data_1", "größe.tsv": "größe", "日本.parquet": "日本",
        "my.data.csv": "my_data", "../x": "x", "wine.csv": "wine_file", "frame.csv": "frame_file",
        "%.csv": "table", "-rf.csv": "rf", "events/": "events", "a.csv.zip": "a", "2020.csv": "2020",
        "gro\u0308ße.csv": "größe", "é" * 90 + ".csv": "é" * 60,
    }.items(),
)  # fmt: skip
def test_a_dataset_is_called_by_its_file(path, name):
    assert name_of(path, taken=["wine", "frame"]) == name


def test_from_a_path_to_a_run_and_its_names(outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "churn (1).csv").write_text(TEXT)
    run = fit("model=linear", "dataset=churn (1).csv", "dataset.target=y", *QUIET)
    assert repr(run).startswith(f"{run.name}: linear on churn_1, done")
    assert runs().loc[run.name, "dataset"] == "churn_1" and run.info["classes"] == ["grün", "no"]
    assert (outputs / "etl/churn_1/v1/version.json").is_file()
    assert (run.cfg["dataset"]["name"], run.cfg["dataset"]["reader"]) == ("churn_1", "csv")
    FRAME.to_parquet("churn.parquet")
    run = fit("model=linear", "dataset=churn.parquet", "dataset.target=y", *QUIET)
    assert run.report["dataset"] == "churn" and run.cfg["dataset"]["reader"] == "parquet"
    assert reload_etl("churn", "v1").equals(FRAME)


def test_a_version_of_a_file_is_made_again_as_it_was_read(outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "codes.tsv").write_text("a\tb\n007\tNA\n8\tx\n")
    made = run_etl("codes", lambda_free, data="codes.tsv")
    assert made["a"].tolist() == ["007", "8"] and made["b"].tolist() == ["NA", "x"]
    (tmp_path / "codes.tsv").rename(tmp_path / "moved.tsv")
    assert reload_etl("codes", "v1", data="moved.tsv").equals(made)


def lambda_free(df):
    return df


def test_a_config_recorded_before_reads_as_it_did(outputs, tmp_path):
    """Words such as NA were empty cells then, and 007 was 7; its versions and its replay depend on it."""
    path = tmp_path / "old.csv"
    path.write_text("c;b;y\n" + "".join(f"00{i % 3};{'NA' if i % 5 else i};{i % 2}\n" for i in range(80)))
    cfg = compose(["model=linear", "dataset=csv", f"dataset.path={path}", "dataset.target=y", *QUIET])
    assert csv.read(cfg["dataset"])["c"][1] == "001"
    del cfg["dataset"]["read"], cfg["dataset"]["reader"]
    cfg["dataset"] |= {"name": "csv", "separator": ";"}
    pd.testing.assert_frame_equal(csv.read(cfg["dataset"]), read_csv(path, sep=";"))
    run = run_job(cfg)
    assert run.report["dataset"] == "csv"
    assert read_json(outputs / "etl/csv/v1/version.json")["cfg"]["separator"] == ";"
    assert reload_etl("csv", "v1")["c"].tolist()[:3] == [0, 1, 2]
    assert load(run.name).predict_proba(read_csv(path, sep=";")).shape == (80, 2)


def test_data_of_a_file_is_the_same_in_all_its_forms(tmp_path):
    arrays = []
    for name in ("plain.csv", "semicolon.csv", "utf16.csv", "packed.csv.zst"):
        (tmp_path / name).write_bytes(SAME[name])
        dataset = compose([f"dataset={tmp_path / name}", "dataset.target=y"])["dataset"]
        arrays.append(load_data(dataset, scaler="standard", class_weight=None, seed=0))
    for data in arrays[1:]:
        assert data.info["digest"] == arrays[0].info["digest"]
        np.testing.assert_array_equal(data.parts["train"]["x_num"], arrays[0].parts["train"]["x_num"])


def test_a_tar_that_really_is_one(tmp_path):
    (tmp_path / "x.csv").write_text(TEXT)
    with tarfile.open(tmp_path / "x.csv.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "x.csv", "x.csv")
    with pytest.raises(UserError, match="is a tar archive"):
        read_table(tmp_path / "x.csv.tar.xz")

"""A file that is read in pieces gives the rows that it gives as a whole, wherever it is cut."""

import bz2
import gzip
import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, tiny_table

from src import fit, load
from src.config import shell
from src.data import chunks as module
from src.data.chunks import chunks
from src.data.fasta import read_fasta
from src.data.table import read_table
from src.predict import predict
from src.system.errors import UserError

PLAIN = {"name": "wine"}  # a dataset without files

ROWS = "".join(f"{i},{i % 7}.5,w{i}\n" for i in range(60))
TEXTS = {
    "plain": "a,b,c\n" + ROWS,
    "no end of line": "a,b,c\n" + ROWS[:-1],
    "crlf": ("a,b,c\n" + ROWS).replace("\n", "\r\n"),
    "quoted": "a,b,c\n" + "".join(f'{i},"x\n{i}, ""y""\n",{i}\n' for i in range(40)),
    "quotes within": "a,b,c\n" + "".join(f'{i},{i}" pipe,"z"\n' for i in range(40)),
    "a quoted name": '"a\nb","b, c",c\n' + ROWS,
    "blanks": "a , b,c\n" + "".join(f' {i} , "x, {i}",  y\n' for i in range(40)),
    "blank lines": "\na,b,c\n\n" + ROWS.replace("\n", "\n\n"),
    "semicolons": "a;b;c\n" + ROWS.replace(",", ";").replace(".5", ",5"),
    "tabs": "a\tb\tc\n" + ROWS.replace(",", "\t"),
    "named separator": "sep=|\na|b|c\n" + ROWS.replace(",", "|"),
    "short rows": "a,b,c\n" + ROWS + "7\n" + ROWS,
    "codes": "a,b,c\n" + "".join(f"{i:05d},+49123456{i},{10**18 + i}\n" for i in range(60)),
    "one column": "a\n" + "".join(f"{i}\n" for i in range(400)),
}


def whole(path, size: int, monkeypatch) -> pd.DataFrame:
    monkeypatch.setattr(module, "N_BYTES", size)
    found = list(chunks(path, PLAIN))
    shares = [share for _, share in found]
    assert len(found) > 2 and shares == sorted(shares)
    return pd.concat([frame for frame, _ in found])


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [61, 200])
def test_pieces_of_a_text_are_the_whole(tmp_path, monkeypatch, name, size):
    path = tmp_path / "new.csv"
    path.write_bytes(TEXTS[name].encode())
    pd.testing.assert_frame_equal(whole(path, size, monkeypatch), read_table(path), check_dtype=False)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_pieces_of_each_encoding(tmp_path, monkeypatch, encoding):
    path = tmp_path / "new.csv"
    path.write_bytes(("ä,b,c\n" + ROWS + "1,2.5,größe\n").encode(encoding))
    found = whole(path, 99, monkeypatch)
    pd.testing.assert_frame_equal(found, read_table(path), check_dtype=False)
    assert found["c"].iloc[-1] == "größe" and next(iter(found)) == "ä"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_pieces_of_a_packed_file(tmp_path, monkeypatch, pack):
    path = tmp_path / "new.csv"
    path.write_bytes(pack(TEXTS["quoted"].encode()))
    pd.testing.assert_frame_equal(whole(path, 99, monkeypatch), read_table(path), check_dtype=False)


def test_what_is_text_in_the_first_rows_stays_text(tmp_path, monkeypatch):
    path = tmp_path / "new.csv"
    path.write_text("a\n" + "x\n" * 40 + "1.50\n" * 40 + "007\n")
    assert whole(path, 30, monkeypatch)["a"].tolist() == ["x"] * 40 + ["1.50"] * 40 + ["007"]


@pytest.mark.parametrize("parts", [1, 3])
def test_pieces_of_parquet(tmp_path, monkeypatch, parts):
    frame = tiny_table("binary", 300).astype({"colour": "category"})
    path = tmp_path / "new.parquet"
    if parts == 1:
        frame.to_parquet(path, row_group_size=50)
    else:
        path = tmp_path
        for i, part in enumerate(np.array_split(np.arange(300), parts)):
            frame.iloc[part].to_parquet(tmp_path / f"{i}.parquet")
    monkeypatch.setattr(module, "N_ROWS", 70)
    found = list(chunks(path, PLAIN))
    assert len(found) >= 5 and found[-1][1] == 1
    made = pd.concat([one for one, _ in found])
    pd.testing.assert_frame_equal(made, frame, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("name", ["r.fa", "r.fa.gz", "r.fastq"])
def test_pieces_of_sequences(tmp_path, monkeypatch, name):
    records = [(f"s{i} y={i % 3}", "ACGT" * (i % 5 + 1)) for i in range(40)]
    if name == "r.fastq":
        text = "".join(f"@{one}\n{letters}\n+\n{'I' * len(letters)}\n" for one, letters in records)
    else:
        text = "".join(f">{one}\n{letters[:3]}\n{letters[3:]}\n" for one, letters in records) + ">empty\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    found = whole(path, 90, monkeypatch)
    pd.testing.assert_frame_equal(found, read_fasta(path))
    assert len(found) == 40 and found["y"].iloc[4] == "1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n" + "1,2\n" * 50 + "1,2,3\n", "line 52"),
        ("a,b\n" + "1,2\n" * 49 + "1,2,3\n1,2\n", "line 51 has more cells than the 2|line 51, saw"),
        ("a,a\n" + "1,2\n" * 50, "names a column twice"),
        ("a,b\n", "has no rows"),
        ("", "is empty"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, monkeypatch, text, sentence):
    path = tmp_path / "new.csv"
    path.write_text(text)
    for size in (17, 60, 1 << 20):
        monkeypatch.setattr(module, "N_BYTES", size)
        with pytest.raises(UserError, match=sentence):
            list(chunks(path, PLAIN))


@pytest.fixture(scope="module")
def run(outputs):
    frame = tiny_table("binary").assign(code=[f"{i:03d}" for i in range(240)])
    frame.to_csv(outputs / "t.csv", index=False)
    return fit("model=linear", f"dataset={outputs}/t.csv", "dataset.target=y", "dataset.id=code", *QUIET)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet"])
def test_predictions_of_pieces_are_those_of_the_whole(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "N_BYTES", 1500)
    new = tmp_path / "new.csv"
    frame = tiny_table("binary", 200, seed=1).drop(columns="y").assign(code=range(200), more=1)
    frame.to_csv(new, index=False)
    assert predict(run.name, str(new), str(tmp_path / name)) == 200
    output = tmp_path / name
    separator = "\t" if name == "p.tsv" else ","
    found = pd.read_parquet(output) if name == "p.parquet" else pd.read_csv(output, sep=separator)
    wanted = load(run.name).predict(new)
    assert found["id"].tolist() == list(range(200))
    assert found["prediction"].tolist() == wanted["prediction"].tolist()
    assert np.allclose(found[["p_no", "p_yes"]], wanted[["p_no", "p_yes"]], atol=1e-12)


def test_a_wrong_cell_is_named_by_its_row_in_the_file_and_nothing_is_left(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "N_BYTES", 1500)
    frame = tiny_table("binary", 200).astype({"b": object})
    frame.loc[150, "b"] = "many"
    frame.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match="column b should hold numbers, but row 150 holds 'many'"):
        predict(run.name, str(tmp_path / "new.csv"), str(tmp_path / "p.csv"))
    frame.drop(columns="b").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match="missing column: b"):
        predict(run.name, str(tmp_path / "new.csv"), str(tmp_path / "p.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_columns_that_the_run_does_not_know_are_named_once(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "N_BYTES", 1500)
    monkeypatch.setattr(sys.modules["logging"].getLogger("reprise"), "handlers", [])
    shell.console()
    tiny_table("binary").assign(code=1, other=2, more=3).to_csv(tmp_path / "new.csv", index=False)
    predict(run.name, str(tmp_path / "new.csv"), str(tmp_path / "p.csv"))
    assert capsys.readouterr().out.count(f"{run.name} does not read other, more") == 1


def test_standard_input_is_read_and_standard_output_written(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["logging"].getLogger("reprise"), "handlers", [])
    frame = tiny_table("binary", 30).drop(columns="y")
    wanted, parquet = load(run.name).predict(frame), io.BytesIO()
    frame.to_parquet(parquet)
    for data in (gzip.compress(frame.to_csv(index=False).encode()), parquet.getvalue()):
        stream = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdin", stream)
        assert predict(run.name, "-") == 30
        found = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert np.allclose(found["p_yes"], wanted["p_yes"]) and list(found["id"]) == list(range(30))

"""FASTA and FASTQ: read right, or refused with file, line and reason."""

import bz2
import gzip
import lzma
import random

import pandas as pd
import pytest
from conftest import QUIET

from src import fit
from src.config import shell
from src.config.compose import compose
from src.data.fasta import read_fasta
from src.system.errors import UserError, log


@pytest.fixture
def made(tmp_path):
    """Return ``made(content, name)``: the frame of a file."""

    def make(content: bytes | None, name: str = "a.fa", **options) -> pd.DataFrame:
        (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
        return read_fasta(tmp_path / name, **options)

    return make


PLAIN = b">a label=yes\nACGT\n>b label=no\nGG\nCC\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN[:-1],
        b"\xef\xbb\xbf" + PLAIN,
        b"; an old comment\n\n" + PLAIN.replace(b">b", b"\n\n>b"),
        PLAIN.replace(b"ACGT", b"AC GT\t"),
        PLAIN.replace(b"ACGT", b"A\nC\nG\nT"),
        PLAIN.replace(b">a", b">empty label=yes\n>a") + b">last label=no\n\n",
        b"@a label=yes\nACGT\n+\nIIII\n@b label=no\nGGCC\n+b\n@@@@\n",
    ],
)
def test_the_same_two_records(made, content):
    columns = {"id": ["a", "b"], "label": ["yes", "no"], "sequence": ["ACGT", "GGCC"]}
    assert made(content).to_dict("list") == columns


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed(made, pack):
    assert made(pack(PLAIN), "a.fa.packed")["sequence"].tolist() == ["ACGT", "GGCC"]


def test_letters_stay_as_they_are_and_ids_may_repeat(made, caplog):
    caplog.set_level("INFO", "reprise")
    frame = made(b">x\nacgtNNRY-*\n>x\nMKV*\n>\nAC\n>gone\n")
    assert frame["sequence"].tolist() == ["acgtNNRY-*", "MKV*", "AC"]
    assert frame["id"].tolist() == ["x", "x", ""]
    left_out = "1 records without letters left out, first in line 7"
    assert f"3 sequences; 1 ids occur again; {left_out}" in caplog.text


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("sp|P1|X Long name OS=Homo sapiens OX=9606", {"OS": "Homo sapiens", "OX": "9606"}),
        ("a;label=1;split=train", {"label": "1", "split": "train"}),
        ("a|label=x y|n=3", {"label": "x y", "n": "3"}),
        ("a no keys here", {}),
        ("a url=http://h/?q=1", {"url": "http://h/?q=1"}),
    ],
)
def test_keys_of_headers_become_columns(made, header, columns):
    row = made(f">{header}\nACGT\n".encode()).drop(columns=["id", "sequence"]).iloc[0].to_dict()
    assert row == columns


def test_a_pattern_and_a_table_give_labels(made, tmp_path):
    text = b">r1_pos\nACGT\n>r2_neg\nACGA\n>r3_pos\nACGC\n"
    assert made(text, header=r"_(?P<label>\w+)$")["label"].tolist() == ["pos", "neg", "pos"]
    (tmp_path / "l.csv").write_text("name,y,group\nr3_pos,3.5,b\nr1_pos,1.5,a\n")
    frame = made(text, labels=str(tmp_path / "l.csv"))
    assert frame["y"].tolist()[::2] == [1.5, 3.5] and pd.isna(frame["y"][1])
    assert frame["group"].fillna("").tolist() == ["a", "", "b"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is a folder, not a file"),
        (b"", "line 0: the file ends without a sequence"),
        (b">a\n>b\n", "line 2: the file ends without"),
        (b"ACGT\n", "line 1: a sequence comes before the first header"),
        (b">a\nAC1T\n", "line 2: '1' is no letter"),
        (b">a\nAC\xffT\n", "line 2: 'ÿ' is no letter"),
        (b">a\nACGT\n>b\x00c\nAC\n", "line 3: a header should begin with >, without control"),
        (b">a\xff\nACGT\n", "line 1: the header is not UTF-8"),
        (b">a\rACGT\r>b\rACGT\r", "line 1: it holds a CR"),
        (b"@a\nACGT\n+\nIII\n", r"line 4: a record should be @header, letters, \+ and as many"),
        (b"@a\nACGT\n", "line 2: a record should be @header"),
        (b"@a\nACGT\n+\nIIII\nACGT\n+\nIIII\n", "line 5: a header should begin with @"),
        (b">a sequence=AC\nACGT\n", "names a column twice: sequence"),
        pytest.param(gzip.compress(PLAIN * 1000)[:-20], "after line", id="cut"),
        pytest.param(gzip.compress(PLAIN)[:6] + b"\xff" * 20, "after line 0", id="spoiled"),
    ],
)
def test_what_is_refused(made, content, says):
    with pytest.raises(UserError, match="a.fa.*" + says):
        made(content)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"header": "(?P<label>"}, r"dataset\.header=.* is no regular expression"),
        ({"header": r"\w+"}, "should have a named group"),
        ({"header": r"_(\w+)$"}, r"header=.* with named groups, such as \(\?P<label>.*: .*unnamed groups"),
        ({"header": r"x(?P<label>\d{9})"}, "fit headers like 'a label=yes'"),
    ],
)
def test_a_wrong_pattern_is_refused(made, options, says):
    with pytest.raises(UserError, match=says):
        made(PLAIN, **options)


def test_wrong_labels_are_refused(made, tmp_path):
    (tmp_path / "twice.csv").write_text("id,y\na,1\na,2\n")
    (tmp_path / "other.csv").write_text("id,y\nq,1\nz,2\n")
    other = r"other.csv: no id \(q\) is that of a sequence \(a\)"
    for name, says in [("twice", "holds the id a twice"), ("other", other)]:
        with pytest.raises(UserError, match=says):
            made(PLAIN, labels=str(tmp_path / f"{name}.csv"))


def plain_reader(text: str) -> list[tuple[str, str]]:
    """Read FASTA as simply as can be: (header, letters) of records that have letters."""
    records = []
    for line in text.splitlines():
        if line.startswith(">"):
            records.append([line[1:].strip(), ""])
        elif line and not line.startswith(";"):
            records[-1][1] += line.replace(" ", "").replace("\t", "")
    return [(header, letters) for header, letters in records if letters]


def test_a_thousand_mutated_files_are_read_right_or_refused(made):
    rng, n_read, n_refused = random.Random(0), 0, 0
    letters = "ACGTacgtNRYKMSWBDHV*-"
    for _ in range(1000):
        lines = []
        for i in range(rng.randint(1, 5)):
            lines.append(f">r{i} label={rng.choice(['a', 'b'])} n={i}")
            lines += ["".join(rng.choices(letters, k=rng.randint(0, 30))) for _ in range(rng.randint(0, 3))]
        content = bytearray(rng.choice(["\n", "\r\n"]).join(lines).encode() + b"\n")
        for _ in range(rng.randint(0, 2)):
            place, kind = rng.randrange(len(content)), rng.randrange(4)
            if kind == 0:
                content[place] = rng.choice([*b">ACGT \n\t;=", *range(256)])
            elif kind == 1:
                del content[place : place + rng.randint(1, 9)]
            elif kind == 2:
                content[place:place] = bytes(rng.choice([*b">@+;\nAZ", *range(256)]) for _ in range(3))
            content = content or bytearray(b"\n")
        try:
            frame = made(bytes(content))
        except UserError as error:
            text = str(error)
            assert ("a.fa, line " in text or "names a column twice" in text) and text[-1] not in ": "
            n_refused += 1
            continue
        if not bytes(content).lstrip(b"\xef\xbb\xbf\r\n").startswith(b"@"):
            expected = plain_reader(bytes(content).decode().replace("\r\n", "\n"))
            assert frame["sequence"].tolist() == [letters for _, letters in expected]
            assert frame["id"].tolist() == [(header.split() or [""])[0] for header, _ in expected]
        n_read += 1
    assert n_read > 400 and n_refused > 100


def test_a_run_by_the_path_alone(outputs, tmp_path, monkeypatch, capsys):
    rng = random.Random(0)
    rows = [(rng.choice(["yes", "no"]), "".join(rng.choices("ACGT", k=30))) for _ in range(200)]
    planted = [s[:9] + "GATTACA" * (y == "yes") + s[9:] for y, s in rows]
    lines = (f">r{i} label={y}\n{s}\n" for i, ((y, _), s) in enumerate(zip(rows, planted, strict=True)))
    path = tmp_path / "my reads.fa.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    run = fit("model=linear", f"dataset={path}", *QUIET)
    assert run.report["dataset"] == "my_reads" and run.report["metrics"]["test/auroc"] > 0.9
    p = run.predict(str(path))
    assert p["id"].tolist() == [f"r{i}" for i in range(200)]
    assert (p["prediction"] == [y for y, _ in rows]).mean() > 0.8
    monkeypatch.setattr(log, "handlers", [])
    shell.console()
    (tmp_path / "rna.fa").write_text(">a\nACGUACGUUU\n>b\nACGA\n")
    for chunk, _ in run._predictor.chunks(tmp_path / "rna.fa"):
        assert len(chunk) == 2
    note = "note     sequence: 4 letters of 1 rows are not of dna ('U' 4): masked\n"
    assert capsys.readouterr().out.endswith(note)


def test_the_reader_goes_by_the_name():
    for name, reader in [("a.fasta", "fasta"), ("a.fq.gz", "fasta"), ("a.FAA", "fasta"), ("a.csv.gz", "csv")]:
        cfg = compose([f"dataset.path={name}", f"dataset={reader}", "dataset.target=label"])
        assert cfg["dataset"]["reader"] == reader

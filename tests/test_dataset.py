"""Each dataset: what it reads and from where, that it downloads once, and the message when it cannot."""

import gzip
import hashlib
import io
import os
import shutil
import socket
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import forks
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table

from src.config.compose import compose
from src.data.digest import digest
from src.data.load import load_frame
from src.data.prepare import cut, shape
from src.data.source import read_csv, read_parquet
from src.dataset import adult, california_housing, csv, parquet, sst2, text_sample
from src.system.errors import UserError

CSV = "a,b,y\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(500))


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch, request):
    """Give each test an empty DATA_DIR, except those on the real files."""
    if not request.node.get_closest_marker("data"):
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


def load(name: str, *overrides: str):
    """Return the frame and the `Data` of ``dataset=name`` with the project's defaults."""
    cfg = compose([f"dataset={name}", *overrides])
    frame, _ = load_frame(cfg["dataset"])
    rows = cut(frame, cfg["dataset"], cfg["seed"])
    return frame, shape(frame, rows, cfg["dataset"], scaler="quantile")


# -- embedded


@pytest.mark.parametrize(
    "name,n_rows,task,classes",
    [
        ("breast_cancer", 569, "binary", ["benign", "malignant"]),
        ("wine", 178, "multiclass", ["class_0", "class_1", "class_2"]),
        ("iris", 150, "multiclass", ["setosa", "versicolor", "virginica"]),
        ("digits", 1797, "multiclass", list("0123456789")),
        ("diabetes", 442, "regression", []),
        ("text_sample", 3000, "binary", ["negative", "positive"]),
    ],
)
def test_embedded_set_reads_and_prepares(name, n_rows, task, classes):
    frame, data = load(name)
    assert len(frame) == sum(len(part["y"]) for part in data.parts.values()) == n_rows
    assert (data.info["task"], data.info["classes"]) == (task, classes)
    used = [name for role in ("numeric", "categorical", "text") for name in data.info["columns"][role]]
    assert sorted([*used, data.info["target"]]) == sorted(frame.columns)


def test_text_sample_is_the_same_everywhere():
    np.random.seed(1)
    first = text_sample.read({})
    np.random.seed(2)
    pd.testing.assert_frame_equal(text_sample.read({}), first)
    assert first["sentence"].iloc[0] == "the plot is gripping and the ending is honest"


def test_text_sample_can_be_learned_but_not_wholly():
    frame = text_sample.read({})
    warm, cold = (frame["sentence"].str.contains(f"is {word}") for word in ("funny", "dull"))
    for rows, label in [(warm & ~cold, "positive"), (cold & ~warm, "negative")]:
        assert np.mean(frame.loc[rows, "label"] == label) == pytest.approx(0.9, abs=0.08)


# -- your own dataset, as the README describes it

MINE_YAML = """# My measurements
#   python -m src.train model=linear dataset=mine
defaults: [_base, _self_]
name: mine
target: y
"""
MINE = """import pandas as pd


def read(cfg):
    return pd.DataFrame({"a": range(100), "y": ["no", "yes"] * 50})
"""
IN_SHELL = ("src.train", "model=linear", "dataset=mine", *QUIET)
IN_NOTEBOOK = ("-c", f"from src import fit; print(fit('model=linear', 'dataset=mine', *{QUIET}).status)")
RUN_ETL = "from src import reload_etl, run_etl; assert run_etl('mine').equals(reload_etl('mine', 'v1'))"
IN_RUN_ETL = ("-c", RUN_ETL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the code with a dataset that has no ``etl``."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("src", "conf"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "conf/dataset/mine.yaml").write_text(MINE_YAML)
    (folder / "src/dataset/mine.py").write_text(MINE)
    return folder


@pytest.mark.parametrize("command", [IN_SHELL, IN_NOTEBOOK, IN_RUN_ETL], ids=["shell", "notebook", "run_etl"])
def test_a_yaml_and_a_file_with_read_are_a_dataset(checkout, tmp_path, command):
    places = {"OUTPUTS_DIR": str(tmp_path / "outputs"), "PYTHONPATH": str(checkout)}
    done = forks.call(*command, cwd=checkout, env=os.environ | places)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/etl/mine/v1/version.json").is_file()
    assert command == IN_RUN_ETL or (tmp_path / "outputs/runs/t1/DONE").is_file()


# -- your own files


@pytest.mark.parametrize("suffix", ["", ".gz", ".zip", ".bz2", ".xz"])
def test_csv_packed_or_not(tmp_path, suffix):
    frame = pd.read_csv(io.StringIO(CSV))
    frame.to_csv(tmp_path / f"my.csv{suffix}", index=False)
    read, data = load("csv", f"dataset.path={tmp_path}/my.csv{suffix}", "dataset.target=y")
    pd.testing.assert_frame_equal(read, frame)
    assert (data.info["task"], data.info["columns"]["numeric"]) == ("binary", ["a", "b"])


@pytest.mark.parametrize("override,separator", [("';'", ";"), (r"'\t'", "\t"), ("'::'", "::")])
def test_csv_separator(tmp_path, override, separator):
    (tmp_path / "my.csv").write_text(CSV.replace(",", separator))
    path = f"dataset.path={tmp_path}/my.csv"
    frame, _ = load("csv", path, "dataset.target=y", f"dataset.separator={override}")
    assert frame.shape == (500, 3)


def test_csv_is_looked_for_here_and_in_data_dir(tmp_path, data_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_dir.mkdir()
    (data_dir / "my.csv").write_text("a,y\n1,2\n")
    assert read_csv("my.csv")["a"].tolist() == [1]
    (tmp_path / "my.csv").write_text("a,y\n3,2\n")
    assert read_csv("my.csv")["a"].tolist() == [3]


def flipped(packed: bytes) -> bytes:
    """Return bytes whose middle byte is inverted."""
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :]


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return file.getvalue()


BROKEN = {
    "empty.csv": b"",
    "blank.csv": b"\n\n",
    "header.csv": b"a,b\n",
    "ragged.csv": b"a,b\n1,2\n1,2,3\n",
    "shifted.csv": b"a,b\n1,2,3\n4,5,6\n",  # pandas would take the first column as the index
    "open_quote.csv": b'a,b\n1,"2\n3,4\n',
    "latin1.csv": "a,b\n1,caf\xe9\n".encode("latin1"),
    "not_a.csv.gz": b"hello",
    "cut.csv.gz": gzip.compress(CSV.encode())[:-20],
    "flipped.csv.gz": flipped(gzip.compress(CSV.encode())),
    "empty.csv.gz": b"",
    "not_a.csv.zip": b"hello",
    "two_files.csv.zip": zipped("a.csv", "b.csv"),
    "not_a.csv.bz2": b"hello",
    "not_a.csv.xz": b"hello",
    "empty.parquet": b"",
    "not_a.parquet": b"hello" * 10,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused_in_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(UserError, match=name) as refusal:
        (read_parquet if name.endswith("parquet") else read_csv)(tmp_path / name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_cut_parquet_is_refused(tmp_path):
    tiny_table("binary").to_parquet(tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.parquet is not a readable Parquet file"):
        read_parquet(tmp_path / "cut.parquet")


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_missing_file_says_where_it_was_looked_for(tmp_path, data_dir, read):
    with pytest.raises(UserError, match=f"no file nowhere.file in .*, nor .* in DATA_DIR, {data_dir}"):
        read("nowhere.file")
    with pytest.raises(UserError, match=f"{tmp_path} is a folder"):
        read(tmp_path)


def test_duplicate_header_is_refused_by_name(tmp_path):
    (tmp_path / "my.csv").write_text("age,b,age,b,c\n1,2,3,4,5\n")
    with pytest.raises(UserError, match="names a column twice: age, b; rename"):
        csv.read({"path": str(tmp_path / "my.csv"), "separator": ","})


def test_header_that_pandas_would_make_of_a_duplicate_is_kept(tmp_path):
    (tmp_path / "my.csv").write_text("age,age.1\n1,2\n")
    assert read_csv(tmp_path / "my.csv").columns.tolist() == ["age", "age.1"]


def test_parquet(tmp_path):
    frame = tiny_table("binary").assign(day=pd.Timestamp("2020-01-01"), kind=pd.Categorical(["u", "v"] * 120))
    frame.to_parquet(tmp_path / "my.parquet")
    read, data = load("parquet", f"dataset.path={tmp_path}/my.parquet", "dataset.target=y")
    assert digest(read) == digest(frame)
    assert data.info["classes"] == ["no", "yes"]
    assert data.info["columns"]["categorical"] == ["colour", "kind"]


def test_parquet_without_rows_is_refused(tmp_path):
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "my.parquet")
    with pytest.raises(UserError, match="has no rows"):
        parquet.read({"path": str(tmp_path / "my.parquet")})


def test_frame_belongs_to_notebooks():
    with pytest.raises(UserError, match=r"dataset=frame is for notebooks.*try dataset=csv"):
        load("frame", "dataset.target=y")


# -- downloads


@pytest.fixture
def site(tmp_path):
    """Start a server here: it serves `.folder` at `.url`, and `.asked` lists the requested paths."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            server.asked.append(self.path)

    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    server.folder, server.url, server.asked = folder, f"http://127.0.0.1:{server.server_port}", []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def dead():
    """Return the address of a server that does not exist."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def sha256(packed: bytes) -> str:
    return f"sha256:{hashlib.sha256(packed).hexdigest()}"


TRAIN_TSV = (
    'sentence\tlabel\nhide new secretions \t0\nnew secretions \t0\n" loose quote \t1\n'
    "NA\t1\nnull\t0\n"
)
DEV_TSV = "sentence\tlabel\na charming journey . \t1\nso bad\t0\n"


def sst2_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("SST-2/train.tsv", TRAIN_TSV)
        archive.writestr("SST-2/dev.tsv", DEV_TSV)
        archive.writestr("SST-2/test.tsv", "index\tsentence\n0\tno label\n")
    return file.getvalue()


def sst2_cfg(url: str, packed: bytes) -> dict:
    return {"url": f"{url}/SST-2.zip", "checksum": sha256(packed)}


def test_sst2_downloads_once(site, data_dir):
    packed = sst2_zip()
    (site.folder / "SST-2.zip").write_bytes(packed)
    frame = sst2.etl(sst2.read(sst2_cfg(site.url, packed)))
    assert frame["sentence"].tolist() == [
        "hide new secretions", "new secretions", '" loose quote', "NA", "null",
        "a charming journey .", "so bad",
    ]
    assert frame["label"].tolist() == [0, 0, 1, 1, 0, 1, 0]
    assert frame["split"].tolist() == ["train"] * 5 + ["test"] * 2
    pd.testing.assert_frame_equal(sst2.etl(sst2.read(sst2_cfg(site.url, packed))), frame)
    assert len(site.asked) == 1
    assert [path.name for path in (data_dir / "sst2").iterdir()] == ["SST-2.zip"]


def test_sst2_that_is_nowhere_names_three_ways_on(dead, data_dir):
    with pytest.raises(UserError) as refusal:
        sst2.read(sst2_cfg(dead, b""))
    first, second, third = (line for line in str(refusal.value).splitlines() if line.lstrip()[0].isdigit())
    assert f"{dead}/SST-2.zip" in first and f"{data_dir}/sst2/SST-2.zip" in first
    assert "DATA_DIR" in second and "sst2/train.tsv.gz" in second and "sst2/dev.tsv" in second
    assert "dataset=text_sample" in third


def test_sst2_put_in_place_by_hand(dead, data_dir):
    (data_dir / "sst2").mkdir(parents=True)
    (data_dir / "sst2/SST-2.zip").write_bytes(sst2_zip())
    assert len(sst2.read(sst2_cfg(dead, sst2_zip()))) == 7


@pytest.mark.parametrize("train", ["train.tsv", "train.tsv.gz"])
def test_sst2_in_data_dir(dead, data_dir, train):
    (data_dir / "sst2").mkdir(parents=True)
    content = TRAIN_TSV.encode()
    (data_dir / "sst2" / train).write_bytes(gzip.compress(content) if "gz" in train else content)
    (data_dir / "sst2/dev.tsv").write_text(DEV_TSV)
    assert sst2.read(sst2_cfg(dead, b""))["split"].tolist() == ["train"] * 5 + ["test"] * 2


ADULT_ROWS = [
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Unmarried, White, Male, "
    "217, 0, 40, Peru, <=50K",
    "54, ?, 180211, Some-college, 10, Married-civ-spouse, ?, Husband, Asian-Pac-Islander, Male, "
    "0, 0, 60, ?, >50K",
]


@pytest.fixture
def adult_cfg(site):
    """Serve Adult as UCI does: the test file begins with a note, and has a full stop after labels."""
    train = "\n".join(ADULT_ROWS * 3) + "\n\n"
    test = "|1x3 Cross validator\n" + "".join(f"{row}.\n" for row in ADULT_ROWS) + "\n"
    (site.folder / "adult.data").write_text(train)
    (site.folder / "adult.test").write_text(test)
    return {"url": site.url, "checksum": sha256(train.encode()), "checksum_test": sha256(test.encode())}


def test_adult_downloads_once(site, adult_cfg):
    frame = adult.etl(adult.read(adult_cfg))
    assert frame["split"].tolist() == ["train"] * 6 + ["test"] * 2
    assert frame["income"].tolist() == ["<=50K", ">50K"] * 4
    assert frame["age"].tolist() == [39, 54] * 4
    assert frame["occupation"].fillna("empty").tolist() == ["Adm-clerical", "empty"] * 4
    assert frame.columns[frame.isna().any()].tolist() == ["workclass", "occupation", "native_country"]
    assert frame.shape == (8, 16)
    pd.testing.assert_frame_equal(adult.etl(adult.read(adult_cfg)), frame)
    assert sorted(site.asked) == ["/adult.data", "/adult.test"]


def test_adult_in_data_dir(data_dir, dead):
    (data_dir / "adult").mkdir(parents=True)
    rows = pd.DataFrame([row.split(", ") for row in ADULT_ROWS], columns=adult.COLUMNS)
    for name in ("train", "test"):
        rows.to_csv(data_dir / f"adult/{name}.csv.gz", index=False)
    frame = adult.etl(adult.read({"url": dead, "checksum": "sha256:0", "checksum_test": "sha256:0"}))
    assert frame["split"].tolist() == ["train"] * 2 + ["test"] * 2


HOUSES = """-122.23,37.88,41,880,129,322,126,8.3252,452600
-122.22,37.86,21,7099,1106,2401,1138,8.3014,358500
"""


def housing_tgz() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
        entry.size = len(HOUSES)
        archive.addfile(entry, io.BytesIO(HOUSES.encode()))
    return file.getvalue()


def test_california_housing_downloads_once(site):
    packed = housing_tgz()
    (site.folder / "cal_housing.tgz").write_bytes(packed)
    cfg = {"url": f"{site.url}/cal_housing.tgz", "checksum": sha256(packed)}
    frame = california_housing.read(cfg)
    expected = {  # the first row of scikit-learn's own
        "MedInc": 8.3252, "HouseAge": 41.0, "AveRooms": 6.984127, "AveBedrms": 1.02381, "Population": 322.0,
        "AveOccup": 2.555556, "Latitude": 37.88, "Longitude": -122.23, "MedHouseVal": 4.526,
    }
    assert frame.iloc[0].to_dict() == pytest.approx(expected, rel=1e-6)
    pd.testing.assert_frame_equal(california_housing.read(cfg), frame)
    assert len(site.asked) == 1


READ = {"sst2": sst2.read, "adult": adult.read, "california_housing": california_housing.read}


@pytest.mark.parametrize("name", READ)
def test_wrong_checksum_is_refused_and_leaves_nothing(site, data_dir, name):
    (site.folder / ("adult.data" if name == "adult" else "file")).write_text("something else")
    cfg = {"url": site.url if name == "adult" else f"{site.url}/file"}
    with pytest.raises(UserError, match="is not the file that was expected"):
        READ[name](cfg | {"checksum": sha256(b""), "checksum_test": sha256(b"")})
    assert not list((data_dir / name).iterdir())


@pytest.mark.parametrize("name", READ)
def test_dead_server_is_one_message(dead, name):
    with pytest.raises(UserError, match=r"could not be (fetched|downloaded)"):
        READ[name]({"url": f"{dead}/file", "checksum": sha256(b""), "checksum_test": sha256(b"")})


@pytest.mark.parametrize("name", READ)
def test_file_that_the_server_does_not_have_is_one_message(site, data_dir, name):
    with pytest.raises(UserError, match="404"):
        READ[name]({"url": f"{site.url}/file", "checksum": sha256(b""), "checksum_test": sha256(b"")})
    assert not list((data_dir / name).iterdir())


# -- sentences of SST-2


def contains(whole: str, phrase: str) -> bool:
    return f" {phrase} " in f" {whole} "


def test_phrases_of_one_sentence_share_a_root():
    whole = "the plot of a fine film"
    phrases = ["a fine film", whole, "plot of", "film", "dull", "a dull plot", "fine film", "films"]
    roots = sst2.roots(pd.Series(phrases))
    assert [phrases[root] for root in roots] == [
        whole, whole, whole, whole, "a dull plot", "a dull plot", whole, "films",
    ]


def test_root_is_a_longer_phrase_that_contains_the_phrase():
    rng = np.random.default_rng(0)
    phrases = [" ".join(rng.choice(list("abcd"), size)) for size in rng.integers(1, 7, size=150)]
    roots = sst2.roots(pd.Series(phrases))
    for phrase, root in zip(phrases, roots, strict=True):
        assert contains(phrases[root], phrase)
        assert roots[root] == root
        longer = [other for other in phrases if other != phrase and contains(other, phrase)]
        assert phrases[root] != phrase or not longer


# -- the real files

real = [
    pytest.mark.data,
    pytest.mark.skipif(not os.environ.get("DATA_DIR"), reason="DATA_DIR names no folder with the real files"),
]


class TestReal:
    pytestmark = real

    def test_sst2(self):
        frame, data = load("sst2")
        assert len(frame) == 67_349 + 872
        assert data.parts["test"]["id"].tolist() == list(range(67_349, 67_349 + 872))
        assert np.bincount(data.parts["test"]["y"]).tolist() == [428, 444]
        root = frame["root"].to_numpy()
        train, val = (set(root[data.parts[name]["id"]]) for name in ("train", "val"))
        assert not train & val
        assert len(data.parts["val"]["y"]) == pytest.approx(6735, rel=0.05)

    def test_adult(self):
        frame, data = load("adult")
        assert len(frame) == 48_842
        assert data.parts["test"]["id"].tolist() == list(range(32_561, 48_842))  # 16,281 rows
        assert data.info["classes"] == ["<=50K", ">50K"]
        assert len(data.info["columns"]["categorical"]) == 8
        assert data.parts["test"]["y"].mean() == pytest.approx(0.2362, abs=1e-4)

    def test_california_housing(self):
        frame, data = load("california_housing")
        assert {name: len(part["y"]) for name, part in data.parts.items()} == {
            "train": 13210,
            "val": 3302,
            "test": 4128,
        }
        assert len(frame) == 20_640
        assert len(data.info["columns"]["numeric"]) == 8
        assert data.info["task"] == "regression"

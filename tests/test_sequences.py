"""DNA, RNA, protein and text: what a column holds, its tokens, its parts, its strands."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import CHECKOUT, QUIET
from test_data import BASE

from src import fit
from src.config import shell
from src.config.compose import compose
from src.data import pieces, tokenizer
from src.data.letters import kind_of
from src.data.load import load_data, load_frame
from src.data.prepare import apply_transforms, cut, shape
from src.data.split import split
from src.data.strands import other_strand
from src.dataset import dna_sample, protein_sample
from src.system.errors import UserError, log

RNG = np.random.default_rng(0)


def random_dna(n: int, size: int, letters: str = "ACGT") -> list[str]:
    return ["".join(row) for row in RNG.choice(list(letters), (n, size))]


def prepare(texts, **dataset):
    """Return the `Data` of sequences in a column ``s``, of which the last fifth are val and test."""
    n = len(texts)
    parts = ["train"] * (n - 2 * (n // 10)) + ["val"] * (n // 10) + ["test"] * (n // 10)
    frame = pd.DataFrame({"s": texts, "y": np.arange(n) % 2, "part": parts})
    cfg = BASE | {"split": "part", "min_count": 1} | dataset
    return shape(frame, cut(frame, cfg, 0), cfg, scaler="none")


def tokens(data, part="train") -> list[list[str]]:
    words = ["[PAD]", "[UNK]", *data.transforms["tokenizer"]["words"]]
    arrays = data.parts[part]
    rows = zip(arrays["input_ids"], arrays["lengths"], strict=True)
    return [[words[i] for i in ids[:length]] for ids, length in rows]


# -- what a column holds


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (random_dna(50, 40), "dna"),
        ([text.lower() for text in random_dna(50, 40)], "dna"),
        (random_dna(50, 40, "ACGTACGTACGTACGTACGTN"), "dna"),
        (random_dna(50, 40, "ACGU"), "rna"),
        (random_dna(50, 9, "ACDEFGHIKLMNPQRSTVWY"), "protein"),
        ([text + "*" for text in random_dna(50, 60, "ACDEFGHIKLMNPQRSTVWY")], "protein"),
        (["CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "[Na+].[Cl-]CCCCBr"], "smiles"),
        (["the plot is gripping and warm", "a dull film"], "text"),
        (["2021-03-05", "2021-04-06"], "text"),
        (["JOHNSON", "SCHUHMACHER", "WASHINGTON"], "text"),
        (["3F2504E0-4F89-11D3-9A0C-0305E82C3301"] * 3, "text"),
        (["Donaudampfschiff", "Kraftwerk"], "text"),
        (["TATA", "CAAT"], "text"),
        ([], "text"),
    ],
)
def test_the_kind_of_a_column_is_inferred(texts, kind):
    assert kind_of(texts) == kind


def test_a_column_of_dna_is_no_identifier_and_is_shown():
    data = prepare(random_dna(300, 30))
    assert data.info["columns"]["text"] == ["s"] and data.info["sequence"] == "dna"
    assert data.notes["read"] == ["s: dna, 30 letters; dataset.alphabet=text if it is not"]
    assert data.notes["ignored"] == []


def test_barcodes_that_repeat_stay_categories():
    codes = random_dna(8, 12)
    data = prepare([codes[i % 8] for i in range(400)])
    assert data.info["columns"]["categorical"] == ["s"] and data.info["columns"]["text"] == []


def test_the_config_says_what_it_is_otherwise():
    data = prepare(random_dna(50, 20), alphabet="text", text=["s"])
    assert data.notes["read"] == ["s: text, 20 letters"]
    assert data.info["sequence"] == "text" and data.info["max_len"] == 1  # one word a row


# -- tokens


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("overlap", [True, False])
def test_kmers_are_those_of_a_plain_loop(k, overlap):
    texts = [text[: RNG.integers(0, 30)] for text in random_dna(200, 30)]
    data = prepare(texts, text=["s"], alphabet="dna", tokenizer="kmer", k=k, overlap=overlap)
    for text, row in zip(texts, tokens(data), strict=False):
        step = 1 if overlap else k
        expected = [text[i : i + k] for i in range(0, len(text) - k + 1, step)]
        assert row == (expected or ["[UNK]"])


def test_letters_of_any_script_and_chunks_make_no_difference(monkeypatch):
    from src.data import letters

    texts = [*random_dna(30, 20), "", "ÄÖÜ 中文", "a\U0001f9ecb"] * 5
    whole = prepare(texts, text=["s"], alphabet="text", tokenizer="char")
    assert tokens(whole)[31] == list("äöü 中文") and tokens(whole)[32] == ["a", "\U0001f9ec", "b"]
    monkeypatch.setattr(letters, "CHUNK", 7)
    again = prepare(texts, text=["s"], alphabet="text", tokenizer="char")
    assert np.array_equal(whole.parts["train"]["input_ids"], again.parts["train"]["input_ids"])


@pytest.mark.parametrize(
    ("where", "special", "expected"),
    [
        ("head", False, "ACGT"),
        ("tail", False, "TTTA"),
        ("centre", False, "GTTT"),
        ("head", True, ["[CLS]", "A", "C", "[SEP]"]),
        ("tail", True, ["[CLS]", "T", "A", "[SEP]"]),
    ],
)
def test_a_long_row_keeps_its_head_tail_or_centre(where, special, expected):
    options = {"max_len": 4, "truncate": where, "special_tokens": special}
    data = prepare(["ACGTTTTA"] * 20, alphabet="dna", text=["s"], **options)
    assert tokens(data)[0] == list(expected)
    assert f"longer rows keep their {where} of 4" in data.notes["note"][0]


def test_an_empty_row_with_special_tokens_is_those_two():
    data = prepare(["ACGT", "", *["ACGT"] * 18], alphabet="dna", text=["s"], special_tokens=True)
    assert tokens(data)[1] == ["[CLS]", "[SEP]"] and data.info["max_len"] == 6


def test_ids_are_of_the_smallest_type():
    small, large = (prepare(random_dna(300, 60), tokenizer="kmer", k=k) for k in (3, 5))
    assert small.info["vocab_size"] == 66 and small.parts["train"]["input_ids"].dtype == np.int8
    assert large.info["vocab_size"] == 1026 and large.parts["train"]["input_ids"].dtype == np.int16


@pytest.mark.parametrize("n", [125, 126, 127])
def test_the_largest_id_fits_its_type(n):
    from src.data import tokenizer

    texts = [chr(0x4E00 + i) for i in range(n)]
    options = {"lower": False, "min_count": 1, "max_vocab": None, "max_len": None, "kind": "text", "k": 1}
    newer = {"overlap": True, "truncate": "head", "special_tokens": False, "unknown_letters": "mask"}
    state = tokenizer.fit(texts, tokenizer="char", **options, **newer)
    ids, _ = tokenizer.apply(state, [texts])
    assert sorted(ids[:, 0].tolist()) == list(range(2, n + 2))
    assert ids.dtype == (np.int8 if n < 127 else np.int16)


def test_lower_case_is_read_as_upper_case_but_not_in_smiles():
    data = prepare(["acgt", "ACGT"] * 20, alphabet="dna", text=["s"])
    assert tokens(data)[0] == tokens(data)[1] == list("ACGT")
    data = prepare(["CCcc1", "CC"] * 20, alphabet="smiles", text=["s"])
    assert tokens(data)[0] == list("CCcc1")


@pytest.mark.parametrize(("what", "expected"), [("mask", ["A", "[UNK]", "C"]), ("drop", ["A", "C"])])
def test_letters_outside_the_alphabet_are_counted(what, expected):
    data = prepare(["AJC", "ACC"] * 20, alphabet="dna", text=["s"], unknown_letters=what)
    assert tokens(data)[0] == expected
    done = {"mask": "masked", "drop": "dropped"}[what]
    assert data.notes["note"][0] == f"s: 20 letters of 20 rows are not of dna ('J' 20): {done}"


def test_letters_outside_the_alphabet_are_refused_if_asked():
    with pytest.raises(UserError, match=r"s: 1 letters of 1 rows are not of dna \('J' 1\), first in row 3"):
        prepare([*["ACG"] * 3, "AJ", *["ACG"] * 16], alphabet="dna", text=["s"], unknown_letters="error")
    data = prepare(["ACG"] * 20, alphabet="dna", text=["s"], unknown_letters="error")
    with pytest.raises(UserError, match=r"first in row 1"):
        apply_transforms(data.transforms, pd.DataFrame({"s": ["ACG", "AC?"]}))


def test_a_k_that_is_too_long_is_refused():
    with pytest.raises(UserError, match=r"dataset\.k=16 is too long for dna: it may be 15 at most"):
        prepare(random_dna(20, 30), alphabet="dna", text=["s"], tokenizer="kmer", k=16)


def test_a_k_longer_than_the_reads_is_refused():
    with pytest.raises(UserError, match=r"dataset\.k=6 is longer than each sequence of the training rows"):
        prepare(random_dna(20, 5), alphabet="dna", text=["s"], tokenizer="kmer", k=6)


@pytest.mark.parametrize("options", [{"tokenizer": "kmer", "k": 10}, {"tokenizer": "word"}])
def test_tokens_that_are_all_rare_are_unknown_and_pointed_out(options):
    data = prepare(random_dna(100, 12), alphabet="dna", text=["s"], min_count=2, **options)
    assert {one for row in tokens(data) + tokens(data, "val") for one in row} == {"[UNK]"}
    assert data.notes["note"][-1].startswith("s: 100% of the tokens of val are unknown: rare in train")
    char = prepare(random_dna(100, 12), alphabet="dna", text=["s"], min_count=2, tokenizer="char")
    assert char.notes["note"] == []


# -- strands


@pytest.mark.parametrize("options", [{}, {"tokenizer": "kmer", "k": 4}, {"special_tokens": True}])
def test_the_other_strand_is_the_reverse_complement(options):
    texts = [text[: RNG.integers(4, 30)] for text in random_dna(400, 30)]
    table = str.maketrans("ACGT", "TGCA")
    data = prepare(texts, alphabet="dna", text=["s"], reverse_complement=True, **options)
    rows, n = tokens(data), len(data.parts["train"]["y"]) // 2
    assert n == 320 and np.array_equal(data.parts["train"]["y"][:n], data.parts["train"]["y"][n:])
    given = prepare([text.translate(table)[::-1] for text in texts], alphabet="dna", text=["s"], **options)
    assert rows[n:] == tokens(given)
    back = other_strand(other_strand(data.parts["train"], data.info), data.info)
    assert np.array_equal(back["input_ids"], data.parts["train"]["input_ids"])


@pytest.mark.parametrize("options", [{"alphabet": "protein"}, {"tokenizer": "kmer", "overlap": False}])
def test_other_strands_are_of_dna_alone(options):
    with pytest.raises(UserError, match="reverse complements are of dna or rna"):
        prepare(random_dna(40, 20), text=["s"], reverse_complement=True, **options)


# -- splits


def test_by_time_the_latest_rows_are_test():
    frame = pd.DataFrame({"a": RNG.normal(size=100), "y": np.arange(100) % 2})
    frame["day"] = pd.date_range("2020-01-01", periods=100)[RNG.permutation(100)].astype(str)
    parts = cut(frame, BASE | {"time": "day"}, 0)
    days = {name: frame["day"].iloc[rows] for name, rows in parts.items()}
    assert days["train"].max() < days["val"].min() <= days["val"].max() < days["test"].min()
    assert [len(rows) for rows in parts.values()] == [68, 12, 20]
    data = shape(frame, parts, BASE | {"time": "day"}, scaler="none")
    assert data.info["columns"] == {"numeric": ["a"], "categorical": [], "text": [], "ignored": []}


def test_rows_of_one_moment_stay_in_one_part():
    parts = split(100, times=np.arange(100) // 7, test_size=0.2, val_size=0.15, split_seed=0, seed=0)
    assert parts["test"].tolist() == list(range(77, 100))
    assert parts["val"].tolist() == list(range(63, 77))


def test_a_time_that_is_text_or_empty_is_refused():
    frame = pd.DataFrame({"a": range(40), "y": [0, 1] * 20, "t": ["early", "late"] * 20})
    with pytest.raises(UserError, match=r"dataset\.time=t should hold a date or a number in each row"):
        cut(frame, BASE | {"time": "t"}, 0)


def test_random_parts_leave_classes_out_of_account():
    frame = pd.DataFrame({"a": range(1000), "y": [0] * 900 + [1] * 100})
    shares = {by: [] for by in ("stratified", "random")}
    for by in shares:
        for seed in range(5):
            rows = cut(frame, BASE | {"split_by": by, "split_seed": seed}, 0)["test"]
            shares[by].append(int((rows >= 900).sum()))
    assert set(shares["stratified"]) <= {19, 20, 21} and len(set(shares["random"])) > 2


@pytest.mark.parametrize("letters", ["ACGT", "ACDEFGHIKLMNPQRSTVWY"])
def test_similar_sequences_stay_in_one_part(letters):
    parents = random_dna(60, 120, letters)
    texts, family = [], []
    for i, parent in enumerate(parents):
        for _ in range(RNG.integers(1, 8)):
            child = list(parent)
            for place in RNG.choice(120, 6, replace=False):  # 95% identical to the parent
                child[place] = RNG.choice(list(letters))
            texts.append("".join(child))
            family.append(i)
    frame = pd.DataFrame({"s": texts, "y": RNG.integers(0, 2, len(texts))})
    parts = cut(frame, BASE | {"split_by": "similarity", "similarity": 0.8}, 0)
    families = [{family[i] for i in rows} for rows in parts.values()]
    assert sum(map(len, families)) == 60, "no family is in two parts"
    assert len(parts["test"]) == pytest.approx(0.2 * len(texts), abs=8)
    plain = [{family[i] for i in rows} for rows in cut(frame, BASE, 0).values()]
    assert sum(map(len, plain)) > 90


def test_one_large_family_cannot_be_split_by_similarity():
    texts = ["ACGTTGCA" * 10 for _ in range(50)]
    frame = pd.DataFrame({"s": texts, "y": [0, 1] * 25})
    with pytest.raises(UserError, match="50 rows in 1 groups or clusters are too few to cut a test part"):
        cut(frame, BASE | {"split_by": "similarity", "text": ["s"]}, 0)


# -- made-up sets


@pytest.mark.parametrize("motif", ["place", "word"])
def test_the_motif_of_dna_sample_is_where_it_says(motif):
    frame, planted = dna_sample.read({"motif": motif}), dna_sample.MOTIFS[motif]
    table = str.maketrans("ACGT", "TGCA")
    pairs = zip(frame["sequence"], frame["start"], strict=True)
    found = [text[i : i + len(planted)] for text, i in pairs if i >= 0]
    forward, backward = found.count(planted), found.count(planted.translate(table)[::-1])
    assert forward + backward == len(found) and (backward > 900) == (motif == "word")
    agree = (frame["start"] >= 0) == (frame["label"] == "yes")
    assert agree.mean() == pytest.approx(0.98, abs=0.01)


def test_protein_sample_has_stops():
    frame = protein_sample.read({})
    stopped = frame["sequence"].str.contains("*", regex=False)
    assert stopped.mean() == pytest.approx(0.05, abs=0.02) and frame.loc[stopped, "stability"].max() < -7


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows"), [("prom_core_all", (47356, 5920)), ("prom_core_tata", (4904, 613))]
)
def test_core_promoters(name, rows):
    cfg = compose([f"dataset={name}"])["dataset"]
    data = load_data(cfg, scaler="none", class_weight=None, seed=0)
    sizes = [len(part["y"]) for part in data.parts.values()]
    assert (sizes[0] + sizes[1], sizes[2]) == rows
    assert data.parts["train"]["input_ids"].dtype == np.int8 and data.info["max_len"] == 70


# -- pieces of words


@pytest.mark.parametrize("name", ["bpe", "wordpiece"])
def test_pieces_are_learned_from_training_rows_and_are_the_same_again(name):
    pytest.importorskip("tokenizers")
    texts = ["warm warmer warmest film"] * 30 + ["cold colder zzz"] * 10
    data, again = (prepare(texts, text=["s"], tokenizer=name, max_vocab=30) for _ in range(2))
    assert data.transforms == again.transforms and data.info["vocab_size"] == 30
    assert "zzz" not in "".join(data.transforms["tokenizer"]["words"])
    assert "".join(tokens(data)[0]).replace("##", "") == "warmwarmerwarmestfilm"
    part = apply_transforms(data.transforms, pd.DataFrame({"s": ["warmest"]}))
    words = ["", "", *data.transforms["tokenizer"]["words"]]
    assert "".join(words[i] for i in part["input_ids"][0]).replace("##", "") == "warmest"


def test_pieces_of_dna_know_no_case():
    pytest.importorskip("tokenizers")
    texts = random_dna(40, 50)
    upper, lower = (
        prepare(rows, text=["s"], tokenizer="bpe", max_vocab=40)
        for rows in (texts, [text.lower() for text in texts])
    )
    assert np.array_equal(upper.parts["test"]["input_ids"], lower.parts["test"]["input_ids"])


def test_pieces_of_many_letters_are_learned_from_some_rows_that_leave_no_letter_unknown(monkeypatch):
    """50,000 reads of 70 letters took 10 s; a second pass for the lengths of the training rows 2 s more."""
    pytest.importorskip("tokenizers")
    monkeypatch.setattr(pieces, "SAMPLE", 400)
    texts = pa.array(["AC" * 20] * 60 + ["RACA" * 10] + ["AC" * 20] * 60, pa.large_string())
    options = dict.fromkeys(("k", "overlap", "special_tokens", "unknown_letters", "pretrained"))
    options |= {"lower": True, "min_count": 2, "max_vocab": 12, "max_len": None, "kind": "dna"}
    options["truncate"] = "head"
    state = tokenizer.fit(texts, tokenizer="bpe", **options)
    assert {"R", "ACAC"} <= {*state["words"]} and not any("RA" in word for word in state["words"])
    (ids, lengths), kept = tokenizer.apply(state, [texts]), len(pieces._encoded)
    assert kept == 0 and np.array_equal(ids, tokenizer.apply(state, [texts])[0])
    assert (ids != 1).all() and lengths.max() == state["longest"]


@pytest.mark.parametrize("name", ["word", "char", "kmer", "bpe"])
@pytest.mark.parametrize("truncate", ["head", "tail", "centre"])
@pytest.mark.parametrize("special", [False, True])
def test_a_large_table_is_read_in_slices(name, truncate, special, monkeypatch):
    """As whole, row by row: of other lengths, empty, cut."""
    texts = ["AC GT" * (1 + i % 5) if i % 11 else "" for i in range(90)]
    options = {"text": ["s"], "alphabet": "text", "tokenizer": name, "k": 2, "max_len": 12}
    options |= {"truncate": truncate, "special_tokens": special}
    whole = prepare(texts, **options).parts
    monkeypatch.setattr(tokenizer, "LETTERS", 100)
    for part, arrays in prepare(texts, **options).parts.items():
        for key, values in arrays.items():
            assert values.dtype == whole[part][key].dtype and np.array_equal(values, whole[part][key]), key


def test_wordpiece_is_for_text():
    with pytest.raises(UserError, match="wordpiece is for text, not for dna: take bpe or kmer"):
        prepare(random_dna(40, 50), text=["s"], tokenizer="wordpiece")


def test_a_pretrained_models_own_tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "b": 1, "a": 5, "[X]": 3}, "[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own.post_processor = tokenizers.processors.TemplateProcessing("[X] $A", special_tokens=[("[X]", 3)])
    own.save(str(tmp_path / "tokenizer.json"))
    data = prepare(["a b", "b q a"] * 20, text=["s"], tokenizer="hf", pretrained=str(tmp_path))
    assert data.parts["train"]["input_ids"][:2].tolist() == [[3, 5, 1, 0], [3, 1, 0, 5]]
    assert data.parts["train"]["lengths"][0] == 3
    assert data.info["vocab_size"] == 6
    with pytest.raises(UserError, match=r"needs dataset\.pretrained="):
        prepare(["a b"] * 20, text=["s"], tokenizer="hf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no tokenizer\.json in this folder"):
        prepare(["a b"] * 20, text=["s"], tokenizer="hf", pretrained=str(tmp_path / "empty"))


# -- other sources


def test_a_saved_hugging_face_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    classes = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": classes})
    rows = {"text": [f"a film of {i} parts , all warm" for i in range(60)], "label": [0, 1] * 30}
    train = datasets.Dataset.from_dict(rows, features=features)
    parts = datasets.DatasetDict({"train": train, "test": train.select(range(20))})
    parts.save_to_disk(str(tmp_path / "films"))
    cfg = compose(["dataset=hf", f"dataset.path={tmp_path / 'films'}"])
    assert cfg["dataset"]["name"] == "films"
    data = load_data(cfg["dataset"], scaler="none", class_weight=None, seed=0)
    assert [len(part["y"]) for part in data.parts.values()] == [51, 9, 20]
    assert data.info["classes"] == ["bad", "good"] and data.info["columns"]["text"] == ["text"]
    cfg = compose(["dataset=hf", f"dataset.path={tmp_path / 'no_such'}"])
    with pytest.raises(UserError, match=r"no_such"):
        load_data(cfg["dataset"], scaler="none", class_weight=None, seed=0)


def test_intervals_of_a_genome(tmp_path):
    pytest.importorskip("pyfaidx")
    (tmp_path / "g.fa").write_text(">chr1\nACGTACGT\nAA\n>chr2\nTTTTG\n")
    bed = "track name=x\nchr1\t2\t5\tpeak\t0\t+\nchr1\t2\t5\tpeak\t0\t-\nchr2\t3\t5\tnone\n"
    (tmp_path / "g.bed").write_text(bed)
    paths = [f"dataset.path={tmp_path / 'g.fa'}", f"dataset.bed={tmp_path / 'g.bed'}"]
    for flank, expected in [(0, ["GTA", "TAC", "TG"]), (3, ["NACGTACGT", "ACGTACGTN", "TTTTGNNN"])]:
        cfg = compose(["dataset=genome", *paths, f"dataset.flank={flank}"])["dataset"]
        frame, _ = load_frame(cfg)
        assert frame["sequence"].tolist() == expected and frame["name"].tolist() == ["peak", "peak", "none"]
    wrong = {
        "chr9\t1\t2\tx": "the genome has no chr9", "chr2\t4\t6\tx": "4 to 6 does not lie within chr2",
        "chr2\t4": "should be chrom, start, end", "chr2 4 5 x": "should be chrom, start, end",
        "chr2\tfrom\tto\tx": "should be chrom, start, end",
    }  # fmt: skip
    for line, says in wrong.items():
        (tmp_path / "g.bed").write_text(bed + line)
        with pytest.raises(UserError, match=f"g.bed, line 5: .*{says}"):
            load_frame(cfg)
    with pytest.raises(UserError, match=r"dataset\.path=.*g\.bed is no FASTA file, or it is packed"):
        load_frame(cfg | {"path": str(tmp_path / "g.bed")})
    (tmp_path / "g.bed").write_text("chr1\t2\t5\nchr1\t1\t4\n")
    with pytest.raises(UserError, match=r"name: no such column; there are chrom, start, end, score"):
        load_data(cfg, scaler="none", class_weight=None, seed=0)


def test_a_model_of_intervals_predicts_other_intervals_and_reads(outputs, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyfaidx")
    text = "".join(random_dna(1, 900))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n")
    bed = [f"chr1\t{i}\t{i + 20}\t{'ab'[i // 10 % 2]}\n" for i in range(0, 800, 10)]
    (tmp_path / "g.bed").write_text("".join(bed))
    paths = [f"dataset.path={tmp_path / 'g.fa'}", f"dataset.bed={tmp_path / 'g.bed'}"]
    run = fit("model=linear", "dataset=genome", *paths, *QUIET)
    (tmp_path / "new.bed").write_text("chr1\t15\t35\nchr1\t100\t120\n")
    (tmp_path / "new.fa").write_text(f">x\n{text[15:35]}\n>y\n{text[100:120]}\n")
    pd.DataFrame({"sequence": [text[15:35], text[100:120]]}).to_csv(tmp_path / "new.csv", index=False)
    of_bed, of_fasta, of_table = (run.predict(str(tmp_path / f"new.{end}")) for end in ("bed", "fa", "csv"))
    monkeypatch.setattr(log, "handlers", [])
    shell.console()
    (tmp_path / "other.csv").write_text("sequence,chrom,gc\nACGT,chr1,0.5\n")
    assert [len(rows) for rows, _ in run._predictor.chunks(tmp_path / "other.csv")] == [1]
    assert "does not read gc\n" in capsys.readouterr().out  # what its dataset ignores is no news
    assert len(of_bed) == 2 and of_bed["p_a"].nunique() == 2
    assert of_bed["p_a"].tolist() == of_fasta["p_a"].tolist() == of_table["p_a"].tolist()


# -- the page


def test_commands_of_the_page_run(outputs):
    text = (CHECKOUT / "docs/sequences.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m src\.train (model=linear dataset=\w+_sample.*)$", text, re.M)
    assert len(commands) == 3
    for command in commands:
        run = fit(*command.split(), "dataset.max_rows=60", "trainer.max_epochs=1", *QUIET)
        assert run.status == "done", command


def test_options_and_names_of_the_page_exist():
    text = (CHECKOUT / "docs/sequences.md").read_text(encoding="utf-8")
    known = {*compose(["dataset=dna_sample"])["dataset"]}
    for path in (CHECKOUT / "conf/dataset").glob("*.yaml"):
        known |= set(re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"dataset\.(\w+)=", text)) <= known


def test_rows_in_two_parts_are_counted_also_with_another_target():
    texts = random_dna(100, 30)
    texts[90:93], texts[80:82] = texts[:3], texts[10:12]
    data = prepare(texts)  # y is 0, 1, 0, ...
    assert data.notes["note"] == [
        "2 of 10 val rows (20.0%) have the same features as a training row",
        "3 of 10 test rows (30.0%) have the same features as a training row",
    ]
    texts[90:93] = texts[1:4]
    assert prepare(texts).notes["note"][1] == (
        "3 of 10 test rows (30.0%) have the same features as a training row, 3 of them with another target"
    )


@pytest.mark.slow
def test_a_large_packed_file_takes_little_memory(tmp_path):
    """680 MB of letters, 200 MB packed: the letters and the token numbers, hardly more."""
    code = """
import resource, sys
from src.config.compose import compose
from src.data import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cfg = compose(["dataset=fasta", f"dataset.path={sys.argv[1]}"])["dataset"]
data = load.load_data(cfg, scaler="none", class_weight=None, seed=0)
made = sum(part["input_ids"].nbytes for part in data.parts.values())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print("ratio", peak * 1024 / made)
"""
    path = tmp_path / "big.fa.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for i in range(0, 680_000, 1000):
            block = RNG.choice(np.frombuffer(b"ACGT", np.uint8), (1000, 1000))
            reads = (f">r{i + j} label={j % 2}\n".encode() + read.tobytes() for j, read in enumerate(block))
            file.write(b"\n".join(reads) + b"\n")
    done = subprocess.run([sys.executable, "-c", code, path], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert float(done.stdout.rpartition("ratio")[2]) < 3

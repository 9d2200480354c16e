"""Explain finds the letters and words that decide: planted ones, and those of a linear model."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text

from src import fit
from src.config.check import check
from src.config.shell import read
from src.dataset import dna_sample
from src.explain import explain
from src.run.folder import Run
from src.share.explain import draw, effects
from src.system.errors import UserError

MOTIF, PLACE = "TATA", 9
FEW = ("dataset.max_rows=800", "trainer.max_epochs=3", "threads=1")


def reads(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Reads of 24 letters; yes: TATA at letters 9 to 12, no: TATA elsewhere."""
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), (n, 24))
    yes = rng.random(n) < 0.5
    for row, one in zip(letters, yes, strict=True):
        start = PLACE if one else rng.choice([0, 2, 15, 18, 20])
        row[start : start + 4] = list(MOTIF)
    return pd.DataFrame({"read": ["".join(row) for row in letters], "y": np.where(yes, "yes", "no")})


@pytest.fixture(scope="module")
def run(outputs) -> Run:
    """A net that reads by place."""
    of_letters = ("dataset.target=y", "dataset.text=[read]", "dataset.tokenizer=char", "dataset.min_count=1")
    small = ("model.net.n_filters=16", "model.net.d_place=8", "model.batch_size=64", "trainer.max_epochs=10")
    run = fit("model=dna_cnn", *of_letters, *small, *QUIET, data=reads())
    assert run.report["metrics"]["test/accuracy"] > 0.9
    return run


@pytest.mark.parametrize("by", ["mutation", "occlusion"])
def test_the_planted_letters_are_found_where_they_were_planted(run, by):
    new = reads(60, seed=1).query("y == 'yes'").reset_index(drop=True)
    table = effects(run, new, n=20, by=by)
    table = table[table["prediction"] == "yes"]
    mean = table.groupby("place")["effect"].mean()
    assert len(mean) == 24 and set(mean.nlargest(4).index) == set(range(PLACE, PLACE + 4))
    share = mean.loc[PLACE : PLACE + 3].sum() / mean.abs().sum()
    assert share > (0.8 if by == "mutation" else 0.5)  # no read had an unknown letter in training


@pytest.mark.parametrize(
    "motif, model",
    [
        ("place", ["dna_cnn", "model.net.n_filters=16", "model.net.d_place=8", "model.batch_size=32"]),
        ("word", ["linear"]),  # anywhere in the read, on either strand
    ],
)
def test_the_motif_of_dna_sample_is_found_where_it_was_planted(outputs, motif, model):
    run = fit("dataset=dna_sample", f"dataset.motif={motif}", f"model={model[0]}", *model[1:], *FEW, *QUIET)
    planted, size = dna_sample.read({"motif": motif})["start"], len(dna_sample.MOTIFS[motif])
    table = effects(run, n=24)  # of its test rows, whose id is their place in the whole
    found, shares = 0, []
    for (_, row), one in table[table["prediction"] == "yes"].groupby(["row", "id"]):
        start, effect = planted[int(row)], one.set_index("place")["effect"]
        if start < 0:  # mislabelled, or a mistake of the model
            continue
        found += effect.rolling(size).sum().idxmax() - size + 1 == start
        shares.append(len({*effect.nlargest(size).index} & {*range(start, start + size)}) / size)
    assert len(shares) > 10 and found / len(shares) > 0.9 and np.mean(shares) > 0.85


def test_an_effect_is_the_mean_change_of_the_other_letters(run):
    row = reads(1, seed=2)
    table = effects(run, row)
    letters = [name for name in table if name.startswith("to_")]
    assert len(letters) == 4
    own = [table.loc[i, f"to_{token}"] for i, token in enumerate(table["token"])]
    assert np.abs(own).max() < 1e-4  # a letter that becomes itself changes nothing
    assert np.allclose(table["effect"], -table[letters].sum(axis=1) / 3, atol=1e-4)
    mutated = row["read"].iloc[0][:5] + "G" + row["read"].iloc[0][6:]
    p, q = run.predict_proba(row)[0], run.predict_proba(row.assign(read=mutated))[0]
    k = p.argmax()
    change = np.log(q[k] / (1 - q[k])) - np.log(p[k] / (1 - p[k]))
    to_g = next(name for name in letters if name.upper() == "TO_G")
    assert table.loc[5, to_g] == pytest.approx(change, abs=1e-4)


def test_words_that_tell_the_class_are_found_for_an_estimator(outputs):
    run = fit("model=linear", "dataset.target=label", *QUIET, data=tiny_text())
    table = effects(run, tiny_text(40, seed=3), n=40)
    best = table.loc[table.groupby("row")["effect"].idxmax(), "token"]
    telling = "warm clever fresh tender lovely dull lazy stale flat bland".split()
    assert len(best) == 40 and best.isin(telling).mean() > 0.9
    texts = tiny_text(40, seed=3)["sentence"].tolist()
    assert table.groupby("row")["token"].apply(" ".join).tolist() == texts


def test_the_picture_and_the_table_stand_where_they_should(run, shell, tmp_path):
    reads(30, seed=4).to_csv(tmp_path / "rows.csv", index=False)
    files = (f"input={tmp_path}/rows.csv", f"output={tmp_path}/e.csv")
    done = shell("explain", f"run={run.name}", *files, "n=2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3 and "explain.png" in done.stdout
    table = pd.read_csv(tmp_path / "e.csv")
    assert table["row"].tolist() == [0] * 24 + [1] * 24 and table["place"].tolist() == [*range(24)] * 2
    assert "".join(table["token"].head(24)).upper() == reads(30, seed=4)["read"].iloc[0]
    content = (run.folder / "plots" / "explain.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 10_000
    assert "explain" in Run.open(run.name).plots


def test_strange_letters_are_drawn(tmp_path):
    """A dollar would begin a formula, a blank has no outline; letters against the prediction hang."""
    tokens = list("A$ -*ü中")
    table = pd.DataFrame({"row": 0, "id": 7, "prediction": "$x$", "place": range(7), "token": tokens})
    table["effect"] = [1, -0.5, 0.2, 0.3, 0.1, 0, 0.4]
    assert draw(table, tmp_path).stat().st_size > 3000
    assert draw(table.assign(token="word", effect=0.0), tmp_path).stat().st_size > 3000


def test_what_cannot_be_explained_is_refused(run, outputs):
    table = fit("model=linear", "dataset.target=y", *QUIET, data=tiny_table("binary"))
    with pytest.raises(UserError, match="reads no text and no sequence"):
        effects(table, tiny_table("binary"))
    with pytest.raises(UserError, match="was trained on a frame in memory: name rows with input="):
        effects(run)
    with pytest.raises(UserError, match="by=gradient: should be mutation or occlusion"):
        effects(run, reads(3), by="gradient")
    with pytest.raises(UserError, match="there is no letter and no word in read"):
        effects(run, pd.DataFrame({"read": ["", None]}))
    with pytest.raises(UserError, match="missing column: read"):
        effects(run, pd.DataFrame({"reads": ["ACGT"]}))
    for n in (0, -1):
        with pytest.raises(UserError, match=f"n={n}: should be at least 1"):
            explain(run.name, n=n)


def test_the_commands_of_the_docs_pass_the_check():
    """Each command of docs/sequences.md: those of train compose, those of explain name its options."""
    text = (CHECKOUT / "docs/sequences.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m src\.(\w+) (.+)$", text, re.MULTILINE)
    assert {verb for verb, _ in commands} >= {"train", "explain"}
    for verb, overrides in commands:
        if verb == "train":
            check(overrides.split())
        elif verb == "explain":
            read(explain, overrides.split())

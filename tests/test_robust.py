"""Two hundred bad overrides and forty broken data files: each ends in one sentence, none in a traceback."""

import bz2
import gzip
import json
import os
import random
import re
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_bert, tiny_table
from omegaconf import OmegaConf

from src import fit, load, runs
from src.config.tree import choices, flat
from src.run.folder import runs_folder
from src.system.environment import free_memory
from src.system.errors import UserError
from src.system.paths import versions_in

# -- overrides: (what is typed, what the sentence must name)

PLUSES = ("", "+", "++")


def keys_of(path: str, prefix: str) -> list[str]:
    """Return the keys of a yaml that a user may set, with their section."""

    section = OmegaConf.to_container(OmegaConf.load(CHECKOUT / f"conf/{path}.yaml"))
    return [f"{prefix}{key}" for key in flat(section) if not key.startswith(("hydra.", "defaults"))]


KEYS = [
    *keys_of("train", ""), *keys_of("trainer/default", "trainer."), *keys_of("logger/_base", "logger."),
    *keys_of("dataset/_base", "dataset."),
    *keys_of("model/_torch", "model."), *keys_of("model/mlp", "model."),
]  # fmt: skip
SKLEARN_KEYS = [key for key in keys_of("model/_sklearn", "model.") if key not in KEYS]


def typos(rng: random.Random, keys: list[str], n: int):
    """Yield real keys with a letter dropped, doubled or swapped with the next, behind nothing, + or ++."""
    for i in range(n):
        key = rng.choice(keys)
        k = rng.choice([k for k in range(len(key) - 1) if key[k].isalpha() and key[k + 1].isalpha()])
        dropped, doubled = key[:k] + key[k + 1 :], key[:k] + key[k] + key[k:]
        wrong = (dropped, doubled, key[:k] + key[k + 1] + key[k] + key[k + 2 :])[i % 3]
        if wrong not in (*KEYS, *SKLEARN_KEYS):
            yield f"{PLUSES[i // 3 % 3]}{wrong}=1", wrong.rpartition(".")[2]


# kind -> keys of it, and values that it does not take
WRONG = {
    "whole": (
        ["seed", "dataset.split_seed", "dataset.k", "dataset.min_count", "model.batch_size",
         "trainer.max_steps", "trainer.accumulate_grad_batches", "trainer.check_val_every_n_epoch",
         "trainer.num_nodes"],
        ["abc", "1.5", "true", "[1]", "null", "''", "{a: 1}", "1e2"],
    ),
    "number": (
        ["model.lr", "model.weight_decay", "model.warmup", "model.label_smoothing", "dataset.test_size",
         "dataset.val_size", "trainer.overfit_batches"],
        ["abc", "true", "[0.1]", "null", "'0.1'", "{a: 1}", "0.1.2"],
    ),
    "flag": (
        ["profile", "model.compile", "dataset.lower", "dataset.drop_missing_target", "logger.csv",
         "logger.mlflow", "trainer.inference_mode", "trainer.detect_anomaly"],
        ["1", "yes", "null", "[true]", "0.5"],
    ),
    "list": (
        ["tags", "dataset.numeric", "dataset.categorical", "dataset.text", "dataset.ignore"],
        ["x", "1", "true"],
    ),
    "text": (
        ["model.scaler", "model.schedule", "dataset.truncate", "logger.project"],
        ["null", "[a]", "1", "true"],
    ),
}  # fmt: skip


def wrong_types(rng: random.Random, n: int):
    for i in range(n):
        keys, values = WRONG[list(WRONG)[i % len(WRONG)]]
        key = rng.choice(keys)
        yield f"{PLUSES[i % 3] if i % 3 != 1 else ''}{key}={rng.choice(values)}", key


IMPOSSIBLE = """
seed=-1 seed=4294967296 threads=0 threads=-2 dataset.test_size=1.5 dataset.test_size=1 dataset.val_size=-0.1
dataset.val_size=0 dataset.max_rows=0 dataset.max_len=0 dataset.min_count=0 dataset.max_vocab=-5
dataset.target=[]
dataset.name=wien model.lr=-1 model.lr=inf model.lr=-inf model.lr=nan model.lr=1e400 model.batch_size=0
model.weight_decay=-0.1 model.warmup=1.5 model.label_smoothing=2 model.ema=1 model.ema=-0.5 model.patience=0
trainer.max_epochs=0 trainer.max_epochs=-3 trainer.devices=0 trainer.devices=[] trainer.devices=two
trainer.num_nodes=0 trainer.max_steps=-2 trainer.max_time=soon trainer.strategy=ddpp
trainer.deterministic=maybe
trainer.gradient_clip_val=-1 trainer.accumulate_grad_batches=0 trainer.limit_train_batches=-1
trainer.limit_train_batches=1.5 trainer.overfit_batches=-1 model.lr=${nosuch.key}
model.lr=${oc.env:NOT_SET_ANYWHERE}
""".split()

CHOSEN = """
model=mpl model=MLP model=vgg dataset=irsi dataset=imagenet dataset=Wine logger=mlfow logger=tensorboard
trainer=gpu experiment=best debug=fastt +model=cnnn ++dataset=wyne hydra/launcher=joblb hydra/sweeper=optunna
model.scaler=standrad model.schedule=cosin dataset.tokenizer=bert dataset.task=classify
trainer.accelerator=gpuu
trainer.precision=33 trainer.profiler=simpl trainer.gradient_clip_algorithm=nrom class_weight=balance
metric=acc
metric=rmse metric=my.module.fn metric_mode=up experiment=null debug=null dataset=null model=[mlp]
""".split()

# arguments of classes: the whole command, and what its sentence must name
ARGUMENTS = {
    "model.net.d_hiden=3": "d_hiden",
    "+model.net.n_layer=3": "n_layer",
    "++model.net.dropuot=0.3": "dropuot",
    "+model.net.info=3": "info",
    "model.net={d_hiden: 3}": "d_hiden",
    "model.net={d_hidden: abc}": "d_hidden",
    "model.net.d_hidden=abc": "d_hidden",
    "model.net.d_hidden=0": "d_hidden",
    "model.net.n_layers=-1": "n_layers",
    "model.net.dropout=2": "dropout",
    "model.net.class=src.model.mlp.MPL": "MPL",
    "model.net.class=nowhere.MLP": "nowhere",
    "+model.optimizer.beta=0.9": "beta",
    "+model.optimizer.lr=0.1": "lr",
    "+model.optimizer.params=3": "params",
    "model.optimizer.class=torch.optim.AdamWW": "AdamWW",
    "model.optimizer.class=torch.optim.SGD +model.optimizer.momentm=0.9": "momentm",
    "model=cnn model.net.widths=3": "widths",
    "model=cnn model.net.widths=[a]": "widths",
    "model=linear +model.classifier.c=1": " c",
    "model=linear ++model.classifier.penaltyy=l2": "penaltyy",
    "model=linear model.classifier.C=abc": "C",
    "model=linear model.classifier={C: abc}": "C",
    "model=linear model.classifier={c: 1}": "classifier.c",
    "model=linear +model.classifier={c: 1}": " c",
    "model=linear model.classifier.class=sklearn.linear_model.LogisticRegresion": "LogisticRegresion",
    "model=linear model.net.d_hidden=3": "d_hidden",
    "model=linear model.lr=0.1": "lr",
    "model=linear +model.tfidf.max_featurs=5": "max_featurs",
    "model=linear model.progress=stagd": "stagd",
    "model=random_forest +model.classifier.n_estimatrs=3": "n_estimatrs",
    "model=hist_gb +model.regressor.max_itr=3": "max_itr",
    "model=hist_gb model.categories=nativ": "nativ",
    "+class_weight.yes=abc": "yes",
    "class_weight={yes: -1}": "yes",
    "dataset=csv dataset.target=y": "dataset.path",
    "dataset=csv dataset.path=my.csv": "dataset.target",
    "seed=0,1": "seed",
    "model=mlp,linear": "model",
    "~model.lr": "model.lr",
    "seed=1 seed=abc": "abc",
}
MALFORMED = """
= =1 @=1 seed seed==1 -- model.lr=[1 model.lr={ model..lr=1 .seed=1 lr:1 model.lr=(1) +++seed=1 ?=1 +
""".split()
ALLOWED = [
    "",
    "model.lr=1",
    "model=linear +model.classifier.solver=saga",
    "model.optimizer.class=torch.optim.SGD +model.optimizer.momentum=0.9",
    "+model.optimizer.betas=[0.9,0.99]",
    "model=cnn model.net.widths=[2,3]",
    "model.net={d_hidden: 64, dropout: 0.0}",
    "model=linear +model.tfidf.min_df=2",
    "class_weight={yes: 2}",
    "trainer.devices=2 trainer.strategy=ddp trainer.max_time=00:01:00:00",
    "trainer.overfit_batches=1 trainer.limit_train_batches=0.5",
]


def bad_overrides() -> dict[str, str]:
    """Return {what is typed: what the sentence must name}; seeded."""
    rng = random.Random(0)
    cases = dict(typos(rng, KEYS, 50))
    cases |= {f"model=linear {word}": name for word, name in typos(rng, SKLEARN_KEYS, 15)}
    cases |= dict(wrong_types(rng, 50))
    cases |= {word: word.partition("=")[0].lstrip("+").rpartition(".")[2] for word in IMPOSSIBLE + CHOSEN}
    return cases | ARGUMENTS | {word: word for word in MALFORMED}


BAD = bad_overrides()
CHILD = """
import json, sys
from functools import lru_cache
import hydra
from src.config.check import check
from src.system.errors import UserError

itself = hydra.compose  # takes a tenth of a second and depends on the overrides alone
cached = lru_cache(lambda name, overrides: itself(name, list(overrides)))
hydra.compose = lambda name, overrides, **_: cached(name, tuple(overrides))

def said(overrides):
    try:
        check(overrides)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"RAISED {type(error).__name__}: {error}"

light, rest = json.load(sys.stdin)
answers = [said(overrides) for overrides in light]
heavy = sorted({"torch", "sklearn", "lightning", "pandas", "mlflow", "wandb"} & set(sys.modules))
json.dump([answers + [said(overrides) for overrides in rest], heavy], sys.stdout)
"""


# arguments that only the class knows, classes, and lists of words that data/ keeps
LOADING = re.compile(r"model\.(net|optimizer|classifier|regressor|tfidf)[.=]|model\.scaler=|dataset\.task=")


def as_typed(command: str) -> list[str]:
    """Split a command as the shell does with quoted braces: a space inside them does not split."""
    if "{" in command and "}" in command:
        return re.split(r" (?=\+?model\.)", command)
    return command.split()


@pytest.fixture(scope="module")
def answers():
    """Return what `check` answers to each command, and the heavy modules that the light commands load."""
    light = [command for command in BAD if not LOADING.search(command)]
    assert len(light) >= 180
    rest = [command for command in (*BAD, *ALLOWED) if command not in light]
    typed = json.dumps([[as_typed(command) for command in part] for part in (light, rest)])
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=CHECKOUT, input=typed, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    sentences, heavy = json.loads(done.stdout)
    return dict(zip((*light, *rest), sentences, strict=True)), heavy


def test_two_hundred_overrides_are_refused_before_anything_heavy_loads(answers):
    """Except those that name a class, or a word of a room that needs pandas: the run would load it anyway."""
    assert len(BAD) >= 200 and answers[1] == []


@pytest.mark.parametrize("command", BAD)
def test_refused_in_one_sentence_that_names_the_word(answers, command):
    sentence = answers[0][command]
    assert sentence is not None, "it passed"
    assert not sentence.startswith("RAISED") and "\n" not in sentence and len(sentence) < 500
    assert BAD[command] in sentence


@pytest.mark.parametrize("command", ALLOWED)
def test_a_check_that_refuses_everything_would_be_easy(answers, command):
    assert answers[0][command] is None


@pytest.mark.parametrize(
    "overrides",
    ["++model.lrr=1", "seed=abc", "model.lr=${nosuch.key}", "hydra.jop.name=x"],
)
def test_the_shell_refuses_at_once(shell, outputs, overrides):
    """CPU seconds are compared, which other processes do not change."""
    before, spent = versions_in(runs_folder(), "t"), cpu_seconds()
    done = shell("train", overrides)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert versions_in(runs_folder(), "t") == before, "a run was claimed"
    assert cpu_seconds() - spent < 1.5


def cpu_seconds() -> float:
    """Return the CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("overrides", ["seed=0,1,2,x", "model.lr=1e-3,1e-2,-1"])
def test_one_bad_value_among_many_refuses_all_jobs(shell, outputs, overrides):
    before = versions_in(runs_folder(), "t")
    done = shell("train", "--multirun", "dataset=wine", "model=mlp,cnn", overrides)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert overrides.rpartition(",")[2] in done.stderr
    assert done.stdout == "" and not (outputs / "sweeps").exists()
    assert versions_in(runs_folder(), "t") == before


# -- data files


def table(n: int = 90, **columns) -> pd.DataFrame:
    """Return numbers a and b, a label y that depends on a, and the columns of the case; seeded."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    return frame.assign(**columns)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


DONE = "a done run"
PLAIN = csv(table())
LETTERS = [f"c{i}" for i in range(90)]
NORMAL = np.random.default_rng(1).normal(size=90)
# name of the file -> its bytes, more overrides, and what is expected: DONE, or a part of the sentence
FILES = {
    # not a table at all
    "empty.csv": (b"", "", "is empty"),
    "blank_lines.csv": (b"\n\n\n", "", "is empty"),
    "header_only.csv": (b"a,b,y\n", "", "has no rows"),
    "garbage.csv": (np.random.default_rng(0).bytes(5000), "", "not a readable CSV"),
    "zeros.csv": (b"\0" * 3000, "", "zeros.csv"),
    "utf16.csv": (table().to_csv(index=False).encode("utf-16"), "", DONE),
    "latin1.csv": (csv(table(b="x")).replace(b"x", b"caf\xe9"), "", DONE),
    "really.json.csv": (table().to_json(orient="records").encode(), "", "really.json.csv|no such column"),
    "lines.json.csv": (table().to_json(orient="records", lines=True).encode(), "", "no such column"),
    "really_parquet.csv": (parquet(table()), "", "not a readable CSV"),
    "really_csv.parquet": (PLAIN, "", "not a readable Parquet"),
    "semicolons.csv": (PLAIN.replace(b",", b";"), "", DONE),
    "wrong_separator.csv": (PLAIN, "dataset.separator=;", "no such column"),
    "no_separator.csv": (PLAIN, "dataset.separator=''", "separator"),
    "ragged.csv": (PLAIN + b"1,2,yes,4\n", "", "not a readable CSV"),
    "short_line.csv": (PLAIN + b"1,2\n", "", "target y is empty in 1 of 91 rows, first in row 90"),
    "open_quote.csv": (PLAIN + b'1,"2,yes\n' * 5, "", "not a readable CSV"),
    "twice.csv": (PLAIN.replace(b"a,b,y", b"a,a,y"), "", "names a column twice: a"),
    "cut.csv.gz": (gzip.compress(PLAIN)[:-30], "", "not a readable CSV"),
    "plain.csv.gz": (PLAIN, "", DONE),
    "cut.csv.bz2": (bz2.compress(PLAIN)[:-30], "", "not a readable CSV"),
    "cut.parquet": (parquet(table())[:-200], "", "not a readable Parquet"),
    # too little to learn from
    "one_row.csv": (csv(table(1)), "", "nothing to learn"),
    "two_rows.csv": (b"a,y\n1,no\n2,yes\n", "", "too few"),
    "one_class.csv": (csv(table(y="yes")), "", "nothing to learn"),
    "own_classes.csv": (csv(table(y=LETTERS)), "", "each row has another y"),
    "target_only.csv": (csv(table()[["y"]]), "", "no column is left"),
    "no_target.csv": (csv(table()[["a", "b"]]), "", "dataset.target=y: no such column"),
    "names_only.csv": (csv(table(500, c=[f"n{i}" for i in range(500)])[["c", "y"]]), "", "no column is left"),
    # cells
    "empty_target.csv": (csv(table(y=["no", "yes", None] * 30)), "", "target y is empty in 30 of 90 rows"),
    "infinite_target.csv": (csv(table(y=[0.5, np.inf, 1.5] * 30)), "", "infinite"),
    "infinite_column.csv": (csv(table(a=np.inf)), "", DONE),  # it is left out
    "infinite_cells.csv": (csv(table(c=[1.0, np.inf, -np.inf] * 30)), "", DONE),
    "huge_numbers.csv": (csv(table(c=[1e308, -1e308, 0] * 30)), "", DONE),
    "huge_target.csv": (csv(table(y=[*NORMAL[:89], 1e300])), "", "target y holds 1e+300, more than 1e+100"),
    "large_target.csv": (csv(table(y=NORMAL * 1e99)), "", DONE),
    "tiny_target.csv": (csv(table(y=NORMAL * 1e-300)), "", "y varies by less than 1e-100: multiply it"),
    "tiny_numbers.csv": (csv(table(c=NORMAL * 1e-300)), "model.scaler=standard", DONE),
    "huge_weight.csv": (csv(table(w=np.abs(NORMAL) * 1e300)), "dataset.weight=w", "weight=w is "),
    "tiny_weight.csv": (csv(table(w=np.abs(NORMAL) / 1e20)), "dataset.weight=w", "between 1e-9 and 1e15"),
    "class_weight.csv": (PLAIN, "class_weight={yes:1e300}", "the largest of class_weight is 1e+300"),
    "beyond_int64.csv": (csv(table(c=[10**25 + i for i in range(90)])), "", DONE),
    "empty_column.csv": (csv(table(c=np.nan)), "", DONE),
    "mixed_types.csv": (csv(table(c=[1, "x", None, 2.5, True, "2020-01-01"] * 15)), "", DONE),
    "mixed_numbers.csv": (csv(table(c=["1", "2", "x"] * 30)), "dataset.numeric=[c]", "row 2 holds 'x'"),
    "thousands.csv": (csv(table(c=["1,000", "2,500"] * 45)), "", DONE),
    "dates.parquet": (parquet(table(c=pd.date_range("1700", periods=90, freq="YS"))), "", DONE),
    "date_target.parquet": (parquet(table(y=pd.date_range("2020", periods=90))), "", DONE),
    "durations.parquet": (parquet(table(c=pd.to_timedelta(range(90), "h"))), "", DONE),
    "lists.parquet": (parquet(table(c=[[1, 2], [3]] * 45)), "", "column c"),
    "list_target.parquet": (parquet(table(y=[["u"], ["v", "w"]] * 45)), "", "multi-label"),
    "dicts.parquet": (parquet(table(c=[{"u": 1}, {"u": 2}] * 45)), "", "column c"),
    "bytes.parquet": (parquet(table(c=[b"u", b"\xff"] * 45)), "", "column c"),
    "many_categories.csv": (csv(table(6000, c=[*map(str, range(6000))])), "dataset.categorical=[c]", DONE),
    "constant_number.csv": (csv(table(y=1.5)), "", DONE),
    # names
    "unicode.csv": (csv(table(y=["größer", "日本 🎲"] * 45).rename(columns={"a": "温度"})), "", DONE),
    "odd_names.csv": (csv(table().rename(columns={"a": "a.b=c d", "b": "{x}${y}"})), "", DONE),
    "blank_name.csv": (PLAIN.replace(b"a,b,y", b"a,,y"), "", DONE),
    "line_break.csv": (PLAIN.replace(b"a,b,y", b'"a\nb",b,z'), "", "no such column"),
    "line_break_label.csv": (csv(table(y=["u\nv", "w"] * 45)), "dataset.positive=x", "positive=x"),
    # columns with a meaning
    "wrong_parts.csv": (csv(table(s=["train", "dev", "test"] * 30)), "dataset.split=s", "column holds 'dev'"),
    "empty_part.csv": (csv(table(s=["train", None, "test"] * 30)), "dataset.split=s", "split column"),
    "no_train.csv": (csv(table(s=["val", "test"] * 45)), "dataset.split=s", "no row to train on"),
    "one_group.csv": (csv(table(g="u")), "dataset.group=g", "too few"),
    "negative_weight.csv": (csv(table(w=[1, -1] * 45)), "dataset.weight=w", "negative"),
    "text_weight.csv": (csv(table(w=["heavy", "light"] * 45)), "dataset.weight=w", "w should hold numbers"),
    "ids_twice.csv": (csv(table(k=["u", "u", "v"] * 30)), "dataset.id=k", DONE),
}
BY_MLP = """
infinite_cells huge_numbers huge_target large_target tiny_numbers huge_weight mixed_types odd_names two_rows
one_class
""".split()


def assert_ends_as_expected(expected: str, *overrides: str):
    """Assert a done run with a finite val/loss, or one sentence that the failed run's report has, too."""
    before = versions_in(runs_folder(), "t")
    if expected == DONE:
        run = fit("logger=none", "pictures=false", "dataset.target=y", *overrides)
        assert run.status == "done" and np.isfinite(run.report["metrics"]["val/loss"])
        return
    with pytest.raises(UserError) as caught:
        fit("logger=csv", "pictures=false", "dataset.target=y", *overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 500
    assert any(part in sentence for part in expected.split("|")), sentence
    for number in set(versions_in(runs_folder(), "t")) - set(before):
        failed = load(f"t{number}")
        assert failed.status == "failed" and failed.report["error"] == sentence


@pytest.mark.parametrize(
    ("model", "name"),
    [*(("linear", name) for name in FILES), *(("mlp", f"{name}.csv") for name in BY_MLP)],
    ids=lambda value: value,
)
def test_a_file_ends_in_a_run_or_in_a_sentence(outputs, tmp_path, model, name):
    content, overrides, expected = FILES[name]
    (tmp_path / name).write_bytes(content)
    kind = "parquet" if name.endswith("parquet") else "csv"
    overrides = [f"model={model}", f"dataset={kind}", f"dataset.path={tmp_path / name}", *overrides.split()]
    assert_ends_as_expected(expected, "trainer.max_epochs=2", *overrides)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_path_that_is_no_file(outputs, tmp_path, kind):
    for path in (tmp_path, tmp_path / "nowhere.csv", "''"):
        overrides = ("model=linear", f"dataset={kind}", f"dataset.path={path}")
        assert_ends_as_expected("no file|is a folder", *overrides)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(outputs, tmp_path):
    (tmp_path / "my.csv").write_bytes(PLAIN)
    (tmp_path / "my.csv").chmod(0)
    overrides = ("model=linear", "dataset=csv", f"dataset.path={tmp_path / 'my.csv'}")
    assert_ends_as_expected("not a readable CSV", *overrides)


def test_the_shell_tells_of_a_broken_file_in_one_line(shell, outputs, tmp_path):
    (tmp_path / "my.csv").write_bytes(FILES["ragged.csv"][0])
    overrides = ("dataset=csv", f"dataset.path={tmp_path / 'my.csv'}", "dataset.target=y")
    done = shell("train", "model=linear", "logger=csv", *overrides)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "my.csv is not a readable CSV" in done.stderr
    assert runs().iloc[-1]["status"] == "failed"


def test_a_whole_table_still_trains(outputs, tmp_path):
    """The same overrides train on a file without a fault."""
    tiny_table("binary").to_csv(tmp_path / "my.csv", index=False)
    assert_ends_as_expected(DONE, "model=linear", "dataset=csv", f"dataset.path={tmp_path / 'my.csv'}")


# -- extreme values, for every model


@pytest.mark.parametrize("model", choices("model"))
def test_every_model_takes_extreme_numbers(outputs, tmp_path, model):
    """Features beyond float32, an outlier of 1e90 in the target: nothing overflows on the way."""
    options = [*QUIET, "trainer.max_epochs=2"]
    if model == "pretrained":
        options.append(f"model.net.path={tiny_bert(tmp_path)}")
    frame = table(c=[1e300, -1e300, 0] * 30, d=NORMAL * 1e-300, y=[*NORMAL[:89], 1e90])
    run = fit(f"model={model}", "dataset.target=y", *options, data=frame)
    values = {name: value for name, value in run.report["metrics"].items() if "spearman" not in name}
    assert np.isfinite(list(values.values())).all(), values
    with pytest.raises(UserError, match="more than 1e\\+100"):
        fit(f"model={model}", "dataset.target=y", *options, data=frame.assign(y=NORMAL * 1e300))


# -- names with control characters

RAW = "a\x1b[31mb\r\n\x07\u202ec$x_{$"
SHOWN = r"a\x1b[31mb\r\n\x07\u202ec"


def assert_harmless(*texts: str):
    """Assert that texts hold line breaks as their only signs that are not printed as they are."""
    for text in texts:
        assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_control_characters_of_names_are_shown_not_sent(shell, outputs, tmp_path):
    path = tmp_path / "odd\x1b[31m\u202e.csv"
    frame = table(y=[RAW, "other"] * 45).rename(columns={"a": f"{RAW} 1"})
    path.write_bytes(csv(frame))
    data = ("dataset=csv", f"dataset.path='{path}'", "dataset.target=y", "model=linear")
    done = shell("train", *data, "logger=csv", "tags=[plain]")
    assert done.returncode == 0, done.stderr
    log = (load(runs().index[-1]).folder / "log.txt").read_text(encoding="utf-8")
    listed = shell("etl", "dataset=odd_31m")
    assert_harmless(done.stdout, done.stderr, log, listed.stdout)
    for text in (done.stdout, log):
        assert SHOWN in text and f"{SHOWN}$x_{{$ 1" in text, "class and column"
    assert r"odd\x1b[31m\u202e.csv" in listed.stdout
    assert (load(runs().index[-1]).folder / "plots/test.png").stat().st_size > 10_000
    changed = csv(frame.rename(columns={f"{RAW} 1": f"{RAW} 2"}))
    path.write_bytes(changed)
    assert shell("train", *data, "logger=none", "pictures=false").returncode == 0
    versions = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    between = shell("etl", "dataset=odd_31m", f"diff={versions[-1]},v{int(versions[-1][1:]) + 1}")
    assert_harmless(between.stdout)
    lines = {f"column gone: {SHOWN}$x_{{$ 1", f"column new: {SHOWN}$x_{{$ 2"}
    assert lines <= set(between.stdout.splitlines())


@pytest.mark.parametrize(
    "overrides",
    [
        (f"dataset.target='{RAW}'", "dataset=csv", "dataset.path=x.csv"),
        ("tags=['\x1b[31m']",),
        ("logger.project='\x1b[31m'",),
        ("model='\x1b[31m'",),
        ("\x1b[31m=1",),
        ("seed=\x1b[31m",),
        ("seed=${oc.env:CONTROL}",),
    ],
)
def test_control_characters_in_overrides(shell, outputs, monkeypatch, overrides):
    monkeypatch.setenv("CONTROL", RAW)
    done = shell("train", "logger=csv", *overrides)
    assert done.returncode in (1, 2) and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert_harmless(done.stdout, done.stderr)


def test_control_characters_in_the_overrides_of_a_verb(shell, outputs):
    keys = {"sync": "run", "diff": "runs", "clean": "remove", "pack": "run", "etl": "dataset"}
    for verb, key in keys.items():
        done = shell(verb, f"{key}=\x1b[31m\u202e")
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1
        assert_harmless(done.stdout, done.stderr)


# -- memory


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("model=mlp model.net.d_hidden=1000000", "=mlp, 1,000,0.* parameters, needs about 20,0.* free"),
        ("model=mlp model.net.d_hidden=1000000000000", "the net of model=mlp is larger than any memory"),
        ("model=transformer model.net.d_token=4000000", "net of model=transformer, .* GB are free: make it"),
        ("model=random_forest model.arguments.n_estimators=1000000000", "^RandomForestClassifier .* 3,000.0"),
    ],
)
def test_model_larger_than_the_memory_is_refused_before_it_is_made(outputs, overrides, says):
    with pytest.raises(UserError, match=says) as refusal:
        fit("dataset=iris", *QUIET, *overrides.split())
    assert load(runs().index[-1]).report["error"] == str(refusal.value)


def test_shell_refuses_a_model_larger_than_the_memory(shell, outputs):
    done = shell("train", "dataset=iris", *QUIET, "model=mlp", "model.net.d_hidden=1000000")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "GB are free" in done.stderr


def test_dense_table_larger_than_the_memory_is_refused(outputs, monkeypatch):
    monkeypatch.setattr("src.system.environment.free_memory", lambda: 90_000)
    frame = table(c=[f"n{i % 45}" for i in range(90)])
    overrides = ("model=linear", "dataset.target=y", "dataset.categorical=[c]", *QUIET)
    with pytest.raises(UserError, match=r"^LogisticRegression on \d+ rows and 49 columns needs about 0.0 GB"):
        fit(*overrides, "model.sparse=false", data=pd.concat([frame] * 3))


@pytest.mark.parametrize(
    ("line", "files", "free"),
    [
        ("0::/job", {"job/max": 5000, "job/current": 3000, "job/memory.stat": "inactive_file 100"}, 2100),
        ("0::/job", {"max": 900, "current": 800, "memory.stat": "inactive_file 0"}, 100),
        ("0::/", {"max": "max", "current": 800, "memory.stat": "inactive_file 0"}, None),
        ("0::/gone", {}, None),
        ("4:memory:/a", {"max": 700, "current": 900, "memory.stat": "total_inactive_file 1"}, 0),
    ],
)
def test_free_memory_is_that_of_the_container(tmp_path, monkeypatch, line, files, free):
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    (tmp_path / "groups").write_text(f"9:cpu:/\n{line}\n")
    place = (str(tmp_path), "max", "current")
    monkeypatch.setattr("src.system.environment.CGROUPS", {"": place, "memory": place})
    monkeypatch.setattr("src.system.environment.GROUPS", tmp_path / "groups")
    assert free_memory() == free if free is not None else free_memory() > 10**8


def test_full_memory_of_a_gpu_is_one_sentence(outputs, monkeypatch):
    import torch

    from src.model.lit import LitModel

    def loss(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has 1 GiB. See docs")

    monkeypatch.setattr(LitModel, "loss", loss)
    with pytest.raises(UserError, match=r"^CUDA out of memory: lower model.batch_size, or make the net"):
        fit("model=mlp", "dataset=iris", *QUIET)


def test_what_a_net_needs_is_counted_before_it_is_made(outputs, monkeypatch):
    """Weights, gradients, a checkpoint, two moments of Adam and the average: six copies of 4 bytes."""
    import torch

    asked = []
    monkeypatch.setattr("src.trainer.net.check_memory", lambda what, n_bytes: asked.append((what, n_bytes)))
    for overrides in (["model.ema=0.9"], ["model.optimizer.class=torch.optim.SGD"]):
        run = fit("model=mlp", "dataset=iris", *QUIET, "trainer.max_epochs=1", *overrides)
        weights = torch.load(run.folder / "model" / f"model_{run.name}.pt", weights_only=True)
        n = sum(weight.numel() for weight in weights.values())
        what, n_bytes = asked.pop(0)
        assert f"{n:,} parameters" in what and n_bytes == n * 4 * (6 if "ema" in overrides[0] else 3)

"""Tiny data and a folder for runs: every test module writes under its own ``OUTPUTS_DIR``."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import forks
import hydra
import numpy as np
import pandas as pd
import pytest

import src  # noqa: F401  sets how OpenMP waits, before a test loads torch
from src.run import again

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:  # the default suite writes 0.9 GB
    # a run syncs dozens of files: 10 ms each on a disk, nothing in memory
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("MLFLOW_TRACKING_URI", None)  # the store under OUTPUTS_DIR, unless a test says otherwise
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by a script with &: tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
CHECKOUT = Path(__file__).resolve().parent.parent
QUIET = ("logger=csv", "pictures=false")  # overrides of a run that starts no child process


def pytest_sessionfinish(session, exitstatus) -> None:
    """Free the memory that the tests wrote to, if all of them have passed."""
    folder = session.config._tmp_path_factory.getbasetemp()
    if exitstatus == 0 and MEMORY in folder.parents and not hasattr(session.config, "workerinput"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """An ``OUTPUTS_DIR`` for the module, also seen by the processes that it starts."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUTS_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shell(outputs):
    """``shell("train", "model=mlp")`` runs ``python -m src.train model=mlp`` and captures its output."""

    def call(verb: str, *overrides: str) -> subprocess.CompletedProcess:
        return forks.call(f"src.{verb}", *overrides)

    return call


@pytest.fixture
def forked_replays(monkeypatch):
    """Replay in forks, see forks.py; tests/test_replay.py has replays in processes that Python started."""

    def run(command, **options) -> subprocess.CompletedProcess:
        done = forks.call(*command[2:], **options)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        return done

    monkeypatch.setattr(again, "subprocess", SimpleNamespace(run=run))


@pytest.fixture(scope="module")
def compose_once():
    """Compose each set of overrides once: it takes a tenth of a second and depends on them alone."""
    cached = lru_cache(lambda name, words, **more: hydra_itself(name, list(words), **more))
    hydra_itself = hydra.compose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra, "compose", lambda name, words, **more: cached(name, tuple(words), **more))
        yield


def tiny_table(task: str, n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Numbers with empty cells, categories with empty and rare ones, and a target that they explain.

    task : "binary" (text labels), "multiclass" (numbers that do not start at 0) or "regression"
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=["a", "b", "c", "d"])
    colour = rng.choice(["red", "green", "blue"], n)
    score = 2 * frame["a"] - frame["b"] + (colour == "red") * 1.5 + rng.normal(scale=0.3, size=n)
    frame["colour"] = colour
    frame.loc[rng.choice(n, 12, replace=False), "c"] = np.nan
    frame.loc[rng.choice(n, 8, replace=False), "colour"] = None
    if task == "binary":
        frame["y"] = np.where(score > score.median(), "yes", "no")
    elif task == "multiclass":
        frame["y"] = pd.qcut(score, 3, labels=False) * 10 + 5
    else:
        frame["y"] = score * 3 + 2000
    return frame


def tiny_text(n: int = 200, seed: int = 0) -> pd.DataFrame:
    """Short sentences, two labels told apart by single words."""
    rng = np.random.default_rng(seed)
    words = {"good": "warm clever fresh tender lovely".split(), "bad": "dull lazy stale flat bland".split()}
    filler = "the film a plot of and with some cast scene".split()
    rows = []
    for _ in range(n):
        label = str(rng.choice(["good", "bad"]))
        sentence = [*rng.choice(filler, rng.integers(2, 9)), rng.choice(words[label])]
        rows.append({"sentence": " ".join(rng.permutation(sentence)), "label": label})
    return pd.DataFrame(rows)


def tiny_bert(folder, words=()):
    """Make a BERT of 16 wide in ``folder``, with a tokenizer for ``words``, without the hub."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    template = {"single": "[CLS] $A [SEP]", "special_tokens": [("[CLS]", 2), ("[SEP]", 3)]}
    tokenizer.post_processor = processors.TemplateProcessing(**template)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words) + 8, max_position_embeddings=40, **sizes)  # rows for no word
    BertModel(config).save_pretrained(folder)
    return folder


def assert_same(run, other):
    """History, metrics, predictions and weights of two runs of a net, bit for bit."""
    import torch

    from src.logger import csv

    assert run.status == other.status == "done" and (run.folder / "DONE").is_file()
    recorded = csv.read(run.folder / "metrics.csv")
    assert str(run.rows) == str(other.rows) == str(recorded)  # as text: nan is not nan
    assert all(str(run.report[key]) == str(other.report[key]) for key in ("metrics", "best_epoch"))
    ours, theirs = run.arrays, other.arrays
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = (
        torch.load(one.folder / "model" / f"model_{one.name}.pt", weights_only=True) for one in (run, other)
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = (one.folder / "val_epochs.bin" for one in (run, other))
    assert ours.read_bytes() == theirs.read_bytes()


def until(condition, seconds: float = 120):
    """Return the value of ``condition()`` as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing in {seconds} s")

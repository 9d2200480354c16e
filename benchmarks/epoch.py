"""Time an epoch against a bare PyTorch loop with the same optimizer, on a table and on SST-2's tokens.

    python benchmarks/epoch.py            (SST-2 only with DATA_DIR)

Both sides train the same net from the same seed, alternately, in one process, and validate after every epoch.
Reprise's side is a whole Trainer fit with history and all trackers; they are started before, as startup.py
times their start. The first epoch of each fit is left out as a warm-up.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sides import HEAD, row, table
from torch.nn import functional as F

import src  # noqa: F401  sets OpenMP's wait policy, for both sides, before torch loads
from src.config import shell
from src.config.compose import compose
from src.data.load import load_data
from src.data.prepare import Data
from src.metric.choose import choose
from src.model.build import build
from src.model.words import INPUTS
from src.run.folder import Run, runs_folder
from src.run.record import Recorder
from src.run.trackers import tracker_names
from src.system.environment import n_threads, set_threads
from src.system.paths import claim
from src.trainer import net
from src.trainer.history import Progress
from src.trainer.loader import BatchOrder, tensors

EPOCHS, PAIRS = 6, 5
START_S = 300  # for the trackers


def numbers(n: int = 100_000, n_columns: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, n_columns)), columns=[f"x{i}" for i in range(n_columns)])
    return frame.assign(y=(frame["x0"] * frame["x1"] + frame["x2"] > 0).astype(int))


def bare(cfg: dict, data: Data, n_epochs: int) -> list[float]:
    """Return the seconds of each epoch of a hand-written loop: sliced tensors, AdamW, loss, accuracy."""
    torch.manual_seed(0)
    model = build(cfg["model"]["net"], data.info)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg["model"]["lr"], weight_decay=0.01, fused=True)
    train, val = (tensors(data.parts[name], data.info) for name in ("train", "val"))
    long, long_val = (data.parts[name].get("lengths") for name in ("train", "val"))
    order = BatchOrder(len(train["y"]), cfg["model"]["batch_size"], seed=0, lengths=long)
    order_val = BatchOrder(len(val["y"]), net.eval_batch(data.info), lengths=long_val)

    def batch_of(part, rows, long):
        batch = {name: x[rows] for name, x in part.items() if name != "row"}
        if long is not None:
            longest = int(long[rows].max())
            batch["input_ids"] = batch["input_ids"][:, :longest]
            batch["attention_mask"] = torch.arange(longest) < batch["lengths"][:, None]
        return {name: batch[name] for name in INPUTS if name in batch}, batch["y"]

    seconds = []
    for epoch in range(n_epochs):
        began = time.perf_counter()
        order.set_epoch(epoch)
        model.train()
        total = torch.zeros(())
        for rows in order.batches():
            inputs, y = batch_of(train, rows, long)
            optimizer.zero_grad()
            if hasattr(model, "each"):  # TabM: the mean of the losses of its k nets
                logits = model.each(**inputs)
                loss = F.cross_entropy(logits.flatten(0, 1), y.repeat_interleave(logits.shape[1]))
            else:
                loss = F.cross_entropy(model(**inputs), y)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        model.eval()
        with torch.inference_mode():
            hits = 0
            for rows in order_val.batches():
                inputs, y = batch_of(val, rows, long_val)
                hits += int((model(**inputs).argmax(1) == y).sum())
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def reprise(cfg: dict, data: Data) -> list[float]:
    """Return the seconds of each epoch of Reprise, with all metrics, history, checkpoints and trackers."""
    run = Recorder.start(claim(runs_folder(), "t"), cfg, {})
    stamps = []
    metric = choose(None, None, data.info["task"])
    run.report |= {"metric": {"name": metric["name"], "mode": metric["mode"]}}
    run.begin()
    end = time.monotonic() + START_S
    while len(Run.open(run.name).trackers) < len(names := tracker_names(cfg["logger"])):
        if time.monotonic() > end:  # a worker that has died answers nothing
            sys.exit(f"of {names} only {[*Run.open(run.name).trackers]} have started within {START_S} s")
        time.sleep(0.1)

    def log_row(row: dict) -> None:
        run.log_row(row)
        stamps.append(time.perf_counter())

    net.fit(
        cfg["model"], data, metric, seed=cfg["seed"], trainer=cfg["trainer"],
        folder=run.folder / "checkpoints", resume=False, log_row=log_row,
        progress=Progress(metric, EPOCHS), n_threads=n_threads(None),
    )  # fmt: skip
    run.finish("stopped")
    run.close()
    return np.diff(stamps).tolist()


def compare(overrides: list[str], frame=None) -> tuple[float, float, list[float]]:
    """Return the median seconds of an epoch, Reprise's and bare, and the ratio of each pair."""
    cfg = compose([*overrides, f"trainer.max_epochs={EPOCHS}", "model.patience=null", "model.ema=null"])
    data = load_data(
        cfg["dataset"], scaler=cfg["model"]["scaler"], class_weight=cfg["class_weight"], seed=cfg["seed"],
        frame=frame,
    )
    bare(cfg, data, 2)
    pairs = []
    for _ in range(PAIRS):
        pairs.append((statistics.median(reprise(cfg, data)), statistics.median(bare(cfg, data, EPOCHS))))
        print(f"pair {len(pairs)} of {PAIRS}: {pairs[-1][0]:.2f} s, {pairs[-1][1]:.2f} s", file=sys.stderr)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, theirs, [a / b for a, b in pairs]


def rows():
    set_threads(n_threads(None))
    shell.console()
    logging.getLogger("reprise").handlers[0].setLevel(logging.WARNING)
    overrides = ["model=mlp", "dataset=frame", "dataset.target=y"]
    cases = {"100,000 x 20, MLP 256-256": (overrides, numbers(), 1.2)}
    embedded = [*overrides, "model.net.numeric=periodic", "model.net.n_frequencies=32"]
    cases["20,000 x 20, `mlp` with periodic numbers"] = (embedded, numbers(20_000), 1.15)
    of_tabm = ["model=tabm", *overrides[1:], "model.net.k=8"]
    cases["10,000 x 20, `tabm` of 8 nets"] = (of_tabm, numbers(10_000), 1.15)
    if (Path(os.environ.get("DATA_DIR", "")) / "sst2" / "dev.tsv").is_file():
        for model, n in (("mlp", 20_000), ("cnn", 8_000), ("bilstm", 4_000)):
            overrides = [f"model={model}", "dataset=sst2", f"dataset.max_rows={n}"]
            cases[f"{n:,} phrases of SST-2, `{model}`"] = (overrides, None, 1.15)
    for name, (overrides, frame, limit) in cases.items():
        if not sys.argv[1:] or any(word in name for word in sys.argv[1:]):
            yield row(f"an epoch, {name}, against a bare loop", *compare(overrides, frame), limit)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        table("epoch", HEAD, rows())

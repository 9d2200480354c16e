"""Time five folds against one fit, one after the other and two at a time.

DATA_DIR=... python benchmarks/folds.py
DATA_DIR=... python benchmarks/folds.py hist_gb

Seconds of a run from its first to its last stage, without the start of Python, with one thread each; the
three sides take turns.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

from sides import CHECKOUT, HEAD, row, seconds, table

from src.system.files import read_json

WORDS = {
    "hist_gb": ["dataset=adult", "model.arguments.early_stopping=false", "model.arguments.max_iter=100"],
    "mlp": ["dataset=adult", "trainer.max_epochs=6", "model.patience=null"],
}
SIDES = {"one": [], "serial": ["cv=kfold"], "two": ["cv=kfold", "cv.n_jobs=2"]}
ROUNDS = 3


def took(model: str, words: list[str], folder: str) -> float:
    """Return the seconds of the stages of a run."""
    common = [f"model={model}", *WORDS[model], "threads=1", "logger=csv", "pictures=false"]
    before = {*Path(folder).glob("runs/t*")}
    seconds([sys.executable, "-m", "src.train", *common, *words], folder)
    first = min({*Path(folder).glob("runs/t*")} - before, key=lambda path: int(path.name[1:]))
    timings = read_json(first / "report.json")["timings"]
    return sum(timings.values()) - timings["start"]


def rows():
    with tempfile.TemporaryDirectory() as folder:
        for model in sys.argv[1:] or WORDS:
            took(model, [], folder)  # its data is recorded as a version
            measured = []
            for _ in range(ROUNDS):
                measured.append({side: took(model, words, folder) for side, words in SIDES.items()})
                print(f"round {len(measured)} of {ROUNDS}: {measured[-1]}", file=sys.stderr)
            one, serial, two = (statistics.median(each[side] for each in measured) for side in SIDES)
            ratios = [each["serial"] / each["one"] for each in measured]
            yield row(f"five folds of `{model}`, against one fit", serial, one, ratios, 5.3)
            ratios, name = [each["two"] / each["serial"] for each in measured], f"five folds of `{model}`"
            yield row(f"{name}, two at a time, against one after the other", two, serial, ratios, 0.6)


if __name__ == "__main__":
    os.environ.setdefault("DATA_DIR", str(CHECKOUT / "outputs" / "data"))
    table("folds", HEAD, rows())

"""Metrics of eight fits stay what they were, to 1e-4.

`python tests/test_golden.py` rewrites golden.json and prints what changed: look at it before you commit it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("golden.json")
TOLERANCE = 1e-4
FITS = [
    "model=mlp dataset=wine trainer.max_epochs=5",
    "model=cnn dataset=text_sample trainer.max_epochs=3 model.net.d_token=32",
    "model=transformer dataset=digits trainer.max_epochs=3 model.net.d_token=16 model.net.n_blocks=1",
    "model=linear dataset=text_sample",
    "model=hist_gb dataset=diabetes",
    "model=random_forest dataset=digits model.classifier.n_estimators=30",
    "model=sgd dataset=wine trainer.max_epochs=10",
    "model=knn dataset=diabetes",
]
COMMON = ["logger=none", "threads=1", "dataset.max_rows=300"]


def metrics_of(words: str) -> dict[str, float]:
    from src import fit

    return fit(*words.split(), *COMMON).report["metrics"]


def differences(old: dict, new: dict) -> list[str]:
    """Return a line for each metric that changed."""
    lines = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if a is None or b is None or abs(a - b) > TOLERANCE:
            lines.append(f"{name}: {a} -> {b}")
    return lines


def golden() -> dict[str, dict]:
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def test_the_file_holds_these_fits():
    assert list(golden()) == FITS


@pytest.mark.parametrize("words", FITS)
def test_metrics_are_what_they_were(outputs, words):
    assert differences(golden()[words], metrics_of(words)) == []


def test_a_change_beyond_the_tolerance_is_seen():
    assert differences({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.00009, "b": 1.0002}) == [
        "b: 1.0 -> 1.0002",
        "c: 1.0 -> None",
    ]


def rewrite() -> None:
    old, new = golden(), {words: metrics_of(words) for words in FITS}
    FILE.write_text(json.dumps(new, indent=1) + "\n")
    for words in {**old, **new}:
        for line in differences(old.get(words, {}), new.get(words, {})):
            print(f"{words}   {line}")


if __name__ == "__main__":
    sys.path.insert(0, str(FILE.parent.parent))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUTS_DIR"] = folder
        rewrite()

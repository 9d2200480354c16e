"""Pictures of a finished run, drawn from its folder: learning curves, and what the test part shows."""

import json
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.logger import csv
from src.metric.functions import auroc_binary, average_precision_binary, r2
from src.system.files import read_json
from src.system.process import silence_output

BLUE, ORANGE, GREY = "#3366aa", "#dd7722", "#999999"
MAX_POINTS = 5000  # of a scatter
MAX_CURVES = 10  # classes with a curve of their own


def draw(folder: str | Path) -> list[Path]:
    """Write ``plots/learning_curves.png`` and ``plots/test.png``; returns the paths that were written."""
    folder = Path(folder)
    (folder / "plots").mkdir(exist_ok=True)
    report, info = read_json(folder / "report.json"), read_json(folder / "info.json")
    history = csv.read(folder / "metrics.csv")
    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        y, p = file["test_y"], file["test_p"]
    title = f"{report['run']}   {report['model']} on {report['dataset']}"
    figures = {"test": regression(y, p) if info["task"] == "regression" else classification(y, p, info["classes"])}
    if len(history) > 1:
        figures["learning_curves"] = learning_curves(history, report["metric"]["name"], report["best_epoch"])
    paths = []
    for name, figure in figures.items():
        figure.suptitle(title if name != "test" else f"{title}, test part", fontsize=11)
        paths.append(folder / "plots" / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
    return paths


def _figure(n: int, width: float = 4.6):
    """A figure with ``n`` axes side by side, and these."""
    figure = Figure(figsize=(width * n, 4.2), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
    return figure, axes


def learning_curves(history: list[dict], chosen: str, best_epoch: int):
    """Loss of train and val, and the chosen metric on val, over epochs."""
    figure, (left, right) = _figure(2, 5.5)
    epochs = [row["epoch"] for row in history]
    for name, colour in (("train/loss", BLUE), ("val/loss", ORANGE)):
        left.plot(epochs, [row[name] for row in history], color=colour, label=name)
    right.plot(epochs, [row[f"val/{chosen}"] for row in history], color=ORANGE, label=f"val/{chosen}")
    for axis, name in ((left, "loss"), (right, chosen)):
        axis.axvline(best_epoch, color=GREY, linestyle=":", label=f"kept: epoch {best_epoch}")
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False)
    return figure


def classification(y: np.ndarray, p: np.ndarray, classes: list[str]):
    """Confusion matrix, ROC, precision-recall, calibration of the top class."""
    figure, axes = _figure(4)
    confusion_matrix(axes[0], y, p, classes)
    shown = [1] if len(classes) == 2 else [k for k in range(len(classes)) if (y == k).any()][:MAX_CURVES]
    for k in shown:
        positive, score = y == k, p[:, k]
        false_rate, recall, precision = thresholds(positive, score)
        area, average = auroc_binary(positive, score), average_precision_binary(positive, score)
        axes[1].plot(false_rate, recall, label=f"{classes[k]}  {area:.3f}")
        axes[2].plot(recall, precision, drawstyle="steps-pre", label=f"{classes[k]}  {average:.3f}")
    axes[1].plot([0, 1], [0, 1], color=GREY, linestyle=":")
    axes[1].set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, area")
    axes[2].set(xlabel="recall", ylabel="precision", title="precision and recall, average precision", ylim=(0, 1.03))
    for axis in axes[1:3]:
        axis.legend(frameon=False, fontsize=8)
    calibration(axes[3], y, p)
    return figure


def confusion_matrix(axis, y, p, classes) -> None:
    n = len(classes)
    counts = np.bincount(y * n + p.argmax(1), minlength=n * n).reshape(n, n)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(False)
    if n <= 12:
        for i in range(n):
            for j in range(n):
                colour = "white" if shares[i, j] > 0.5 else "black"
                axis.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=9 if n < 6 else 7)
        axis.set_xticks(range(n), [_short(name) for name in classes], rotation=45 if n > 3 else 0)
        axis.set_yticks(range(n), [_short(name) for name in classes])
    axis.set(xlabel="predicted", ylabel="true", title="confusion matrix, rows")


def calibration(axis, y, p, n_bins: int = 10) -> None:
    """Share of hits against confidence in the top class, in bins of equal width; dot size is the share of rows."""
    confidence, hit = p.max(1), p.argmax(1) == y
    bins = np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)
    rows = np.bincount(bins, minlength=n_bins)
    filled = rows > 0
    mean_confidence = np.bincount(bins, confidence, n_bins)[filled] / rows[filled]
    hits = np.bincount(bins, hit, n_bins)[filled] / rows[filled]
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    axis.plot(mean_confidence, hits, color=BLUE)
    axis.scatter(mean_confidence, hits, s=10 + 150 * rows[filled] / len(y), color=BLUE)
    low = math.floor(10 * min(mean_confidence.min(), hits.min())) / 10
    axis.set(xlabel="confidence", ylabel="share right", title="calibration", xlim=(low, 1.03), ylim=(low, 1.03))


def regression(y: np.ndarray, p: np.ndarray):
    """Predicted against true, and residuals against predicted."""
    figure, (left, right) = _figure(2, 5.5)
    title = f"predicted and true, R2 {r2(y, p):.3f}"
    some = np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]
    y, p = y[some], p[some]
    left.scatter(y, p, s=6, alpha=0.4, color=BLUE, linewidths=0)
    ends = [min(y.min(), p.min()), max(y.max(), p.max())]
    left.plot(ends, ends, color=GREY, linestyle=":")
    left.set(xlabel="true", ylabel="predicted", title=title)
    right.scatter(p, y - p, s=6, alpha=0.4, color=BLUE, linewidths=0)
    right.axhline(0, color=GREY, linestyle=":")
    right.set(xlabel="predicted", ylabel="true - predicted", title="residuals")
    return figure


def thresholds(positive: np.ndarray, score: np.ndarray):
    """False positive rate, recall and precision at every threshold, from the strictest: three arrays of one length."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(positive[order])[last]
    false = last + 1 - hits
    rates = (np.append(0, x) / max(1, total) for x, total in ((false, (~positive).sum()), (hits, positive.sum())))
    return *rates, np.append(1, hits / (last + 1))


def _short(name: str, most: int = 12) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def main() -> None:
    """Beside runs: everything is loaded, each line names a folder to draw for."""
    answer = silence_output()
    for line in sys.stdin:
        _, folder = json.loads(line)
        try:
            draw(folder)
        except Exception as error:  # a picture that cannot be drawn stops nothing
            answer(f"the pictures of {Path(folder).name} could not be drawn: {error or type(error).__name__}")
        answer(True)


if __name__ == "__main__":
    main()

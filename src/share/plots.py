"""Pictures of a finished run, drawn from its folder: learning curves, and how good it is on the test part.

Drawn by matplotlib alone: scikit-learn's displays would cost each run a second of one core, for their import.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.logger import csv
from src.metric.decision import decided
from src.metric.functions import auroc_binary, average_precision_binary, r2
from src.system.errors import printable
from src.system.files import read_json, replacing
from src.system.process import silence_output

BLUE, ORANGE, GREY = "#3366aa", "#dd7722", "#999999"
DOTTED = {"color": GREY, "linestyle": ":"}
MAX_POINTS = 5000  # of a scatter
MAX_CURVES = 10  # classes that get a curve
MAX_CELLS = 12  # classes whose confusion matrix is written out
N_BINS = 10  # of the calibration


def draw(folder: str | Path) -> list[Path]:
    """Write ``plots/learning_curves.png``, of several epochs, and ``plots/test.png``; return the paths.

    A run that was pruned has the first alone.
    """
    folder = Path(folder)
    report, info = read_json(folder / "report.json"), read_json(folder / "info.json")
    history = csv.read(folder / "metrics.csv")
    title, figures = f"{report['run']}   {report['model']} on {report['dataset']}", {}
    if report["status"] != "pruned":
        with np.load(folder / "predictions.npz", allow_pickle=False) as file:
            y, p = file["test_y"], file["test_p"]
        figures["test"] = (predictions(y, p, info), f"{title}, test part ({len(y):,} rows)")
    if len(history) > 1 and "folds" not in report:
        curves = learning_curves(history, report["metric"]["name"], report["best_epoch"])
        figures["learning_curves"] = (curves, title)
    return [save(figure, folder, name, heading) for name, (figure, heading) in figures.items()]


def save(figure: Figure, folder: Path, name: str, title: str = "") -> Path:
    """Write ``plots/<name>.png`` into the folder of a run; return its path."""
    figure.suptitle(literal(title), fontsize=11)
    (folder / "plots").mkdir(exist_ok=True)
    with replacing(folder / "plots" / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return folder / "plots" / f"{name}.png"


def predictions(y: np.ndarray, p: np.ndarray, info: dict) -> Figure:
    if info["task"] == "regression":
        return regression(y, p)
    return classification(y, p, info["classes"], info.get("threshold"))


def literal(name: str) -> str:
    """Return a name as matplotlib draws it sign by sign: dollars would begin a formula."""
    return printable(name).replace("$", r"\$")


def _figure(n: int, width: float = 4.6):
    """Return a figure with ``n`` axes side by side, and the axes."""
    figure = Figure(figsize=(width * n, 4.2), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
    return figure, axes


def learning_curves(history: list[dict], metric: str, best_epoch: int | None):
    """Draw the loss on train and val, and the deciding metric on val, over epochs."""
    figure, (left, right) = _figure(2, 5.5)
    epochs = [row["epoch"] for row in history]
    curves = ((left, "train/loss", BLUE), (left, "val/loss", ORANGE), (right, f"val/{metric}", ORANGE))
    for axis, name, colour in curves:
        axis.plot(epochs, [row[name] for row in history], color=colour, label=name)
    for axis, name, title in ((left, "loss", "Loss"), (right, metric, "Deciding metric")):
        if best_epoch is not None:
            axis.axvline(best_epoch, **DOTTED, label=f"kept: epoch {best_epoch}")
        axis.set(xlabel="epoch", ylabel=name, title=title)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False)
    return figure


def classification(y: np.ndarray, p: np.ndarray, classes: list[str], threshold: float | None = None):
    """Draw confusion matrix, ROC, precision-recall and calibration of y (n,) and p (n, n_classes)."""
    figure, (left, roc, curve, right) = _figure(4)
    names = [literal(name if len(name) <= 12 else f"{name[:11]}…") for name in classes]
    confusion_matrix(left, y, decided(p, threshold).argmax(1), names)
    binary = len(classes) == 2
    shown = [1] if binary else np.unique(y)[:MAX_CURVES]
    for k in shown:
        hit, score = y == k, p[:, k]
        false_rate, recall, precision = thresholds(hit, score)
        roc.plot(false_rate, recall, label=f"{names[k]}  {auroc_binary(hit, score):.3f}")
        average = average_precision_binary(hit, score)
        curve.plot(recall, precision, drawstyle="steps-pre", label=f"{names[k]}  {average:.3f}")
    roc.plot([0, 1], [0, 1], **DOTTED)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (area under the curve)")
    if binary:
        curve.plot([0, 1], [hit.mean(), hit.mean()], **DOTTED, label="prevalence")
    curve.set(xlabel="recall", ylabel="precision", title="Precision and recall (average precision)")
    for axis in (roc, curve):
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axis.legend(frameon=False, fontsize=8)
    if binary:
        calibration(right, y == 1, p[:, 1], f"probability of {names[1]}", f"share of {names[1]}")
    else:
        calibration(right, p.argmax(1) == y, p.max(1), "probability of the predicted class", "share right")
    return figure


def confusion_matrix(axis, y: np.ndarray, predicted: np.ndarray, names: list[str]) -> None:
    """Draw counts on the colour of their share of the row, so that rare classes are seen, too."""
    n = len(names)
    counts = np.bincount(y * n + predicted, minlength=n * n).reshape(n, n)  # row: true, column: predicted
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(False)
    axis.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    if n > MAX_CELLS:
        return
    for i, j in np.ndindex(n, n):
        colour = "white" if shares[i, j] > 0.5 else "black"
        axis.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=9 if n < 6 else 7)
    axis.set_xticks(range(n), names, rotation=45 if n > 3 else 0)
    axis.set_yticks(range(n), names)


def calibration(axis, hit: np.ndarray, probability: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Draw the share of hits against the mean probability, in equal bins; dot size is the share of rows."""
    bins = np.searchsorted(np.linspace(0, 1, N_BINS + 1)[1:-1], probability)
    rows = np.bincount(bins, minlength=N_BINS)
    filled = rows > 0
    x = np.bincount(bins, probability, N_BINS)[filled] / rows[filled]
    y = np.bincount(bins, hit, N_BINS)[filled] / rows[filled]
    axis.plot([0, 1], [0, 1], **DOTTED)
    axis.plot(x, y, color=BLUE)
    axis.scatter(x, y, s=10 + 150 * rows[filled] / len(hit), color=BLUE)
    low = math.floor(10 * min(x.min(), y.min())) / 10 - 0.03
    axis.set(xlabel=xlabel, ylabel=ylabel, title="Calibration", xlim=(low, 1.03), ylim=(low, 1.03))


def regression(y: np.ndarray, p: np.ndarray):
    """Draw predicted against true values, and residuals against predicted values."""
    figure, (left, right) = _figure(2, 5.5)
    title = f"Predicted and true values (R2 {r2(y, p):.3f})"
    some = np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]
    y, p, n = y[some], p[some], len(some)
    dots = {"s": 6 + 30 / (1 + n / 100), "alpha": max(0.3, 0.9 - n / 1000), "color": BLUE, "linewidths": 0}
    left.scatter(y, p, **dots)
    ends = [min(y.min(), p.min()), max(y.max(), p.max())]
    left.plot(ends, ends, **DOTTED)
    left.set(xlabel="true", ylabel="predicted", title=title)
    right.scatter(p, y - p, **dots)
    right.axhline(0, **DOTTED)
    right.set(xlabel="predicted", ylabel="true - predicted", title="Residuals")
    return figure


def thresholds(positive: np.ndarray, score: np.ndarray):
    """Return false positive rate, recall and precision at every threshold, the strictest first: (n,) each."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(positive[order])[last]
    false = last + 1 - hits
    false_rate = np.append(0, false) / max(1, (~positive).sum())
    recall = np.append(0, hits) / max(1, positive.sum())
    return false_rate, recall, np.append(1, hits / (last + 1))


def main() -> None:
    """Draw for one run after another, each line a message with its folder, with the libraries loaded once."""
    answer = silence_output()
    for line in sys.stdin:
        _, folder = json.loads(line)
        try:
            draw(folder)
        except Exception as error:  # a picture must not stop a run
            answer(f"the pictures of {Path(folder).name} could not be drawn: {error or type(error).__name__}")
        answer(True)


if __name__ == "__main__":
    main()

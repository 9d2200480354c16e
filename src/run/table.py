"""The table of a run's metrics at its end."""

import math


def table(run) -> str:
    """Return the metrics of a `Run` or a `Recorder` at its end, each once, and what they are of."""
    report, deciding = run.report, run.report["metric"]["name"]
    columns = {part: of_part(report["metrics"], part) for part in ("val", "test")}
    train = {"train": report["train_metrics"]} if report["train_metrics"] else {}  # an ensemble has none
    columns = train | columns | {"baseline": report["baseline"]}
    lines = side_by_side(columns, deciding)
    decides = "* decides, equal values by the loss on val"
    if run.cfg["model"].get("progress") == "staged":
        decides = "* is what a sweep optimises; this estimator stops by its loss and keeps its last stage"
    elif "folds" in report:
        n = len(report["folds"])
        decides += f"; val: the mean of {n} folds; test: by the mean prediction of their {n} models"
    elif run.rows:
        decides += f"; the model is that of epoch {report['best_epoch']} of {run.rows[-1]['epoch']}"
    decides += "; refitted on train and val: val is of the first fit" if run.cfg.get("refit") else ""
    n, n_all = report["train_rows"]
    train = f"train: {n:,} of its {n_all:,} rows\n" if n < n_all else ""
    knows = "the shares of the classes" if "log_loss" in columns["test"] else "the mean of the target"
    return "\n".join([*lines, decides, f"{train}baseline: a model that knows only {knows} in train, on test"])


def side_by_side(columns: dict[str, dict], deciding: str) -> list[str]:
    """Return lines with the metrics of {"train": {"loss": 0.3, ...}, "test": ...} in columns."""
    lines = ["", " " * 22 + "".join(f"{name:>10}" for name in columns)]
    for name in shown(columns["test"], deciding):
        cells = [_cell(column, name) for column in columns.values()]
        lines.append(f"{name + ' *' if name == deciding else name:22}" + "".join(cells))
    return lines


def shown(names, deciding: str) -> list[str]:
    """Return the names of metrics, the loss and the deciding one first, without second names for one of them.

    >>> shown(["loss", "accuracy", "f1", "f1_macro", "log_loss"], "accuracy")
    ['loss', 'accuracy', 'f1']
    """
    twins = {"log_loss": "loss", "f1_binary" if "f1_binary" in names else "f1_macro": "f1"}
    hidden = {twins[name] if name == deciding else name for name in twins}
    return [name for name in dict.fromkeys(["loss", deciding, *names]) if name not in hidden]


def of_part(metrics: dict, part: str) -> dict:
    """{"val/f1": 1, "test/f1": 2} -> {"f1": 1} for val."""
    return {key.partition("/")[2]: value for key, value in metrics.items() if key.startswith(f"{part}/")}


def _cell(metrics: dict, name: str) -> str:
    if name not in metrics:
        return f"{'':>10}"
    return f"{math.nan if metrics[name] is None else metrics[name]:10.4f}"  # JSON keeps nan as null

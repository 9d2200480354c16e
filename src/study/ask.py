"""Ask recorded runs for a metric: of each epoch whose predictions on val are kept, and of the kept epoch."""

import math
from functools import cache

import pandas as pd

from src.metric.choose import choose
from src.metric.words import check_name
from src.run.folder import Run
from src.system.errors import UserError, log, one_line
from src.trainer.val_epochs import NAME, read

chosen = cache(choose)


def answer(names: list[str], metrics: list, part: str, mode: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each run and metric, and a row for each run and epoch.

    mode : of the user's own metrics, to find their best epoch

    A run that cannot answer is left out, with its reason in the log; if none can, the reason is raised.
    """
    metrics = [f"{one.__module__}.{one.__qualname__}" if callable(one) else one.strip() for one in metrics]
    modes = {metric: mode or "max" if "." in metric else None for metric in metrics}
    for metric in metrics:
        check_name(metric, modes[metric], None)
    finals, curves, reasons, n_bare = [], [], {}, 0
    for name in names:
        try:
            run = Run.open(name)
            found = {metric: chosen(metric, modes[metric], run.info["task"]) for metric in metrics}
            epochs, last = evaluated(run, found, part)
        except (UserError, RuntimeError) as error:  # RuntimeError: a user's own metric failed
            reasons.setdefault(one_line(error).removeprefix(f"{name} "), []).append(name)
            continue
        for key, metric in found.items():
            known_mode = metric["mode"] if mode or "." not in key else None
            best = best_epoch({epoch: values[key] for epoch, values in epochs.items()}, known_mode)
            row = {"run": name, "model": run.report["model"], "dataset": run.report["dataset"], "metric": key}
            row |= {"final": last.get(key), "best": best and epochs[best][key], "best_epoch": best}
            finals.append(row | {"recorded": run.report["metrics"].get(f"{part}/{metric['name']}")})
        curves += [{"run": name, "epoch": epoch, **values} for epoch, values in epochs.items()]
        n_bare += part == "val" and not epochs
    for reason, there in reasons.items():
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        log.warning("%s%s cannot answer: %s", there[0], more, reason)
    if not finals:
        raise UserError("no run can answer, see above")
    if n_bare:
        log.info("%d of %d runs kept no predictions of their epochs and have no curve", n_bare, len(names))
    kinds = {"final": float, "best": float, "best_epoch": "Int64", "recorded": float}
    return pd.DataFrame(finals).astype(kinds), pd.DataFrame(curves, columns=["run", "epoch", *metrics])


def best_epoch(curve: dict[int, float], mode: str | None) -> int | None:
    """Return the first epoch with the best value; None if there is none, or no mode."""
    values = {epoch: value for epoch, value in curve.items() if not math.isnan(value)}
    return (max if mode == "max" else min)(values, key=values.get) if values and mode else None


def evaluated(run: Run, metrics: dict, part: str) -> tuple[dict, dict]:
    """Return {epoch: {metric: value}} on val, and {metric: value} of the kept epoch, or the last so far."""
    epochs, done = {}, run.status == "done"
    if part == "val":
        for epoch, y, p in read(run.folder / NAME, run.info):
            epochs[epoch] = {key: metric["fn"](y, p) for key, metric in metrics.items()}
    kept = run.report["best_epoch"] if done else max(epochs, default=None)
    if done and kept not in epochs:
        arrays = run.arrays
        y, p = arrays[f"{part}_y"], arrays[f"{part}_p"]
        return epochs, {key: metric["fn"](y, p) for key, metric in metrics.items()}
    return epochs, epochs.get(kept, {})

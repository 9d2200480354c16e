"""Differences of two runs, and where they come from."""

import zipfile

from src.config.tree import flat
from src.run.folder import Run
from src.system.files import read_json


def compare(a: Run, b: Run) -> dict:
    """The largest absolute differences of history, predictions and weights; 0.0 is bit for bit."""
    import numpy as np

    found = {"run": b.name, "history": _history_difference(a.history, b.history), "predictions": 0.0}
    old, new = a.predictions, b.predictions
    for key in sorted(old.keys() | new.keys()):
        found["predictions"] = max(found["predictions"], _array_difference(old.get(key), new.get(key)))
    if "net" in a.cfg["model"]:
        import torch

        weights = [
            torch.load(run.folder / "model" / f"model_{run.name}.pt", weights_only=True, map_location="cpu")
            for run in (a, b)
        ]
        names = sorted(weights[0].keys() | weights[1].keys())
        pairs = ([x.get(name) for x in weights] for name in names)
        differences = [_array_difference(*(None if x is None else np.asarray(x) for x in pair)) for pair in pairs]
        found["weights"] = max(differences, default=0.0)
    found["identical"] = all(value == 0.0 for key, value in found.items() if key != "run")
    return found


def _history_difference(a: list[dict], b: list[dict]) -> float:
    if [list(row) for row in a] != [list(row) for row in b]:
        return float("inf")
    pairs = [(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x]
    return max((abs(x - y) for x, y in pairs if not (x == y or (x != x and y != y))), default=0.0)


def _array_difference(a, b) -> float:
    """inf where shapes or kinds differ."""
    import numpy as np

    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.dtype.kind in "US":
        return 0.0 if (a == b).all() else float("inf")
    if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return 0.0
    return float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)))) or float("inf")


def describe(a: Run, b: Run, found: dict) -> str:
    """One line if identical; else the differences, and what is not the same around the two runs."""
    kinds = [kind for kind in ("history", "predictions", "weights") if kind in found]
    if found["identical"]:
        return f"\n{b.name} replays {a.name}: identical ({', '.join(kinds)}, bit for bit)"
    lines = ["", f"{b.name} is not {a.name}:"]
    lines += [f"  {kind:12} {_size(found[kind])}" for kind in kinds]
    key = f"test/{a.report['metric']['name']}"
    lines.append(f"  {key:12} {a.report['metrics'].get(key)} -> {b.report['metrics'].get(key)}")
    reasons = causes(a, b)
    return "\n".join(
        [*lines, "where it may come from:", *(f"  {reason}" for reason in reasons or ["nothing that is recorded"])]
    )


def _size(difference: float) -> str:
    if difference == 0.0:
        return "identical"
    return "of another shape" if difference == float("inf") else f"differs by up to {difference:.3g}"


def causes(a: Run, b: Run) -> list[str]:
    """What differs around two runs: data, config, code, packages, threads, machine."""
    lines = []
    for key, name in (("etl_version", "ETL version"), ("data_digest", "data digest")):
        if a.report[key] != b.report[key]:
            lines.append(f"{name}: {a.report[key]} -> {b.report[key]}")
    old, new = flat(a.cfg), flat(b.cfg)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    lines += [f"config {key}: {old.get(key)} -> {new.get(key)}" for key in changed]
    lines += [f"code: {name}" for name in changed_files(a, b)]
    old, new = read_json(a.folder / "env.json"), read_json(b.folder / "env.json")
    for key in ("python", "machine", "platform"):
        if old[key] != new[key]:
            lines.append(f"{key}: {old[key]} -> {new[key]}")
    for group in ("packages", "threads"):
        for name in sorted(old[group].keys() | new[group].keys()):
            if old[group].get(name) != new[group].get(name):
                lines.append(f"{name}: {old[group].get(name)} -> {new[group].get(name)}")
    return lines


def changed_files(a: Run, b: Run) -> list[str]:
    """Files of the two code snapshots that differ."""
    old, new = (_files(run) for run in (a, b))
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _files(run: Run) -> dict[str, bytes]:
    with zipfile.ZipFile(run.folder / "code.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}

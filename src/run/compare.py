"""Compare two runs: how far their results differ, and what differs around them."""

from contextlib import suppress
from difflib import unified_diff
from pathlib import Path

import numpy as np

from src.config.tree import flat
from src.run.code import changed_files, files_of
from src.run.folder import BrokenRun, Run
from src.run.members import leaves, node_of
from src.system.errors import UserError, printable
from src.system.files import read_json
from src.trainer.family import family

INF = float("inf")
MAX_LINES = 200  # of a difference between two codes


def compare(a: Run, b: Run) -> dict:
    """Return the largest absolute differences of history, predictions and weights; 0.0 is bit for bit."""
    found = {"run": b.name, "history": _history_difference(a.rows, b.rows), "predictions": 0.0}
    old, new = a.arrays, b.arrays
    for name in sorted(old.keys() | new.keys()):
        found["predictions"] = max(found["predictions"], _array_difference(old.get(name), new.get(name)))
    pairs = zip(*(leaves(node_of(run)) for run in (a, b)), strict=False)
    weights = [family(old["model"]).difference(Path(old["file"]), Path(new["file"])) for old, new in pairs]
    if None not in weights:
        found["weights"] = max(weights)
    found["identical"] = all(value == 0.0 for kind, value in found.items() if kind != "run")
    return found


def _history_difference(a: list[dict], b: list[dict]) -> float:
    if [list(row) for row in a] != [list(row) for row in b]:
        return INF
    return _array_difference(*([list(row.values()) for row in rows] for rows in (a, b)))


def _array_difference(a, b) -> float:
    """Return inf if one is missing, or if shapes or types differ."""
    if a is None or b is None:
        return INF
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return INF
    if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return 0.0
    if a.dtype.kind in "US":
        return INF
    return float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)))) or INF


def describe(a: Run, b: Run, found: dict) -> str:
    """Return one line if ``b`` is identical to ``a``, else the differences and what may have caused them."""
    kinds = [kind for kind in ("history", "predictions", "weights") if kind in found]
    if found["identical"]:
        return f"\n{b.name} replays {a.name}: identical ({', '.join(kinds)}, bit for bit)"
    lines = ["", f"{b.name} differs from {a.name}:"]
    lines += [f"  {kind:12} {_size(found[kind])}" for kind in kinds]
    key = f"test/{a.report['metric']['name']}"
    lines.append(f"  {key:12} {a.report['metrics'].get(key)} -> {b.report['metrics'].get(key)}")
    lines.append("possible causes:")
    lines += [f"  {cause}" for cause in causes(a, b) or ["none that is recorded"]]
    return "\n".join(map(printable, lines))


def _size(difference: float) -> str:
    if difference == 0.0:
        return "identical"
    return "of another shape" if difference == INF else f"differs by up to {difference:.3g}"


def causes(a: Run, b: Run) -> list[str]:
    """Return what differs around two runs, a line each: data, config, code, packages, threads, machine."""
    lines = []
    for key, name in (("etl_version", "ETL version"), ("data_digest", "data digest")):
        if a.report.get(key) != b.report.get(key):
            lines.append(f"{name}: {a.report.get(key)} -> {b.report.get(key)}")
    for run in (a, b):
        if changed := run.report.get("changed"):
            lines.append(f"{run.name} was resumed though these had changed: {', '.join(changed)}")
        if planned := run.report.get("planned_epochs"):
            lines.append(f"{run.name} was finished early, a schedule would be that of {planned} epochs")
    lines += [f"config {change}" for change in _changes(flat(a.cfg), flat(b.cfg))]
    for changes in (_code_changes, _environment_changes):
        try:
            lines += changes(a, b)
        except BrokenRun as error:
            lines.append(repr(error))
    return lines


def _code_changes(a: Run, b: Run) -> list[str]:
    return [f"code: {name}" for name in changed_files(a, b)]


def _environment_changes(a: Run, b: Run) -> list[str]:
    known = []
    for run in (a, b):
        try:
            env = read_json(run.folder / "env.json")
            machine = {name: env[name] for name in ("python", "machine", "platform")}
            known.append((machine, dict(env["packages"]), dict(env["threads"])))
        except (UserError, KeyError, TypeError, ValueError):
            raise BrokenRun(run.name, "env.json is missing or damaged") from None
    return [line for old, new in zip(*known, strict=True) for line in _changes(old, new)]


def _changes(old: dict, new: dict) -> list[str]:
    names = sorted(old.keys() | new.keys())
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def side_by_side(a: Run, b: Run) -> str:
    """Return the metrics of both, what differs around them, and the changes of the code."""
    lines = [f"{'':28}{a.name:>12}{b.name:>12}"]
    for key in dict.fromkeys([*a.report["metrics"], *b.report["metrics"]]):
        old, new = a.report["metrics"].get(key), b.report["metrics"].get(key)
        cells = ["" if value is None else f"{value:.4f}" for value in (old, new)]
        if old == new:
            cells.append("=")
        elif old is not None and new is not None:
            cells.append(f"{new - old:+.4f}")
        lines.append(f"{key:28}" + "".join(f"{cell:>12}" for cell in cells))
    lines += ["", *(causes(a, b) or ["config, code, data and environment are the same"]), ""]
    code = []
    with suppress(BrokenRun):  # `causes` has named it
        for name in changed_files(a, b):
            old, new = (files_of(run).get(name, b"").decode(errors="replace").splitlines() for run in (a, b))
            code += unified_diff(old, new, f"{a.name}/{name}", f"{b.name}/{name}", lineterm="")
    if len(code) > MAX_LINES:
        code = [*code[:MAX_LINES], f"... {len(code) - MAX_LINES} more lines"]
    return "\n".join(printable(line, keep="\t") for line in [*lines, *code]).rstrip()

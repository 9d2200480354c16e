"""Ensembles of runs, across models: a mean, weights, Caruana's greedy selection, or a stack.

They read the runs' folders: what each predicted for val, where a cross-validation has out-of-fold predictions
of all rows that are not test, and for test, which chooses nothing. What an ensemble predicts for val is held
out, too: weights and stacks are fitted on four fifths of val, to predict the rest, before they see all of it.
"""

import math
from itertools import chain

import numpy as np
import pandas as pd

from src.config import shell
from src.config.compose import compose
from src.metric.choose import choose, loss
from src.run.folder import Run
from src.run.job import recorded
from src.run.members import combine, features, loaded, node_of, write
from src.run.record import Recorder
from src.run.results import save_arrays
from src.run.table import table
from src.run.trust import check_trust
from src.study.folds import describe_together, run_folds
from src.system.errors import UserError, log, nearest
from src.system.files import read_json

N_FOLDS = 5  # of val
BAGS, ROUNDS = 10, 25  # greedy selections, and additions of each
SAME = ("data_digest", "etl_version", "input_path", "input_digest", "metric", "baseline", "train_rows")


def config_of(names: list[str], method: str, model: str, trust: bool) -> dict:
    """Return the config of an ensemble of the runs ``names``; refuse runs that do not fit together."""
    if method not in METHODS:
        raise UserError(f"method={method} is unknown{nearest(method, METHODS)}; known: {', '.join(METHODS)}")
    runs = opened(names, trust)
    if method == "stack":
        _stack_config(model, [], True, 2)  # refuses an unknown model
    spec = {"name": "ensemble", "method": method, "stack": model, "classifier": None, "regressor": None}
    spec |= {"members": {run.name: run.cfg["model"] for run in runs}, "trust": trust}
    return {key: value for key, value in runs[0].cfg.items() if key != "cv"} | {"model": spec}


def opened(names: list[str], trust: bool) -> list[Run]:
    """Return the runs; refuse one that is not done, foreign, or of other rows or another target."""
    runs = [Run.open(name, trust) for name in names]
    if len(runs) < 2:
        raise UserError("an ensemble needs two runs or more: runs=t3,t7")
    first, known = runs[0], None
    for run in runs:
        if run.status != "done":
            raise UserError(f"{run.name} is {run.status}: only runs that are done can be combined")
        check_trust(run)
        if (run.cfg.get("cv") or {}).get("outer") is not None:
            raise UserError(f"{run.name} holds out an outer fold as test: combine runs without cv.outer")
        if any(run.info[key] != first.info[key] for key in ("target", "task", "classes")):
            raise UserError(f"{run.name} has another target than {first.name}: leave one of them out")
        if run.report["data_digest"] != first.report["data_digest"]:
            raise UserError(f"{run.name} was trained on other data than {first.name}: leave one of them out")
        arrays = run.arrays
        known = known or arrays
        for part in ("test", "val"):
            ours, theirs = ([one[f"{part}_{key}"] for key in ("id", "y")] for one in (arrays, known))
            if not all(map(np.array_equal, ours, theirs)):
                sizes = f"({len(ours[0]):,} and {len(theirs[0]):,})"
                advice = "train both with the same cv, seed and dataset.split_seed"
                raise UserError(f"{run.name} has other {part} rows than {first.name} {sizes}: {advice}")
    return runs


def train_ensemble(recorder: Recorder, threads: int, **_) -> Run:
    """Fit what combines the runs that the config names; their models are put into the new run's folder."""
    spec = recorder.cfg["model"]
    with recorded(recorder):
        log.info("%s   %s of %s", recorder.name, spec["method"], ", ".join(spec["members"]))
        with recorder.timed("data"):
            runs = opened([*spec["members"]], spec["trust"])
            each = {part: [run.arrays[f"{part}_p"] for run in runs] for part in ("val", "test")}
            metric = _metric(recorder.cfg, runs[0])
        with recorder.timed("fit"):
            how, p = METHODS[spec["method"]](recorder, runs, each, metric)
        with recorder.timed("evaluate"):
            _record(recorder, runs, how, each, metric, p)
        with recorder.timed("record"):
            if weights := how.pop("weights", None):  # those of weight 0 are left out
                runs = [run for run, weight in zip(runs, weights, strict=True) if weight]
                how = {"weights": [*filter(None, weights)]}
            write(recorder.folder, {"members": [node_of(run) for run in runs]} | how)
    return recorder.opened()


def _metric(cfg: dict, run: Run) -> dict:
    """Return the deciding metric, with "key", a function (y, p) whose value is larger for a better p."""
    info = run.info
    metric = choose(cfg["metric"], cfg["metric_mode"], info["task"])
    sign = 1 if metric["mode"] == "max" else -1

    def key(y, p) -> tuple[float, float]:
        found = (sign * metric["fn"](y, p), -loss(y, p, info))
        return tuple(-math.inf if math.isnan(value) else value for value in found)

    return metric | {"key": key, "sign": sign}


# -- methods: how members' predictions become one, {"weights"} or {"stack"}, and what that predicts by part


def mean(recorder, runs, each: dict, metric: dict) -> tuple[dict, dict]:
    return {}, {part: combine(p) for part, p in each.items()}


def _by_weights(weights_of):
    """Return a method that chooses weights on val."""

    def method(recorder, runs, each: dict, metric: dict) -> tuple[dict, dict]:
        from sklearn.model_selection import KFold

        y, val = runs[0].arrays["val_y"], np.zeros_like(each["val"][0])
        folds = KFold(min(N_FOLDS, len(y)), shuffle=True, random_state=recorder.cfg["seed"])
        for others, held in folds.split(y):
            weights = weights_of([p[others] for p in each["val"]], y[others], metric["key"])
            val[held] = combine([p[held] for p in each["val"]], weights)
        weights = weights_of(each["val"], y, metric["key"])
        return {"weights": weights}, {"val": val, "test": combine(each["test"], weights)}

    return method


def weighted(each: list, y, key) -> list[float]:
    """Return the weights, at least 0 and 1 in sum, that have the least loss."""
    from scipy.optimize import minimize

    equal = np.full(len(each), 1 / len(each))
    scale = -key(y, combine(each, equal))[1] or 1.0  # the solver stops by absolute differences
    found = minimize(
        lambda weights: -key(y, combine(each, weights))[1] / scale, equal, bounds=[(0, 1)] * len(each),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )  # fmt: skip
    weights = np.where(found.x > 1e-4, found.x, 0)
    return (weights / weights.sum()).tolist()


def greedy(each: list, y, key) -> list[float]:
    """Return the mean weights of `BAGS` greedy selections, each on a half of the rows (Caruana et al. 2004).

    One selection on all rows takes the member that was lucky there: alone, where accuracy decides.
    """
    rng = np.random.default_rng(0)
    halves = [rng.permutation(len(y))[: math.ceil(len(y) / 2)] for _ in range(BAGS)]
    return np.mean([_selected([p[half] for p in each], y[half], key) for half in halves], 0).tolist()


def _selected(each: list, y, key) -> np.ndarray:
    """Return the shares of members that are added one by one, also again, at their best."""
    counts, total, best = np.zeros(len(each)), 0.0, None
    for n in range(1, ROUNDS + 1):
        keys = [key(y, (total + p) / n) for p in each]
        i = max(range(len(each)), key=keys.__getitem__)
        counts[i] += 1
        total = total + each[i]
        if best is None or keys[i] > best[0]:
            best = keys[i], counts / n
    return best[1]


def stack(recorder: Recorder, runs: list[Run], each: dict, metric: dict) -> tuple[dict, dict]:
    """Train a model on the members' predictions for val, with folds: a run of its own."""
    cfg, arrays, name = recorder.cfg, runs[0].arrays, recorder.cfg["model"]["stack"]
    rows = [features(each[part]).assign(part=word) for part, word in (("val", "train"), ("test", "test"))]
    frame = pd.concat(rows, ignore_index=True)
    columns, classes = [*frame.columns[:-1]], runs[0].info["task"] != "regression"
    frame["y"] = np.concatenate([arrays["val_y"], arrays["test_y"]])
    fewest = np.bincount(arrays["val_y"]).min() if classes else N_FOLDS
    own = _stack_config(name, columns, classes, int(np.clip(fewest, 2, N_FOLDS)))
    own |= {key: cfg[key] for key in ("seed", "threads", "metric", "metric_mode", "logger", "tags")}
    with shell.of_job(recorder.name):
        run = run_folds(own, frame=frame, report={"overrides": [f"model={name}"], "stack_of": recorder.name})
    return {"stack": node_of(run)}, {part: run.arrays[f"{part}_p"] for part in each}


def _stack_config(model: str, columns: list[str], classes: bool, n_folds: int) -> dict:
    """Return the config of a model that is trained on ``columns`` of predictions."""
    task, cv = ("classification", "stratified") if classes else ("regression", "kfold")
    data = ["target=y", "split=part", f"numeric=[{','.join(columns)}]", f"task={task}"]
    words = [f"model={model}", "dataset=frame", *(f"dataset.{word}" for word in data), f"cv={cv}"]
    return compose([*words, f"cv.n_folds={n_folds}", "pictures=false"])


METHODS = {"mean": mean, "weighted": _by_weights(weighted), "greedy": _by_weights(greedy), "stack": stack}


# -- the record


def _record(recorder: Recorder, runs: list[Run], how: dict, each: dict, metric: dict, p: dict) -> None:
    """Record the metrics, what each member brought, and what new rows need; show both."""
    first, key, name = runs[0], metric["key"], metric["name"]
    arrays = first.arrays | {f"{part}_p": p[part] for part in p}
    save_arrays(recorder.folder / "predictions.npz", arrays)
    info, metrics = describe_together(recorder, first.info, arrays)
    y = {part: arrays[f"{part}_y"] for part in p}
    own = {part: [key(y[part], one) for one in each[part]] for part in p}
    members = pd.DataFrame([{"run": run.name, "model": run.report["model"]} for run in runs])
    for part in ("val", "test"):
        members[f"{part}/{name}"] = [metric["sign"] * values[0] for values in own[part]]
    if "stack" not in how:
        members["weight"] = how.get("weights", 1 / len(runs))
    members["brought"] = _brought(how, each["val"], y["val"], key)
    recorder.report |= {key: first.report.get(key) for key in SAME}
    recorder.report |= {"metrics": metrics, "members": members.to_dict("records"), "train_metrics": {}}
    roles, transforms = [run.info["columns"] for run in runs], read_json(first.folder / "transforms.json")
    columns = {role: [*dict.fromkeys(chain(*(one.get(role, ()) for one in roles)))] for role in roles[0]}
    recorder.write("info.json", info | {"columns": columns})
    recorder.write("transforms.json", transforms | {"roles": columns})
    text = members.to_string(index=False, float_format="{:.4f}".format)
    note = f"brought: how much better {name} on val is than with the mean of the others in its place"
    log.info("\n%s\n%s\n%s", text, note, table(recorder))
    best = max(range(len(runs)), key=own["val"].__getitem__)
    if key(y["val"], p["val"]) > own["val"][best] and key(y["test"], p["test"]) <= own["test"][best]:
        reason = f"what it gains over {runs[best].name} on val is no gain on test"
        log.warning("%s: it may have overfitted val, compare with method=mean", reason)


def _brought(how: dict, each: list, y, key) -> list[float]:
    """Return how much better val is with each member than with the mean of the others in its place."""
    stacked = loaded(how["stack"]) if "stack" in how else None
    predict = lambda p: key(y, combine(p, how.get("weights"), stacked))[0]  # noqa: E731
    others = [combine(each[:i] + each[i + 1 :]) for i in range(len(each))]
    return [predict(each) - predict([*each[:i], p, *each[i + 1 :]]) for i, p in enumerate(others)]

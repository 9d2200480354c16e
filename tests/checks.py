"""The contract of every model as plain ``check_*`` functions, and the kinds of tiny data they run on.

A check's arguments tell what it gets: ``case`` is a fitted (model, kind); a check with ``net`` is for torch
models, one with ``padded`` for data with text; ``fresh`` is what a new process predicts.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import tiny_table, tiny_text

from src.data.prepare import Data
from src.metric.choose import choose, names
from src.metric.functions import rmse
from src.model.build import build
from src.model.estimator import Estimator
from src.model.words import ARRAYS
from src.run.folder import Run, model_path
from src.trainer.family import family
from src.trainer.history import Progress
from src.trainer.loader import mask

# -- tiny data


def table(task: str) -> pd.DataFrame:
    """Return `tiny_table` with twenty colours that occur once each: some of them only outside of training."""
    frame = tiny_table(task)
    rare = frame.index[::12]
    frame.loc[rare, "colour"] = [f"rare {i}" for i in rare]
    return frame


def sequences(letters: str, n_favoured: int, n: int = 200) -> pd.DataFrame:
    """Return strings of 6 to 30 letters, the letter that each favours, and its share."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(n):
        favoured, share = rng.integers(n_favoured), rng.uniform(0.1, 0.9)
        odds = np.full(len(letters), (1 - share) / len(letters))
        odds[favoured] += share
        text = "".join(rng.choice(list(letters), rng.integers(6, 31), p=odds))
        share = text.count(letters[favoured]) / len(text)
        rows.append({"sequence": text, "favoured": favoured, "share": share})
    return pd.DataFrame(rows)


def dna() -> pd.DataFrame:
    frame = sequences("ACGT", 3)
    return frame[["sequence"]].assign(y=frame["favoured"].map({0: "poly-A", 1: "C rich", 2: "G rich"}))


def protein() -> pd.DataFrame:
    frame = sequences("ACDEFGHIKLMNPQRSTVWY", 1)
    return frame[["sequence"]].assign(y=50 + 40 * frame["share"])  # a melting point, in degrees


OF_LETTERS = {"target": "y", "text": ["sequence"]}
# kind -> (function that makes its frame, options of the dataset section)
KINDS = {
    "binary": (lambda: table("binary"), {"target": "y"}),
    "multiclass": (lambda: table("multiclass"), {"target": "y"}),
    "regression": (lambda: table("regression"), {"target": "y"}),
    "text": (tiny_text, {"target": "label", "text": ["sentence"]}),
    "dna": (dna, OF_LETTERS),
    "protein": (protein, OF_LETTERS),
}
WITH_TEXT = ("text", "dna", "protein")


def strange(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows unlike those of training: empty cells, unseen categories and tokens, long texts."""
    frame = frame.head(4).copy()
    for name in frame:
        if frame[name].dtype.kind in "if":
            frame[name] = [np.nan, np.inf, -1e6, 1e6]
        else:
            frame[name] = [None, "never seen", "ÿ \u4e2d", "".join(frame[name].dropna()) * 50]
    return frame


# -- what is checked


@dataclass
class Case:
    """One model fitted twice on one kind of data: as a run, and again from arrays without their test part.

    frame, as_passed : the run's table, and a copy from before the run
    data, arrays : the second fit's data, and a copy of its parts from before the fit
    again, rows : the second fit's model and history
    """

    run: Run
    frame: pd.DataFrame
    as_passed: pd.DataFrame
    data: Data
    arrays: dict
    again: object
    rows: list[dict]


def fit_again(cfg: dict, data: Data, folder: Path) -> tuple[object, list[dict]]:
    """Return the model and the history that ``cfg`` makes of ``data`` without its test part."""
    rows, model, metric = [], cfg["model"], choose(None, None, data.info["task"])
    without_test = Data({name: data.parts[name] for name in ("train", "val")}, data.info, data.transforms)
    fitted, _ = family(model).fit(
        model, without_test, metric, seed=cfg["seed"], trainer=cfg["trainer"], folder=folder, resume=False,
        log_row=rows.append, progress=Progress(metric, 0), n_threads=1,
    )  # fmt: skip
    return fitted, rows


def untrained(model: dict, info: dict):
    return build(model["net"], info) if "net" in model else Estimator(model, info, 0)


def predict(case, part: dict, fitted=None) -> np.ndarray:
    """Return the second fit's predictions for a part, or those of another model of the same kind."""
    return family(case.run.cfg["model"]).predict(fitted or case.again, part, case.data.info)


def load_model(run: Run):
    """Return the model of a run as its file holds it."""
    model = run.cfg["model"]
    return family(model).load(model_path(run.folder, model), model, run.info)


def part_of(info: dict, n: int) -> dict:
    """Return ``n`` made-up rows that fit ``info``."""
    rng = np.random.default_rng(0)
    part = {"y": np.arange(n) % info["n_outputs"] if info["classes"] else rng.normal(size=n)}
    if info["n_num_features"]:
        part["x_num"] = rng.normal(size=(n, info["n_num_features"])).astype(np.float32)
    if info["cat_cardinalities"]:
        part["x_cat"] = np.stack([rng.integers(0, k, n) for k in info["cat_cardinalities"]], 1)
    if info["vocab_size"]:
        longest = info["max_len"]
        part["lengths"] = rng.integers(1, longest + 1, n, np.int32)
        smallest = np.min_scalar_type(-info["vocab_size"])
        part["input_ids"] = rng.integers(1, info["vocab_size"], (n, longest), smallest)
        part["input_ids"] *= np.arange(longest) < part["lengths"][:, None]
    return part


def logits(net, part: dict) -> torch.Tensor:
    batch = {name: torch.from_numpy(part[name]) for name in ARRAYS if name in part}
    if "lengths" in batch:
        mask(batch, batch["input_ids"].shape[1])
    return net(**batch)


def outputs(model, part: dict) -> np.ndarray:
    """Return the model's own output for a part with its padding."""
    if isinstance(model, torch.nn.Module):
        return logits(model, part).detach().numpy()
    return model.predict(model.matrix(part))


def take(part: dict, rows) -> dict:
    return {name: array[rows] for name, array in part.items()}


def close(p: np.ndarray, q: np.ndarray, info: dict) -> bool:
    return np.allclose(p, q, rtol=0, atol=1e-5 * info["y_std"])


# -- the checks


def check_it_is_built_from_info_alone(case):
    info = json.loads(json.dumps(case.data.info))
    model, part = untrained(case.run.cfg["model"], info), part_of(info, 60)
    if isinstance(model, Estimator):
        model.model.fit(model.matrix(part, learn=True), model.target(part))
    p = predict(case, part, model)
    assert p.shape == ((60, len(info["classes"])) if info["classes"] else (60,)) and np.isfinite(p).all()


def check_logits_are_finite_also_for_one_row(case, net):
    info = case.data.info
    for n in (1, 50):
        for training in (True, False):
            out = logits(net.train(training), part_of(info, n))
            assert out.shape == (n, info["n_outputs"]) and out.isfinite().all()


def check_gradients_reach_every_parameter(case, net):
    logits(net.eval(), part_of(case.data.info, 200)).square().sum().backward()
    weights = net.named_parameters()
    unreached = [name for name, weight in weights if weight.grad is None or not weight.grad.any()]
    assert not unreached


def check_parts_share_no_row(case):
    ids = [*case.data.parts["train"]["id"], *case.run.arrays["val_id"], *case.run.arrays["test_id"]]
    assert sorted(ids) == list(range(len(case.frame)))


def check_a_prediction_depends_on_its_row_alone(case):
    part, info = case.data.parts["test"], case.data.info
    p = predict(case, part)
    for rows in (np.random.default_rng(0).permutation(len(p)), np.arange(1, len(p), 3), [2]):
        assert close(predict(case, take(part, rows)), p[rows], info)


def check_padding_changes_nothing(case, padded):
    part = case.data.parts["test"]
    assert padded["input_ids"].shape[1] > part["input_ids"].shape[1]
    assert np.allclose(
        outputs(case.again, padded), outputs(case.again, part), rtol=0, atol=1e-5 * case.data.info["y_std"]
    )


def check_it_beats_the_dummy(case):
    """The error on val is at most three quarters of that of the majority class, or of the mean."""
    train, val, info = case.data.parts["train"]["y"], case.data.parts["val"]["y"], case.data.info
    p = case.run.arrays["val_p"]
    if info["task"] == "regression":
        mine, dummy = rmse(val, p), rmse(val, np.full(len(val), train.mean()))
    else:
        mine, dummy = np.mean(p.argmax(1) != val), np.mean(np.bincount(train).argmax() != val)
    assert mine <= 0.75 * dummy


def check_history_has_the_columns_of_the_task(case):
    task = case.data.info["task"]
    logged = names(task, choose(None, None, task))
    columns = ["epoch", "train/loss", "val/loss", *(f"val/{name}" for name in logged)]
    assert [list(row) for row in case.run.rows] == [columns] * len(case.run.rows) != []
    assert all(type(row["epoch"]) is int for row in case.rows)
    assert all(np.isfinite([row["train/loss"], row["val/loss"]]).all() for row in case.rows)
    epochs = [row["epoch"] for row in case.run.rows]
    assert epochs[0] >= 1 and all(a < b for a, b in pairwise(epochs))


def check_the_same_seed_gives_the_same_bits(case):
    for part in ("val", "test"):
        p = predict(case, case.data.parts[part])
        assert np.array_equal(p, case.run.arrays[f"{part}_p"])
    assert repr(case.rows) == repr(case.run.rows)


def check_another_seed_differs(case, tmp_path):
    """One epoch is enough; on val alone, as the training rows' order depends on the seed anyway."""
    cfg = case.run.cfg
    other = cfg | {"seed": cfg["seed"] + 1, "trainer": cfg["trainer"] | {"max_epochs": 1}}
    _, rows = fit_again(other, case.data, tmp_path)
    assert [row["val/loss"] for row in rows] != [row["val/loss"] for row in case.rows[: len(rows)]]


def check_inputs_are_left_as_they_were(case):
    predict(case, case.data.parts["test"])
    pd.testing.assert_frame_equal(case.frame, case.as_passed)
    for name, part in case.arrays.items():
        assert list(part) == list(case.data.parts[name])
        for key, array in part.items():
            assert np.array_equal(array, case.data.parts[name][key]), (name, key)


def check_a_fresh_process_predicts_the_same(case, fresh):
    assert np.array_equal(fresh, case.run.arrays["test_p"])


def check_strange_rows_have_finite_predictions(case):
    rows = strange(case.frame)
    classes = case.data.info["classes"]
    p = case.run.predict_proba(rows) if classes else case.run.predict(rows)["prediction"]
    assert len(p) == len(rows) and np.isfinite(p).all()
    assert not classes or (np.allclose(p.sum(1), 1) and p.min() >= 0)


def check_the_record_is_complete_and_done_is_last(case):
    run, info = case.run, case.data.info
    written = "config.yaml config.json env.json code.zip metrics.csv predictions.npz report.json info.json"
    files = [run.folder / name for name in (*written.split(), "transforms.json", "log.txt")]
    files.append(model_path(run.folder, run.cfg["model"]))
    assert [path.name for path in files if not path.is_file() or not path.stat().st_size] == []
    assert len(list((run.folder / "model").iterdir())) == 1
    assert run.status == "done" and "error" not in run.report
    done = (run.folder / "DONE").stat().st_mtime_ns
    late = [path.name for path in run.folder.rglob("*") if path.stat().st_mtime_ns > done]
    assert set(late) <= {".lock"}, "the run's lock is given back after all else"
    scores = ["loss", *names(info["task"], choose(None, None, info["task"]))]
    assert list(run.report["metrics"]) == [
        "train/loss",
        *(f"{part}/{name}" for part in ("val", "test") for name in scores),
    ]
    assert run.report["best_epoch"] in [row["epoch"] for row in run.rows]


def check_the_stored_config_rebuilds_the_model(case):
    run = Run.open(case.run.name)
    stored = load_model(run)
    again = untrained(run.cfg["model"], run.info)
    if isinstance(again, torch.nn.Module):
        again.load_state_dict(stored.state_dict(), strict=True)
        assert all(torch.equal(again.state_dict()[name], x) for name, x in case.again.state_dict().items())
    else:
        assert type(again.model) is type(stored.model)
        # as text: nan is equal to nan; xgboost's fit sets the objective
        mine, theirs = (repr(one.model.get_params() | {"objective": None}) for one in (again, stored))
        assert mine == theirs


CHECKS = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}

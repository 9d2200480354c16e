"""Your own code: nets, estimators and metrics as keyword arguments of ``fit``, from a cell or a module."""

import linecache
import math
import os
import re
import shutil
import signal
import sys
import textwrap
import time
import zipfile
from functools import cache
from itertools import count, product

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUIET, tiny_table, tiny_text
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from src import fit, load, replay_train, resume_train, run_etl
from src.config.check import check
from src.config.compose import compose
from src.config.keywords import overrides_of
from src.config.own import expand
from src.config.tree import parse, written
from src.run.own import with_notebook
from src.system import notebook
from src.system.errors import UserError, sentence
from src.system.process import uninterrupted
from src.trainer.loader import POOL, BatchOrder

FAST = (*QUIET, "trainer.max_epochs=2", "threads=1")


class Gated(nn.Module):
    def __init__(self, info: dict, depth: int = 2, width: int = 4, gain: float = 1.0, name=None):
        super().__init__()
        layers = [nn.Linear(info["n_num_features"], width)]
        layers += [nn.Linear(width, width) for _ in range(depth - 1)]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width, info["n_outputs"])

    def forward(self, x_num):
        return self.head(self.body(x_num))


class Normed(Gated):
    def __init__(self, info: dict):
        super().__init__(info)
        self.norm = nn.BatchNorm1d(info["n_num_features"])

    def forward(self, x_num):
        return self.head(self.body(self.norm(x_num)))


class Words(nn.Module):
    def __init__(self, info: dict):
        super().__init__()
        self.table, self.norm = nn.Embedding(info["vocab_size"], 4), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, info["n_outputs"])

    def forward(self, input_ids, attention_mask):
        return self.head(self.norm((self.table(input_ids) * attention_mask[..., None]).mean(1)))


class Sighted(Words):
    def forward(self, input_ids):
        return super().forward(input_ids, input_ids > 0)


class Open(Gated):
    def forward(self, x_num, **others):
        assert others
        return self.head(self.body(x_num))


class Needy(Gated):
    def forward(self, x_num, x_cat):
        return self.head(self.body(x_num))


class Broken(Gated):
    def forward(self, x_num):
        return self.body(x_num[:, :1])


class Unready(Gated):
    def __init__(self, info: dict):
        super().__init__(info)
        self.gate = undefined  # noqa: F821


class Picky(Gated):
    def __init__(self, info: dict):
        raise ValueError("not with me")


def small_net(info, width=3):
    return Gated(info, 1, width)


def scaled(C=1.0):
    return Pipeline([("scale", StandardScaler()), ("model", SVC(C=C, probability=False))])


def failing_estimator():
    return None + 1


def hits(y, p):
    return float((p.argmax(1) == y).mean())


def dividing(y, p):
    return share(y) / 0


def share(y):
    return len(y)


def of_one(y):
    return 0.0


def wordy(y, p):
    return "good"


class Odd:
    """Neither a net nor an estimator."""


# -- keyword arguments


TEXTS = [
    "price", "price (EUR)", "größe", "a'b", "a\\", "a\\'b", "a''", "null", "1.5", "1e3", "", " ", "2020_01",
    "a=b.csv", "D[cm/g]", "<=50K", "true", "inf", "a,b", "a:b", "{a}", "x.y", "#1", '"quoted"',
    "a\tb", "日本", "~x", "@", "$5",
]  # fmt: skip


def shown(value) -> str:
    """Return a parameter as a test's name, without an address: two processes collect the same names."""
    return re.sub(r" at 0x\w+", "", str(value))



@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_read_back(text):
    for value in (text, [text, text]):
        assert parse(f"dataset.target={written(value, 'dataset.target')}").value() == value


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1e-3, 1e-3), (3, 3), (True, True), (None, None), (np.float64(0.5), 0.5), (np.int32(7), 7),
        (np.bool_(False), False), ([1, 2.5, "a b"], [1, 2.5, "a b"]), (("a",), ["a"]),
        ({"yes": 2.0}, {"yes": 2.0}), ([], []), (torch.tensor(2), 2), (10**20, 10**20),
        (Gated, "test_own.Gated"), (hits, "test_own.hits"),
    ],
)  # fmt: skip
def test_any_plain_value_is_read_back(value, read):
    found = parse(f"key={written(value, 'key')}").value()
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        ({"model": "mlp", "dataset": "wine"}, ["model=mlp", "dataset=wine"]),
        ({"target": "y", "lr": 1e-3}, ["dataset.target=y", "model.lr=0.001"]),
        ({"model.lr": 1, "seed": 3}, ["model.lr=1", "seed=3"]),
        ({"max_epochs": 3, "model": "mlp"}, ["model=mlp", "trainer.max_epochs=3"]),
        ({"model": "linear", "C": 2}, ["model=linear", "model.classifier.C=2"]),
        ({"model": "linear", "alpha": 2}, ["model=linear", "model.regressor.alpha=2"]),
        ({"model": "hist_gb", "max_iter": 9}, ["model=hist_gb", "model.arguments.max_iter=9"]),
        ({"d_hidden": 8}, ["model.net.d_hidden=8"]),
        ({"model": Gated, "depth": 3}, ["model=test_own.Gated", "model.net.depth=3"]),
        ({"model": small_net, "width": 3}, ["model=test_own.small_net", "model.net.width=3"]),
        ({"optimizer": torch.optim.SGD}, ["model.optimizer.class=torch.optim.sgd.SGD"]),
        ({"metric": hits, "metric_mode": "max"}, ["metric=test_own.hits", "metric_mode=max"]),
        (
            {"model": SVC(C=3, kernel="linear", gamma="scale")},
            ["model=sklearn.svm._classes.SVC", "model.classifier.C=3", "model.classifier.kernel=linear"],
        ),
        (
            {"model": ExtraTreesClassifier, "n_estimators": 5},
            ["model=sklearn.ensemble._forest.ExtraTreesClassifier", "model.classifier.n_estimators=5"],
        ),
        ({"model": Ridge(), "tol": 5}, ["model=sklearn.linear_model._ridge.Ridge", "model.regressor.tol=5"]),
    ],
)  # fmt: skip
def test_keywords_are_overrides(words, overrides):
    assert overrides_of(words, []) == overrides


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"model": Gated, "dept": 3}, "test_own.Gated takes no dept: did you mean depth?"),
        ({"model": Gated, "depth": "deep"}, "model.net.depth=deep: should be a number or null"),
        ({"model": Gated, "gain": True}, "model.net.gain=true: should be a number or null"),
        ({"model": Gated, "model.net.d_hidden": 3}, "test_own.Gated takes no d_hidden"),
        ({"model": Gated, "model.classifier.C": 3}, "has no model.classifier"),
        ({"model": Gated, "nonsense": 3}, "nonsense is unknown"),
        ({"model": "mpl", "target": "y"}, "model=mpl is unknown: did you mean mlp?"),
        ({"model": "linear", "lr": 3}, "model.lr is unknown: model=linear has no lr, model=mlp has"),
        ({"epochs": 3}, "epochs is unknown: did you mean trainer.max_epochs?"),
        ({"name": "x"}, "name= may mean dataset.name or model.name"),
        ({"model": lambda info: None}, "define <lambda> with def or class, outside of any"),
        ({"model": nn.Linear(2, 2)}, "model is a Linear: it should be a plain value, a class or"),
        ({"model": Odd}, "test_own.Odd is neither a torch.nn.Module nor has it fit and predict"),
        ({"model": StandardScaler}, "is neither a torch.nn.Module nor has it fit and predict"),
        ({"model": scaled()}, "model=Pipeline(...) holds more than plain values: write a function"),
        ({"dataset": pd.DataFrame({"a": [1]})}, "a table: data=df"),
        ({"model": "mlp", "metric": hits}, "add metric_mode=max or metric_mode=min"),
        ({"model": "no_such.Net"}, "no_such.Net cannot be imported: No module named 'no_such'"),
        ({"model": "_torch"}, "model=_torch is unknown; there are: bilstm"),
        ({"seed": [0, 1]}, "seed=[0,1]: should be a whole number"),
    ],
    ids=shown,
)  # fmt: skip
def test_wrong_keywords_are_one_sentence(words, says):
    with pytest.raises(UserError) as caught:
        compose(overrides_of(words, []))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_within_a_function_is_refused():
    class Inner(Gated):
        pass

    with pytest.raises(UserError, match="define Inner with def or class, outside of any function"):
        overrides_of({"model": Inner}, [])


def test_a_lightning_module_is_no_net(outputs):
    from src.model.lit import LitModel

    with pytest.raises(UserError, match=r"LitModel is a LightningModule: name the nn\.Module that it trains"):
        compose(overrides_of({"model": LitModel}, []))


def test_two_datasets_are_refused():
    with pytest.raises(UserError, match="dataset=wine and data= are two datasets"):
        fit(dataset="wine", data=tiny_table("binary"), target="y")
    with pytest.raises(UserError, match="dataset=wine and data= are two datasets"):
        fit("dataset=wine", data="my.csv", target="y")


def test_a_path_is_data(outputs):
    path = outputs / "a table (1).csv"
    tiny_table("binary").to_csv(path, index=False)
    run = fit("model=linear", *QUIET, data=path, target="y", ignore="colour")
    assert run.cfg["dataset"]["path"] == str(path) and run.cfg["dataset"]["ignore"] == ["colour"]


# -- classes


NET = "model.net.class=test_own.Gated"
SVC_FOREST = ("model=random_forest", "model.classifier.class=sklearn.svm.SVC")


@pytest.mark.parametrize(
    ("overrides", "net"),
    [
        (["model=mlp", NET], {}),
        (["model=mlp", NET, "model.net.depth=3"], {"depth": 3}),
        (["model=transformer", "model.net.width=5", NET], {"width": 5}),
        (["model=mlp", "model.net={class: test_own.Gated, depth: 3}"], {"depth": 3}),
        (["model=test_own.Gated", "+model.net.depth=1"], {"depth": 1}),
        (["model.net.depth=1", "model=test_own.Gated"], {"depth": 1}),
        (["model=mlp", "dataset=adult", NET], {}),  # a tuned pair sets d_hidden
    ],
    ids=shown,
)
def test_a_class_takes_its_own_arguments_and_names_the_model(overrides, net):
    model = compose(overrides)["model"]
    assert model["net"] == {"class": "test_own.Gated", **net} and model["name"] == "Gated"


def test_the_yamls_own_class_keeps_its_arguments():
    plain, named = compose(["model=mlp"]), compose(["model=mlp", "model.net.class=src.model.mlp.MLP"])
    assert plain == named and plain["model"]["name"] == "mlp" and plain["model"]["net"]["d_hidden"] == 256


def test_a_subclass_with_any_arguments_gets_the_yamls():
    words = ["model=mlp", "model.net.class=src.model.mlp.MLP", "model.net.d_hidden=8"]
    assert compose(words)["model"]["net"]["d_hidden"] == 8


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model=mlp", NET, "model.net.d_hidden=8"], "test_own.Gated takes no d_hidden"),
        (["model=mlp", NET, "model.net.dept=8"], "takes no dept: did you mean depth?"),
        (["model=mlp", NET, "model.net.depth=x"], "model.net.depth=x: should be a number or null"),
        (["model=mlp", NET, "model.net.info={}"], "Reprise sets info itself"),
        ([*SVC_FOREST, "model.classifier.n_estimators=3"], "sklearn.svm.SVC takes no n_estimators"),
        ([*SVC_FOREST, "model.arguments.n_estimators=3"], "sklearn.svm.SVC takes no n_estimators"),
        (["model.optimizer.class=torch.optim.SGD", "model.optimizer.betas=1"], "SGD takes no betas"),
        (["model.optimizer.momentum=0.9"], "write +model.optimizer.momentum=0.9"),
        (["model=test_own.Gated,mlp"], "a sweep takes names of conf/model/"),
        (["model=test_own.Gone"], "test_own.Gone cannot be imported"),
        (["model=test_own.TEXTS"], "model=test_own.TEXTS is a list: it should be a class, or a function"),
    ],
    ids=shown,
)  # fmt: skip
def test_wrong_arguments_of_a_class_are_one_sentence(overrides, says):
    with pytest.raises(UserError) as caught:
        compose(overrides)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_classes_of_a_sweep_are_checked():
    assert check(["model=mlp", "model.net.class=test_own.Gated,test_own.Normed"], True)[0] == 2


def test_an_estimators_class_takes_its_own_arguments():
    model = compose([*SVC_FOREST, "+model.classifier.C=3"])["model"]
    assert model["classifier"] == {"class": "sklearn.svm.SVC", "C": 3} and model["arguments"] == {}
    assert model["regressor"]["n_estimators"] == 300 and model["name"] == "random_forest"
    svc = compose(["model=sklearn.svm.SVC"])["model"]
    assert (svc["name"], svc["classifier"], svc["regressor"]) == ("SVC", {"class": "sklearn.svm.SVC"}, None)


def test_expanding_twice_changes_nothing():
    once = expand(["model=test_own.Gated", "model.net.depth=3", "model=${oc.env:M}"])
    assert expand(once) == once and once[:2] == ["model=_torch", "++model.net.class=test_own.Gated"]


def test_the_shell_takes_a_class(shell):
    """Also where it only shows the config."""
    words = ("model=sklearn.svm.SVC", "dataset=wine", "model.classifier.C=3")
    assert "class: sklearn.svm.SVC" in shell("train", *words, "--cfg", "job").stdout
    done = shell("train", *words, *QUIET)
    assert re.match(r"t\d+   SVC on wine\n", done.stdout) and done.returncode == 0, done.stderr


def test_a_preset_finds_the_section_of_a_class():
    assert compose(["model=test_own.Gated", "debug=fast"])["model"]["name"] == "Gated"
    assert compose(["model=sklearn.svm.SVC", "debug=fast"])["model"]["name"] == "SVC"
    assert expand(["model=mlp", "model=${oc.env:M}"]) == ["model=mlp", "model=${oc.env:M}"]


def test_a_class_of_a_module_trains_replays_and_predicts(outputs):
    frame = tiny_table("binary").drop(columns="colour")
    run = fit(*FAST, model=Gated, data=frame, target="y", depth=3, metric="auroc", lr=1e-2)
    assert run.report["model"] == "Gated" and run.cfg["model"]["lr"] == 1e-2
    assert repr(run).startswith(f"{run.name}: Gated on frame, done, val/auroc 0.")
    assert np.array_equal(load(run.name).predict_proba(frame.loc[run.arrays["val_id"]]), run.arrays["val_p"])
    assert "test_own.py" in " ".join(names_in(run, "code.zip"))


def names_in(run, archive: str) -> list[str]:
    with zipfile.ZipFile(run.folder / archive) as file:
        return file.namelist()


@pytest.mark.parametrize("model", [scaled, SVC(C=2), ExtraTreesClassifier])
def test_an_estimator_trains_from_its_class_a_function_or_as_it_is(outputs, model):
    run = fit(*FAST, model=model, dataset="wine")
    assert run.status == "done" and run.report["metrics"]["test/accuracy"] > 0.9


def test_an_estimator_of_one_kind_refuses_the_other(outputs):
    with pytest.raises(UserError, match="model=Ridge has no classifier: target is a multiclass target"):
        fit(*FAST, model=Ridge, dataset="wine")


@pytest.mark.parametrize("progress", ["staged", "grow", "partial_fit"])
def test_a_progress_that_an_estimator_does_not_have_is_one_sentence(outputs, progress):
    with pytest.raises(UserError, match=f"SVC has no .*: use model.progress=once instead of {progress}"):
        fit(*FAST, model=SVC, dataset="wine", progress=progress)


def test_progress_defaults_to_once_and_names_its_values():
    assert compose(["model=sklearn.svm.SVC"])["model"]["progress"] == "once"
    with pytest.raises(UserError, match="should be once, staged, grow, partial_fit"):
        compose(["model=sklearn.svm.SVC", "model.progress=always"])


# -- code of a notebook


numbers = count()


@pytest.fixture
def cell():
    """Run text as IPython runs a cell: in ``__main__``, known to linecache alone; returns what it defined."""
    main = sys.modules["__main__"]
    before = dict(vars(main))

    def run(text: str):
        name, text = f"<ipython-input-{next(numbers)}-abc>", textwrap.dedent(text)
        linecache.cache[name] = len(text), None, text.splitlines(True), name
        exec(compile(text, name, "exec"), vars(main))
        return main

    yield run
    vars(main).clear()
    vars(main).update(before)


@pytest.fixture
def forgotten(monkeypatch):
    """``forgotten()`` makes this process as fresh as another: it does not know the modules of a notebook."""

    def forget():
        monkeypatch.setattr(notebook, "folder", cache(notebook.folder.__wrapped__))
        monkeypatch.setattr(sys, "path", [path for path in sys.path if "reprise-" not in path])
        for name in [name for name in sys.modules if notebook.NAME.fullmatch(name)]:
            del sys.modules[name]

    yield forget
    forget()  # what was loaded from a folder that goes


CELLS = """
import torch
import numpy as np
from torch import nn
from src.model.embed import Embed
WIDTHS = (4, 3)
LIMIT = 0.5
"""
NET_CELL = """
def gate(x):
    return x.sigmoid() * LIMIT
class Base(nn.Module):
    pass
class Cell(Base):
    def __init__(self, info, depth: int = 1):
        super().__init__()
        self.embed, self.head = Embed(info, WIDTHS[0]), nn.Linear(WIDTHS[0], info["n_outputs"])
    def forward(self, **inputs):
        tokens, mask = self.embed(**inputs)
        return self.head(gate(tokens).mean(1))
def closeness(y, p):
    return float(1 - np.abs(y - p).mean())
"""


def test_code_of_a_notebook_is_recorded_and_loads_in_a_fresh_process(outputs, cell, forgotten):
    cell(CELLS)
    main = cell(NET_CELL)
    frame = tiny_table("binary")
    run = fit(*FAST, model=main.Cell, metric=main.closeness, metric_mode="max", data=frame, target="y")
    module = run.cfg["metric"].partition(".")[0]
    assert notebook.NAME.fullmatch(module) and run.cfg["model"]["net"]["class"] == f"{module}.Cell"
    assert (run.report["model"], run.report["metric"]["name"]) == ("Cell", "closeness")
    assert [name for name in names_in(run, "code.zip") if name[:9] == "notebook_"] == [f"{module}.py"]
    p = run.arrays["val_p"]
    vars(main).pop("Cell")
    forgotten()
    assert module not in sys.modules
    assert np.array_equal(load(run.name).predict_proba(frame.loc[run.arrays["val_id"]]), p)


def test_a_run_of_a_notebooks_code_is_resumed_with_the_code_it_had(outputs, cell, forgotten):
    cell(CELLS)
    frame = tiny_table("binary")
    frame.to_csv(outputs / "own.csv", index=False)
    words = ("dataset.target=y", f"dataset={outputs / 'own.csv'}", *QUIET, "threads=1", "model.patience=null")
    straight = fit(*words, model=cell(NET_CELL).Cell, max_epochs=4)
    short = fit(*words, model=sys.modules["__main__"].Cell, max_epochs=2)
    cell("LIMIT = 100.0")
    vars(sys.modules["__main__"]).pop("Cell")
    forgotten()
    resumed = resume_train(short.name, max_epochs=4)
    assert str(resumed.rows) == str(straight.rows) and len(resumed.rows) == 4  # as text: nan is not nan
    assert all(np.array_equal(resumed.arrays[name], straight.arrays[name]) for name in straight.arrays)


@pytest.mark.slow
def test_ranks_find_the_code_of_a_notebook(outputs, cell):
    cell(CELLS)
    words = ("trainer.devices=2", "trainer.accelerator=cpu", *FAST)
    run = fit(*words, model=cell(NET_CELL).Cell, data=tiny_table("binary"), target="y")
    assert run.status == "done" and run.report["model"] == "Cell"


def test_a_changed_cell_is_another_module_and_older_runs_keep_theirs(outputs, cell):
    cell(CELLS)
    frame = tiny_table("binary")
    first = fit(*FAST, model=cell(NET_CELL).Cell, data=frame, target="y")
    p = first.predict_proba(frame)
    cell("LIMIT = 100.0")
    second = fit(*FAST, model=sys.modules["__main__"].Cell, data=frame, target="y")
    assert first.cfg["model"]["net"] != second.cfg["model"]["net"]
    assert np.array_equal(load(first.name).predict_proba(frame), p)
    assert not np.array_equal(load(second.name).predict_proba(frame), p)
    cell("LIMIT = 0.5")
    third = fit("model=__main__.Cell", *FAST, "dataset.target=y", data=frame)
    assert third.cfg["model"]["net"] == first.cfg["model"]["net"]
    assert np.array_equal(third.predict_proba(frame), p)


def test_the_cell_that_was_run_last_counts(cell):
    """Also if it was run again after a newer one: linecache keeps its old place."""
    old = cell("class Net:\n    size = 1\n    def forward(self): pass\n").Net
    new = cell("class Net:\n    size = 2\n    def forward(self): pass\n").Net
    for net, size in ((old, 1), (new, 2)):
        sys.modules["__main__"].Net = net
        cfg = with_notebook({"model": {"net": {"class": "__main__.Net"}}, "metric": None})
        assert getattr(__import__(cfg["model"]["net"]["class"].partition(".")[0]).Net, "size") == size  # noqa: B009


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("OF = np.ones(3)\ndef Made(y, p): return OF.sum()", "Made uses OF, a ndarray: pass it as"),
        ("Made = lambda y, p: 1.0", "define|def"),
        ("from functools import partial\ndef two(y, p, k): return k\nMade = partial(two, k=1)", "partial"),
    ],
)
def test_what_cannot_be_recorded_is_one_sentence(outputs, cell, text, says):
    cell(CELLS)
    cell(text)
    with pytest.raises(UserError, match=says) as caught:
        fit("model=linear", "dataset=wine", "metric=__main__.Made", "metric_mode=max", *QUIET)
    assert "\n" not in str(caught.value)


def test_a_notebooks_code_from_elsewhere_needs_trust(outputs, cell, forgotten, tmp_path, monkeypatch):
    cell(CELLS)
    frame = tiny_table("binary")
    run = fit(*FAST, model=cell(NET_CELL).Cell, data=frame, target="y")
    shutil.copytree(run.folder, tmp_path / "runs" / run.name)
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    forgotten()
    with pytest.raises(UserError, match="add trust=true"):
        load(run.name).predict(frame)
    assert not [name for name in sys.modules if notebook.NAME.fullmatch(name)]
    assert len(load(run.name, trust=True).predict(frame)) == len(frame)


def test_a_module_that_is_not_what_it_was_is_refused(tmp_path, forgotten):
    forgotten()
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("notebook_00000000.py", "x = 1\n")
    with pytest.raises(UserError, match=r"notebook_00000000\.py in .* is not what it was"):
        notebook.unpack(tmp_path / "code.zip", ["notebook_00000000.x"])
    with pytest.raises(UserError, match=r"has no readable notebook_11111111\.py"):
        notebook.unpack(tmp_path / "code.zip", ["notebook_11111111.x"])
    notebook.unpack(tmp_path / "none.zip", ["src.model.mlp.MLP", "accuracy"])


# -- a net that does not fit the data


TABLE, NUMBERS = tiny_table("binary"), tiny_table("binary").drop(columns="colour")
TEXT = tiny_text().rename(columns={"label": "y"})
WAYS = (
    "Gated.forward takes no x_cat, but the data has categorical columns: take x_cat in forward; or leave its "
    "columns out, dataset.ignore=[colour]; or make them numbers, in an etl or with src.model.embed.Embed"
)


@pytest.mark.parametrize(
    ("net", "frame", "says"),
    [
        (Gated, TABLE, WAYS),
        (Gated, TABLE.assign(z=["u", "v"] * 120), "dataset.ignore=[colour,z]"),
        (Needy, NUMBERS, "Needy.forward needs x_cat, but the data has x_num"),
        (Words, NUMBERS, "Words.forward needs input_ids, but the data has x_num"),
        (Gated, TEXT, "Gated.forward needs x_num, but the data has input_ids, attention_mask"),
        (Words, TEXT.assign(n=np.arange(200) / 7), "Words.forward takes no x_num, but the data has numeric"),
        (Sighted, TEXT, "Sighted.forward takes no attention_mask, (B, T), true where a row has a token"),
    ],
)
def test_inputs_that_do_not_fit_are_one_sentence_before_training(outputs, net, frame, says):
    with pytest.raises(UserError) as caught:
        fit(*FAST, model=net, data=frame, target="y")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_forward_that_takes_anything_gets_everything(outputs):
    assert fit(*FAST, model=Open, data=tiny_table("binary"), target="y").status == "done"


# -- a last batch of one row


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_batch_is_smaller_than_the_least(lengths, seed):
    counts = [0, 1, 2, 3, 7, 2 * POOL + 1, 4 * POOL, 4 * POOL + 1]
    for n, size, least in product(counts, [1, 2, 3, 4], [1, 2, 4]):
        sizes = np.random.default_rng(0).integers(1, 9, n) if lengths else None
        order = BatchOrder(n, size, seed=seed, lengths=sizes, least=least)
        batches = order.batches()
        assert len(batches) == order.n_batches
        assert sorted(row for rows in batches for row in rows) == list(range(n))
        if n >= min(least, size):
            assert all(len(rows) >= min(least, size) for rows in batches)
        assert len(batches) in (math.ceil(n / size), math.ceil(n / size) - 1)


def parts(n: int) -> list[str]:
    return ["train"] * n + ["val", "test"] * 20


@pytest.mark.parametrize("n", [129, 130, 3])
def test_batch_norm_trains_on_any_number_of_rows(outputs, n):
    frame = tiny_table("binary", n=n + 40)[["a", "b", "y"]].assign(part=parts(n))
    words = ("dataset.split=part", "model.batch_size=64")
    assert fit(*FAST, *words, model=Normed, data=frame, target="y").status == "done"


def test_batch_norm_trains_on_any_number_of_texts(outputs):
    n = 129
    frame = tiny_text(n + 40).assign(part=parts(n))
    words = ("dataset.split=part", "model.batch_size=64", "dataset.text=[sentence]")
    assert fit(*FAST, *words, model=Words, data=frame, target="label").status == "done"


@pytest.mark.slow
@pytest.mark.parametrize("n", [128, 129, 131])
def test_batch_norm_trains_in_two_processes(outputs, n):
    """Each rank gets two rows of every batch."""
    frame = tiny_table("binary", n=n + 40)[["a", "b", "y"]].assign(part=parts(n))
    words = ("dataset.split=part", "model.batch_size=64", "trainer.devices=2", "trainer.accelerator=cpu")
    assert fit(*FAST, *words, model=Normed, data=frame, target="y").status == "done"


def test_an_interrupt_waits_for_the_end_of_an_import():
    """Else the libraries are half imported, and no later fit of the notebook can use them."""
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append(True)
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="another"), uninterrupted():
        raise ValueError("another")
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- errors of the user's own code


DIVIDING = {"model": "linear", "metric": dividing, "metric_mode": "max"}


@pytest.mark.parametrize(
    ("words", "kind", "says", "place"),
    [
        ({"model": Broken}, RuntimeError, "RuntimeError: mat1", "Broken.forward: return self.body("),
        ({"model": Unready}, NameError, "NameError: name 'un", "Unready.__init__: self.gate = undefined"),
        ({"model": Picky}, UserError, "Picky does not take {}: not with me", "Picky.__init__: raise"),
        ({"model": failing_estimator}, UserError, "unsupported operand", "failing_estimator: return"),
        (DIVIDING, RuntimeError, "ZeroDivisionError", "dividing: return share(y) / 0"),
    ],
    ids=shown,
)  # fmt: skip
def test_errors_of_ones_own_code_show_its_places_alone(outputs, words, kind, says, place):
    with pytest.raises(kind) as caught:
        fit(*FAST, "dataset=wine", **words)
    first, line = sentence(caught.value).splitlines()
    assert says in first and line.startswith("  test_own.py, line ") and place in line
    assert caught.value._render_traceback_() == [f"error: {sentence(caught.value)}"]


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (of_one, "metric=test_own.of_one is called as of_one(y, p)"),
        (wordy, "metric=test_own.wordy should return a number, it returned 'good'"),
    ],
)
def test_a_metric_of_another_shape_is_one_sentence(outputs, metric, says):
    with pytest.raises(UserError) as caught:
        fit(*FAST, "dataset=wine", model="linear", metric=metric, metric_mode="max")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def wrong_etl(df):
    return df.assign(c=df["nowhere"])


def test_an_error_in_an_etl_shows_its_places(outputs):
    with pytest.raises(KeyError) as caught:
        run_etl("people", wrong_etl, data=tiny_table("binary"))
    (_, place) = sentence(caught.value).splitlines()
    line = wrong_etl.__code__.co_firstlineno + 1
    assert place == f'  test_own.py, line {line}, in wrong_etl: return df.assign(c=df["nowhere"])'


def test_an_error_of_reprise_keeps_its_traceback(outputs, monkeypatch):
    from src.run import job

    monkeypatch.setattr(job, "describe_data", lambda: None)
    with pytest.raises(TypeError) as caught:
        fit(*FAST, "model=linear", "dataset=wine")
    assert "test_own" not in sentence(caught.value)


def test_the_shell_shows_one_sentence_and_places(shell, tmp_path, monkeypatch):
    file = tmp_path / "their_metric.py"
    file.write_text("def one(y, p):\n    return two(y)\n\n\ndef two(y):\n    return y.nothing\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    words = ("model=linear", "dataset=wine", "metric=their_metric.one", "metric_mode=max", *QUIET)
    done = shell("train", *words)
    *_, first, second, third = done.stderr.splitlines()
    assert "AttributeError: 'numpy.ndarray' object has no attribute 'nothing'" in first
    assert second == "  their_metric.py, line 2, in one: return two(y)"
    assert third == "  their_metric.py, line 6, in two: return y.nothing"
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_an_error_in_an_imported_module_shows_its_place(tmp_path, monkeypatch):
    (tmp_path / "their_module.py").write_text("import numpy\nnumpy.nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as caught:
        compose(["model=their_module.Net"])
    first, second = str(caught.value).splitlines()
    assert first == "their_module.Net cannot be imported: module 'numpy' has no attribute 'nowhere'"
    assert second == "  their_module.py, line 2, in <module>: numpy.nowhere"


@pytest.mark.slow  # tests/test_session.py replays, too
def test_replay_of_keywords(outputs):
    run = fit(*FAST, model="linear", dataset="wine", C=2)
    assert run.cfg["model"]["classifier"]["C"] == 2 and run.report["overrides"][-1] == "model.classifier.C=2"
    assert replay_train(run.name)["identical"]

"""Data gets a new version exactly when code, arguments or input change; recorded code runs alone."""

import importlib
import linecache
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from textwrap import dedent

import pandas as pd
import pytest
from conftest import CHECKOUT

from src import etl, reload_etl, run_etl
from src.config.compose import compose
from src.config.shell import read
from src.data import versions
from src.data.code import Closure
from src.data.load import load_data
from src.data.source import check_frame
from src.dataset import iris
from src.system.code import is_own
from src.system.errors import UserError
from src.system.paths import versions_in

FRAME = pd.DataFrame({"price": [3.0, 4.0, 5.0, None], "city": ["Rome", "Oslo", None, "Bonn"]})
STEPS = '''"""Steps of the sales data."""
import numpy as np

FACTOR = 2.0
UNUSED = 1


def deepest(prices):
    """In euros."""
    return np.sqrt(prices) * FACTOR  # what a customer pays


def deep(prices):
    return deepest(prices) + 1


def middle(df):
    return df.assign(price=deep(df["price"]))


def unrelated(df):
    return df.dropna()


def rows(df):
    return len(df)


def etl(df, least=0, order=()):
    """Prices, cleaned."""
    rows = middle(df)
    return rows[~(rows["price"] < least)]
'''


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Give each test a separate, empty store."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path / "outputs"))
    return tmp_path / "outputs" / "etl"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return ``module(text)``, which writes a user's module and imports it, also after an edit."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = set()

    def write(text: str, name: str = "steps"):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        names.update({name, name.partition(".")[0]})
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def version(function, frame=FRAME, **arguments) -> str:
    return versions.run_versioned("sales", function, frame, "memory", arguments)[1]["version"]


def load(overrides: list[str]):
    """Return the `Data` of a composed config."""
    cfg = compose(overrides)
    return load_data(cfg["dataset"], scaler=cfg["model"]["scaler"], class_weight=None, seed=cfg["seed"])


def main(*words: str) -> None:
    etl.etl(**read(etl.etl, list(words)).arguments)


# -- when there is a new version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# what a customer pays", "# what nobody pays"),
        ('"""In euros."""', '"""In dollars,\n\n    or not."""'),
        ('    """Prices, cleaned."""\n', ""),
        ("deepest(prices) + 1", "(\n        deepest( prices )\n\n        + 1)"),
        ('df["price"]', "df['price']"),
        ("df.dropna()", "df.head()"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("return len(df)", "return 2 * len(df)"),
    ],
    ids=[
        "comment", "docstring", "docstring gone", "spacing", "quotes", "unrelated", "unused",
        "name of a local",
    ],
)
def test_the_same_code_keeps_its_version(module, old, new):
    assert old in STEPS
    assert version(module(STEPS).etl) == version(module(STEPS.replace(old, new)).etl) == "v1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rows = middle(df)", "rows = middle(df).head(2)"),
        ("np.sqrt(prices) * FACTOR", "np.sqrt(prices) / FACTOR"),
        ("FACTOR = 2.0", "FACTOR = 3.0"),
        ("least=0", "least=1"),
        ("np.sqrt", "np.log"),
        ("import numpy as np", "import numpy.lib.scimath as np"),
    ],
    ids=["itself", "three calls deep", "constant", "default", "function of a library", "library"],
)
def test_changed_code_is_a_new_version(module, old, new):
    assert old in STEPS
    assert version(module(STEPS).etl) == "v1"
    assert version(module(STEPS.replace(old, new)).etl) == "v2"


HELPER = "def clean(df):\n    return df.head(2)\n"
REACHED = {  # ways in which an ETL may come to the helper
    "import": ("from helpers import clean\ndef etl(df): return clean(df)", "helpers"),
    "package": ("from pack.helpers import clean\ndef etl(df): return clean(df)", "pack.helpers"),
    "partial": (
        "from functools import partial\nfrom helpers import clean\n"
        "first = partial(clean)\ndef etl(df): return first(df)",
        "helpers",
    ),
    "list": ("from helpers import clean\nALL = [clean]\ndef etl(df): return ALL[0](df)", "helpers"),
    "dict": ("from helpers import clean\nALL = {'c': clean}\ndef etl(df): return ALL['c'](df)", "helpers"),
    "method": (
        "from helpers import clean\nclass Steps:\n    def go(self, df): return clean(df)\n"
        "def etl(df): return Steps().go(df)",
        "helpers",
    ),
    "default": ("from helpers import clean\ndef etl(df, step=clean): return step(df)", "helpers"),
    "nested": (
        "from helpers import clean\ndef etl(df):\n    def go(): return clean(df)\n    return go()",
        "helpers",
    ),
}


@pytest.mark.parametrize("way", REACHED)
def test_a_helper_is_followed_and_recorded(module, way):
    text, name = REACHED[way]
    module(HELPER, name)
    frame, record = versions.run_versioned("sales", module(text).etl, FRAME, "memory")
    recorded = versions.read_version("sales", "v1")
    module(HELPER.replace("head(2)", "head(3)"), name)
    assert version(module(text).etl) == "v2"
    sys.modules.pop("steps"), sys.modules.pop(name)
    pd.testing.assert_frame_equal(versions.replay(recorded, FRAME), frame)
    assert record["version"] == "v1" and len(frame) == 2


@pytest.mark.parametrize(
    ("text", "name", "advice"),
    [
        ("import helpers\ndef etl(df): return helpers.clean(df)", "helpers", "from helpers import clean"),
        ("import helpers as h\ndef etl(df): return h.clean(df)", "helpers", "from helpers import clean"),
        ("import pack.a\ndef etl(df): return pack.a.clean(df)", "pack.a", "from pack.a import clean"),
        ("from pack import a\ndef etl(df): return a.clean(df)", "pack.a", "from pack.a import clean"),
        ("import helpers\ndef etl(df): return vars(helpers)['clean'](df)", "helpers", "import functions"),
    ],
)
def test_a_module_of_the_project_is_no_value(module, store, text, name, advice):
    module(HELPER, name)
    with pytest.raises(UserError, match=advice) as caught:
        version(module(text).etl)
    assert "\n" not in str(caught.value) and not list(store.glob("sales/v*"))


def test_a_function_with_a_decorator_of_another_module_takes_its_names_from_its_own(module):
    loud = "def loud(f):\n    @wraps(f)\n    def call(df): return f(df)\n    return call\n"
    module(f"from functools import wraps\n{loud}", "helpers")
    cut = "N = 2\n@loud\ndef cut(df): return df.head(N)\n"
    text = f"from helpers import loud\n{cut}def etl(df): return cut(df)"
    assert version(module(text).etl) == "v1"
    assert version(module(text.replace("N = 2", "N = 3")).etl) == "v2"
    sys.modules.pop("steps"), sys.modules.pop("helpers")
    assert [len(versions.replay(versions.read_version("sales", v), FRAME)) for v in ("v1", "v2")] == [2, 3]


def test_a_cached_helper_is_followed(module):
    rate = "@cache\ndef rate(city): return 2\n"
    text = f"from functools import cache\n{rate}def etl(df): return df * rate('Rome')"
    frame = FRAME[["price"]]
    assert version(module(text).etl, frame) == "v1"
    recorded = versions.read_version("sales", "v1")
    assert version(module(text.replace("return 2", "return 3")).etl, frame) == "v2"
    assert versions.replay(recorded, frame)["price"][0] == 6.0


@pytest.mark.parametrize(
    "inside", ["import helpers; return helpers.clean(df)", "from helpers import clean; return clean(df)"]
)
def test_an_import_inside_a_function_is_followed_or_refused(module, inside):
    """Code that is not followed would change without a new version."""
    module(HELPER, "helpers")
    function = module(f"def etl(df): {inside}").etl
    try:
        before = version(function)
    except UserError as error:
        assert "helpers" in str(error) and "at the top" in str(error)
    else:
        module(HELPER.replace("head(2)", "head(3)"), "helpers")
        assert version(function) != before


def test_back_to_the_old_code_names_the_old_version(module):
    a, b = module(STEPS).etl, STEPS.replace("FACTOR = 2.0", "FACTOR = 3.0")
    assert [version(a), version(module(b).etl), version(module(STEPS).etl)] == ["v1", "v2", "v1"]
    assert versions.complete_versions("sales") == ["v1", "v2"]


def test_arguments_make_versions_and_their_order_does_not(module):
    function = module(STEPS).etl
    both, turned = {"least": 3, "order": ["a", "b"]}, {"order": ["a", "b"], "least": 3}
    calls = [{}, {"least": 3}, both, turned, {"least": 3}]
    assert [version(function, **call) for call in calls] == ["v1", "v2", "v3", "v3", "v2"]
    assert version(function, least=3, order=["b", "a"]) == "v4"


def test_any_cell_of_the_input_makes_a_version(module):
    function = module(STEPS).etl
    frames = [
        FRAME,
        FRAME.replace("Oslo", "Oslo "),
        FRAME.fillna({"price": 0.0}),
        FRAME[::-1],
        FRAME[["city", "price"]],
    ]
    assert [version(function, frame) for frame in frames] == ["v1", "v2", "v3", "v4", "v5"]
    assert version(function, FRAME.copy()) == "v1"


# -- what is recorded


def test_the_record_says_what_was_made_and_holds_no_data(module, store):
    _, record = versions.run_versioned("sales", module(STEPS).etl, FRAME, "memory", {"least": 4.9})
    assert {path.name for path in (store / "sales" / "v1").iterdir()} == {"etl.py", "version.json"}
    kept = versions.read_version("sales", "v1")
    assert record == {key: kept[key] for key in record}
    assert (kept["rows"], kept["input_rows"], kept["arguments"]) == (3, 4, {"least": 4.9})
    assert list(kept["columns"]) == list(kept["input_columns"]) == ["price", "city"]
    assert versions.datasets() == ["sales"]
    assert "unrelated" not in kept["source"] and "UNUSED" not in kept["source"]


ALONE = {
    "helpers and a constant": STEPS,
    "a constant of constants": "A = {'x': 2}\nB = A['x'] * 2\ndef etl(df): return df.head(B - 2)",
    "a pattern": (
        "import re\nP = re.compile('^R')\ndef etl(df): return df[[bool(P.match(str(c))) for c in df['city']]]"
    ),
    "not a number": "NONE = float('nan')\ndef etl(df): return df.assign(x=NONE)",
    "a set": "CITIES = {'Rome', 'Oslo', 'Bonn'}\ndef etl(df): return df[df['city'].isin(CITIES)]",
    "a default dict": (
        "from collections import defaultdict\nRATES = defaultdict(lambda: 1, Rome=2)\n"
        "def etl(df): return df.assign(rate=[RATES[c] for c in df['city']])"
    ),
    "an enum": (
        "from enum import IntEnum\nclass Size(IntEnum):\n    SMALL = 2\nLEAST = Size.SMALL\n"
        "def etl(df): return df.head(LEAST)"
    ),
    "a path": "from pathlib import Path\nP = Path('a/b')\ndef etl(df): return df.assign(x=P.name)",
    "a type": "import numpy as np\nKIND = np.float32\ndef etl(df): return df[['price']].astype(KIND)",
    "a list of types": (
        "import numpy as np\nKINDS = [np.float32]\ndef etl(df): return df[['price']].astype(KINDS[0])"
    ),
    "annotations": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas as pd\n"
        "def etl(df: pd.DataFrame) -> pd.DataFrame: return df.head(1)"
    ),
    "renamed imports": (
        "from math import sqrt as root\nimport os.path as where\nimport json\n"
        "def etl(df): return df.assign(x=root(4), y=where.join('a', 'b'), z=json.dumps([1]))"
    ),
    "a package of a library": (
        "import xml.etree.ElementTree\n"
        "def etl(df): return df.assign(x=xml.etree.ElementTree.Element('a').tag)"
    ),
    "recursion": (
        "def f(n): return n and 1 + g(n - 1)\ndef g(n): return n and 1 + f(n - 1)\n"
        "def etl(df): return df.head(f(3))"
    ),
    "a class": (
        "from dataclasses import dataclass\n@dataclass\nclass Base:\n    n: int = 2\nclass Cut(Base):\n"
        "    def go(self, df): return df.head(self.n)\ndef etl(df): return Cut().go(df)"
    ),
    "a closure": (
        "def cut(df, n): return df.head(n)\n"
        "def make(n):\n    def etl(df):\n        return cut(df, n)\n    return etl\n"
        "etl = make(2)"
    ),
    "a decorator": (
        "from functools import wraps\n"
        "def loud(f):\n    @wraps(f)\n    def call(*a, **k): return f(*a, **k).head(2)\n"
        "    return call\n@loud\ndef half(df): return df.tail(3)\ndef etl(df): return half(df)"
    ),
}


@pytest.mark.parametrize("case", ALONE)
def test_the_recorded_code_runs_alone(module, tmp_path, case):
    frame, _ = versions.run_versioned("sales", module(ALONE[case]).etl, FRAME, "memory")
    (tmp_path / "steps.py").unlink()
    sys.modules.pop("steps")
    pd.testing.assert_frame_equal(versions.replay(versions.read_version("sales", "v1"), FRAME), frame)


def test_closures_over_other_values_are_other_versions(module):
    make = module("def make(n):\n    def etl(df):\n        return df.head(n)\n    return etl").make
    assert [version(make(2)), version(make(3)), version(make(2))] == ["v1", "v2", "v1"]


@pytest.mark.parametrize("case", ["a set", "a list of types", "a default dict"])
def test_every_process_gives_the_same_digest(module, tmp_path, case):
    """An address in a repr, or the order of a set, would make a new version in each process."""
    module(ALONE[case])
    code = "from src.data.code import Closure; import steps; print(Closure(steps.etl).digest)"
    found = set()
    for seed in ("1", "2"):
        places = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}", "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, env=os.environ | places, capture_output=True, text=True).stdout)
    assert len(found) == 1 and len(found.pop().strip()) == 16


def test_an_etl_that_writes_into_its_argument_leaves_the_callers_frame(module):
    text = """
    def etl(df):
        df.loc[0, "price"] = -1.0
        df["city"] = df["city"].fillna("?")
        df["new"] = 1
        df.drop(index=1, inplace=True)
        df.columns = ["a", "b", "c"]
        return df
    """
    frame = FRAME.copy()
    made, _ = versions.run_versioned("sales", module(text).etl, frame, "memory")
    pd.testing.assert_frame_equal(frame, FRAME)
    assert list(made.columns) == ["a", "b", "c"] and made.loc[0, "a"] == -1.0
    pd.testing.assert_frame_equal(versions.replay(versions.read_version("sales", "v1"), frame), made)


# -- run again


def test_an_input_that_changed_or_is_gone_is_named(module, tmp_path):
    path = tmp_path / "sales.csv"
    FRAME.to_csv(path, index=False)
    made = run_etl("sales", module(STEPS).etl, data=path)
    pd.testing.assert_frame_equal(reload_etl("sales", "v1"), made)
    FRAME.head(2).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"input has changed since .*sales.csv: 4 rows then, 2 now"):
        reload_etl("sales", "v1")
    path.unlink()
    with pytest.raises(UserError, match=r"no file .*sales.csv"):
        reload_etl("sales", "v1")
    pd.testing.assert_frame_equal(reload_etl("sales", "v1", data=FRAME), made)


def test_a_frame_in_memory_is_asked_for(module):
    run_etl("sales", module(STEPS).etl, data=FRAME)
    with pytest.raises(UserError, match="data=df"):
        reload_etl("sales", "v1")
    with pytest.raises(UserError, match="no ETL version v7; known: v1"):
        reload_etl("sales", "v7", data=FRAME)


def test_an_etl_that_draws_without_a_seed_is_warned_about(module, caplog):
    draws = module("import random\ndef etl(df): return df.assign(x=random.random())").etl
    version(draws)
    assert not caplog.messages
    version(draws)
    assert "sales v1 makes something else" in caplog.text
    with pytest.raises(UserError, match="without a seed"):
        versions.replay(versions.read_version("sales", "v1"), FRAME)


NOTEBOOK = """
import linecache, sys
for number, text in enumerate(sys.argv[1:]):  # as IPython does
    name = f"<ipython-input-{number}-0>"
    linecache.cache[name] = len(text), None, text.splitlines(True), name
    exec(compile(text, name, "exec"), globals())
"""
CELLS = (
    "import pandas as pd\nfrom src import run_etl\ndf = pd.DataFrame({'price': [1.0]})",
    "RATE = 1.5\nclass Tax:\n    def of(self, prices):\n        return prices * RATE",
    "def taxed(prices):\n    return Tax().of(prices)",
    "def etl(df, least=0):\n    return df[df['price'] > least].assign(price=lambda d: taxed(d['price']))",
    "run_etl('sales', etl, data='{path}', least=3)",
    "def taxed(prices):\n    # the same\n    return Tax().of(prices)",
    "run_etl('sales', etl, data='{path}', least=3)",
    "def taxed(prices):\n    return Tax().of(prices) + 1",
    "run_etl('sales', etl, data='{path}', least=3)",
)


def test_an_etl_of_a_notebook_reloads_in_a_fresh_process(tmp_path):
    """Also if the notebook has a global ``df``, as most have."""
    FRAME.to_csv(tmp_path / "sales.csv", index=False)

    def python(*arguments: str) -> str:
        command = [sys.executable, "-c", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    cells = (cell.replace("{path}", str(tmp_path / "sales.csv")) for cell in CELLS)
    lines = python(NOTEBOOK, *cells).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["sales v1", "sales v1", "sales v2"]
    code = "from src import reload_etl; print(*reload_etl('sales', {!r})['price'])"
    assert python(code.format("v1")).split() == ["6.0", "7.5"]
    assert reload_etl("sales", "v2")["price"].tolist() == [7.0, 8.5]


# -- refused


def same_names(module):
    module(HELPER + "def step(df):\n    return clean(df)\n", "helpers")
    text = "from helpers import step\ndef clean(df): return df\ndef etl(df): return clean(step(df))"
    return module(text).etl


class Steps:
    def etl(self, df):
        return df


REFUSED = {
    "lambda": (lambda module: lambda df: df, {}, "def"),
    "a series": (lambda module: module("def etl(df): return df['price']").etl, {}, "not Series"),
    "nothing": (lambda module: module("def etl(df): df.dropna()").etl, {}, "not NoneType"),
    "one name": (same_names, {}, "clean"),
    "unknown argument": (lambda module: module(STEPS).etl, {"leats": 1}, "leats"),
    "missing argument": (lambda module: module("def etl(df, k): return df").etl, {}, "'k'"),
    "partial": (lambda module: partial(module(STEPS).etl, least=1), {}, "plain function"),
    "method": (lambda module: Steps().etl, {}, "plain function"),
    "no function": (lambda module: "etl", {}, "plain function"),
    "a set": (lambda module: module(STEPS).etl, {"order": {1, 2}}, "order"),
    "a frame": (lambda module: module(STEPS).etl, {"order": FRAME}, "order"),
    "keys that are numbers": (lambda module: module(STEPS).etl, {"order": {1: "a"}}, "order"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_one_sentence_and_leave_nothing(module, store, case):
    make, arguments, says = REFUSED[case]
    with pytest.raises(UserError) as caught:
        version(make(module), **arguments)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(store.glob("sales/v*"))


def test_a_fault_inside_an_etl_is_not_called_a_wrong_argument(module):
    """Its author needs the traceback."""
    function = module("def help(a): return a\ndef etl(df): return help()").etl
    with pytest.raises(TypeError, match="positional argument"):
        version(function)


# -- pinned, listed


@pytest.fixture
def two(module, tmp_path):
    """Return overrides of the dataset "sales" with v1, made by a notebook, and v2, made by the dataset."""
    path = tmp_path / "sales.csv"
    pd.concat([FRAME.dropna().assign(y=[i % 2, 1 - i % 2]) for i in range(20)]).to_csv(path, index=False)
    text = "import math\ndef etl(df, n=20):\n    return df.head(n)[['city', 'y']]"
    run_etl("sales", module(text).etl, data=path, n=30)
    overrides = ["dataset=csv", f"dataset.path={path}", "dataset.target=y", "model=linear"]
    assert load(overrides).info["etl_version"] == "v2"
    return overrides


def test_a_dataset_can_be_pinned(two):
    pinned = load([*two, "dataset.etl=v1"])
    assert pinned.info["etl_version"] == "v1" and sum(len(part["y"]) for part in pinned.parts.values()) == 30
    assert pinned.info["digest"] == versions.read_version("sales", "v1")["output"]
    assert sum(len(part["y"]) for part in load(two).parts.values()) == 40
    with pytest.raises(UserError, match="known: v1, v2"):
        load([*two, "dataset.etl=v3"])
    path = two[1].partition("=")[2]
    pd.read_csv(path).assign(city="Rome").to_csv(path, index=False)
    with pytest.raises(UserError, match="input has changed"):
        load([*two, "dataset.etl=v1"])


def test_a_dataset_without_an_etl_keeps_the_versions_that_were_recorded_when_it_had_one(module):
    """Its function then: the name, the annotations and the body of `src.data.versions.etl`."""
    then = module("import pandas as pd\n\n\ndef etl(df: pd.DataFrame) -> pd.DataFrame:\n    return df\n").etl
    assert Closure(then).digest == Closure(versions.etl).digest
    cfg = compose(["dataset=iris"])["dataset"]
    _, record = versions.run_versioned("iris", then, check_frame(iris.read(cfg)), "dataset=iris", {}, cfg)
    today = ["dataset=iris", "model=linear"]
    for overrides in (today, [*today, "dataset.etl=v1"]):
        data = load(overrides)
        assert (data.info["etl_version"], data.info["digest"]) == ("v1", record["output"])
    assert versions.complete_versions("iris") == ["v1"]
    assert len(reload_etl("iris", "v1")) == len(run_etl("iris")) == 150
    assert versions.complete_versions("iris") == ["v1"]


def test_the_shell_lists_compares_and_reloads(two, capsys):
    main()
    listed = capsys.readouterr().out
    main("dataset=sales")
    assert capsys.readouterr().out == listed
    lines = [line.split() for line in listed.splitlines()]
    assert lines[0] == ["sales"] and [line[0] for line in lines[1:]] == ["v1", "v2"]
    assert "30 x 2" in listed and "40 x 3" in listed and "n=30" in listed
    main("dataset=sales", "diff=v1,v2")
    shown = capsys.readouterr().out
    for text in (
        "rows: 30 -> 40",
        "column new: price",
        "arguments: {'n': 30} -> {}",
        "-    return df.head(n)",
        "+    return df",
    ):
        assert text in shown
    assert "input" not in shown, "it is the same"
    main("dataset=sales", "replay=v1")
    assert "30 rows, identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset=sales", "diff=v1"], "diff=v1,v2"),
        (["dataset=sales", "diff=v1,v9"], "known: v1, v2"),
        (["dataset=slaes"], "known: sales"),
        (["diff=v1,v2"], "dataset"),
        (["replay=v1"], "dataset"),
    ],
)
def test_what_the_shell_cannot_show_is_one_sentence(two, words, says):
    with pytest.raises(UserError, match=says):
        main(*words)


def test_an_unknown_option_is_exit_2(shell):
    done = shell("etl", "datset=csv")
    assert done.returncode == 2 and "did you mean dataset?" in done.stderr and done.stderr.count("\n") == 1


# -- several processes, and a kill


def register(code: str) -> str:
    record = {"dataset": "sales", "code": code, "arguments": {}, "input": "0" * 16}
    return versions.register(record, f"# {code}\n")


def register_twenty(outputs: str, who: int) -> list[str]:
    """Register ten codes of this process, and ten that all processes register."""
    os.environ["OUTPUTS_DIR"] = outputs
    return [register(f"{i}" if i % 2 else f"{who}-{i}") for i in range(20)]


@pytest.fixture(scope="module")
def processes():
    """Return a context whose processes start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_versions", "src.data.versions"])
    return context


def test_eight_processes_at_once_lose_nothing_and_give_nothing_twice(processes, tmp_path):
    with processes.Pool(8) as pool:
        calls = [(str(tmp_path / "outputs"), who) for who in range(8)]
        given = pool.starmap(register_twenty, calls, chunksize=1)
    assert len({tuple(names[1::2]) for names in given}) == 1, "the shared ten have one version each"
    own = [name for names in given for name in names[::2]]
    assert len({*own, *given[0]}) == 90 == len(own) + 10
    assert versions.complete_versions("sales") == [f"v{i}" for i in range(1, 91)]
    assert all(versions.read_version("sales", name)["version"] == name for name in own)


def register_and_die(outputs: str, code: str, moment: int, after: bool) -> None:
    """Register, and be killed before or after file or folder number ``moment`` is moved to its place."""
    os.environ["OUTPUTS_DIR"] = outputs
    replace, times = os.replace, iter(range(1, 100))

    def dying(source, target):
        last = next(times) == moment
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = os.rename = dying
    register(code)


def test_a_kill_in_the_middle_leaves_a_readable_store(processes, tmp_path):
    assert register("first") == "v1"
    for moment, after in ((m, a) for m in (1, 2, 3) for a in (False, True)):
        code = f"{moment}{after}"
        arguments = (str(tmp_path / "outputs"), code, moment, after)
        child = processes.Process(target=register_and_die, args=arguments)
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, code
        complete = versions.complete_versions("sales")
        assert [f"v{number}" for number in versions_in(versions.folder() / "sales", "v")] == complete
        assert register("first") == "v1"
        given = register(code)
        assert register(code) == given and versions.read_version("sales", given)["code"] == code
    codes = [versions.read_version("sales", name)["code"] for name in versions.complete_versions("sales")]
    assert sorted(codes) == sorted({*codes}) and len(codes) == 7, "one code, one version"
    assert not any(versions.folder().rglob(".*.part")), "the next one swept what was left"


def test_a_package_installed_into_any_folder_is_not_the_users_own(tmp_path, monkeypatch):
    """As by `pip install --target`: its modules are imported by a recorded ETL, not copied into it."""
    (tmp_path / "cleaners").mkdir()
    (tmp_path / "cleaners" / "__init__.py").write_text("def clean(df):\n    return df\n")
    (tmp_path / "single.py").write_text("LIMIT = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_own("cleaners") and is_own("single")
    (tmp_path / "cleaners-1.0.dist-info").mkdir()
    assert not is_own("cleaners") and not is_own("single") and not is_own("cleaners.inner")

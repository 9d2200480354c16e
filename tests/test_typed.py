"""Overrides as people type them: names with signs, paths, lists, classes; hints; Hydra's own flags."""

import sys

import pandas as pd
import pytest
from conftest import QUIET
from omegaconf import OmegaConf

from src import fit, runs
from src.config import tree
from src.config.check import check
from src.config.compose import change, compose
from src.config.shell import arguments
from src.config.tree import parse
from src.config.typed import spelled, split, weights
from src.system.errors import UserError

NAMES = [
    "response, heart disease", "D[cm/g]", "größe", "性别", "price ($)", "a=b", "2020_01", "price (EUR)",
    "y?", "50%", "y!", "it's", 'say "x"', "y:z", "#y", "on", "null", "true", "1.5", "1e3", "y*", "c&d",
    "range(0,2)", "{a}", "{a: 1}", "a\\b", "y\\", "~a", "[x", "x]", "a,b", "nan", "inf", "a;b", "|",
    "1_000", "+5", "0x1", "=", "a == b", "x=1", "$y", "€", "seed", "x{y}${z}", "007", "-1", "a\tb",
    "choice(a,b)", "'", '"', "a'b\"c",
]  # fmt: skip


def value(word: str, multirun: bool = False):
    """Return the value that Hydra gets of a typed override, whose second reading changes nothing."""
    (typed,) = spelled([word], multirun)
    assert spelled([typed], multirun) == [typed]
    return OmegaConf.to_container(OmegaConf.create({"value": parse(typed).value()}), resolve=True)["value"]


@pytest.mark.parametrize("key", ["target", "id", "split", "positive"])
def test_a_name_is_taken_as_typed(key):
    for name in NAMES:
        if key == "target" or name != "null":
            found = value(f"dataset.{key}={name}")
            assert str(found).lower() == name.lower() if key == "positive" else str(found) == name


@pytest.mark.parametrize(
    "text", [r"_(?P<label>\w+)$", r"^\S+ \((?P<y>[^)]+)\)", r"x\(y\)", r"a|(?P<b>\d{1,3})", "a b (1).csv"]
)
def test_a_pattern_and_paths_are_taken_as_typed(text):
    paths = ["dataset.labels", "dataset.bed", "dataset.pretrained", "model.net.vectors"]
    for key in ("dataset.header", *(paths if "\\" not in text else [])):
        assert value(f"{key}={text}") == text
    assert value(f"dataset.header='{text}'") == text and value("dataset.header=null") is None


def test_a_name_in_a_list_is_taken_as_typed():
    for name in NAMES:
        if "," not in name and name != "null":
            assert list(map(str, value(f"dataset.ignore={name}"))) == [name]
        if "," not in name and name not in ("[x", "x]", "'", '"', "y\\"):  # these need quotes there
            assert list(map(str, value(f"dataset.text=[{name}, plain]"))) == [name, "plain"]


def test_a_name_reaches_the_config_of_a_run_and_of_a_replay():
    recorded = compose(["dataset=frame", "dataset.target=price (EUR)", "dataset.ignore=größe"])
    assert (recorded["dataset"]["target"], recorded["dataset"]["ignore"]) == ("price (EUR)", ["größe"])
    changed = change(recorded, ["dataset.target=D[cm/g]", "dataset.numeric=[Income ($), balance]"])["dataset"]
    assert (changed["target"], changed["numeric"]) == ("D[cm/g]", ["Income ($)", "balance"])
    assert compose(["dataset=frame", "dataset.target=x{y}${z}"])["dataset"]["target"] == "x{y}${z}"
    with pytest.raises(UserError, match=r"a name that holds these signs write 'dataset.target=\\\$\{y\}'"):
        compose(["dataset=frame", "dataset.target=${y}"])
    assert compose(["dataset=frame", r"dataset.target=\${y}"])["dataset"]["target"] == "${y}"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("[Income ($), balance]", ["Income ($)", "balance"]),
        ('["Income ($)"]', ["Income ($)"]),
        ("['a,b', c]", ["a,b", "c"]),
        ("[f(a, b), c]", ["f(a, b)", "c"]),
        ("[2020_01, null, true, 0]", ["2020_01", "null", "true", 0]),
        ("row_no", ["row_no"]), ("null", None), ("[]", []),
    ],
)  # fmt: skip
def test_lists_of_names(typed, found):
    assert value(f"dataset.numeric={typed}") == found


@pytest.mark.parametrize("typed", [r"\t", "\t", ";", ",", "|", "tab", "::", " "])
def test_a_separator_is_taken_as_typed(typed):
    for key in ("dataset.separator", "dataset.read.separator"):
        assert value(f"{key}={typed}") == typed == value(f"{key}={typed}", multirun=typed != " ")


def test_several_names_without_brackets_are_asked_about():
    with pytest.raises(UserError, match=r"write 'dataset.ignore=\[a,b\]', or, for one name, .*\['a,b'\]"):
        compose(["dataset=wine", "dataset.ignore=a,b"])


PATHS = [
    "data (1).csv", "größe.csv", "a=b.csv", "a,b.csv", "my data.csv", "x#1.csv", "it's.csv", "x[1].csv",
    "日本.csv", "a&b.csv", "100%.csv", "x{1}.csv", "~x.csv", "x!.csv", "a;b.csv", "2020.csv", "null.csv",
    "[a].csv", "plain.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_a_dataset(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("a,y\n1,2\n")
    for path in (name, f"{tmp_path}/{name}", f"./{name}", f'"{tmp_path}/{name}"'):
        reader, typed = spelled([f"dataset={path}"])
        assert reader == "dataset=csv" and spelled([reader, typed]) == [reader, typed]
        assert parse(typed).value() == path.strip('"') == value(f"dataset.path={path}")


def test_a_file_gives_its_dataset_a_name(tmp_path):
    (tmp_path / "größe (1).csv").write_text("a,y\n1,2\n")
    cfg = compose([f"dataset={tmp_path}/größe (1).csv", "dataset.target=y"])
    assert (cfg["dataset"]["name"], cfg["dataset"]["reader"]) == ("größe_1", "csv")


def test_files_in_a_multirun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "größe (1).csv", "c.parquet"):
        (tmp_path / name).write_text("x")
    several = [("a.csv,größe (1).csv", 2, "csv"), ("a.csv,c.parquet", 2, "csv"), ("c.parquet", 1, "parquet")]
    for value, n, reader in several:
        words = spelled([f"dataset={value}", "dataset.target=y,price (EUR)"], multirun=True)
        n_jobs, first = check(words, multirun=True)
        assert n_jobs == n * 2 and first["dataset"]["reader"] == reader and first["dataset"]["target"] == "y"
    with pytest.raises(UserError, match="names several files: add --multirun"):
        compose(["dataset=a.csv,c.parquet", "dataset.target=y"])
    with pytest.raises(UserError, match="names datasets and files: sweep over them in two commands"):
        spelled(["dataset=wine,a.csv"], multirun=True)
    n_jobs, _ = check(spelled(["dataset=glob(w*)", "model=glob(*)"], multirun=True), multirun=True)
    assert n_jobs == len(tree.choices("model"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["class_weight={<=50K: 1, >50K: 3}"], {"<=50K": 1, ">50K": 3}),
        (["class_weight={'<=50K': 1, \">50K\": 3}"], {"<=50K": 1, ">50K": 3}),
        (["class_weight={0: 1, 1: 5}"], {0: 1, 1: 5}),
        (["class_weight={n.a.: 5}"], {"n.a.": 5}),
        (["class_weight={'n.a.': 5}"], {"n.a.": 5}),
        (["class_weight={a b: 5, 'a,b': 1}"], {"a b": 5, "a,b": 1}),
        (["class_weight={größer: 5}"], {"größer": 5}),
        (["class_weight={2020_01: 5, null: 1e-3}"], {"2020_01": 5, "null": 0.001}),
        (["class_weight={(1, 2]: 3, a:b: 1}"], {"(1, 2]": 3, "a:b": 1}),
        (["class_weight={it's: 2}"], {"it's": 2}),
        (["class_weight=balanced"], "balanced"),
    ],
    ids=str,
)
def test_any_class_has_a_weight(words, found):
    typed = spelled(words)
    assert spelled(typed) == typed
    (typed,) = typed
    assert weights(parse(typed).value()) == found


def test_a_weight_is_still_checked():
    for text in ("{<=50K: -1}", "{<=50K: x}", "{yes: x}"):
        with pytest.raises(UserError, match=r"class_weight\..*: should be a number, at least 0"):
            compose(["dataset=wine", f"class_weight={text}"])


@pytest.mark.parametrize("typed", ["+class_weight.>50K=3", "class_weight.<=50K=3", "++class_weight.a b,c=3"])
def test_a_class_with_signs_in_a_dotted_key_is_shown_in_braces(typed):
    name = typed.partition(".")[2].rpartition("=")[0]
    shown = f"class_weight={{'{name}': 3}}"
    with pytest.raises(UserError) as refusal:
        spelled([typed])
    assert str(refusal.value) == f'{typed}: write "{shown}"'
    assert compose(["dataset=wine", shown])["class_weight"] == {name: 3}


def test_split_and_weights():
    assert split("a, f(b, c), 'd,e'") == ["a", " f(b, c)", " 'd,e'"] and split("a (, b") == ["a (", " b"]
    assert weights("{<=50K: 1, 'a, b': 2.5}") == {"<=50K": 1, "a, b": 2.5} and weights(None) is None


# -- hints

HINTS = {
    "epochs=5": "did you mean trainer.max_epochs",
    "Epochs=5": "did you mean trainer.max_epochs",
    "model.epochs=5": "did you mean trainer.max_epochs",
    "learning_rate=1": "did you mean model.lr",
    "model.Learning_Rate=1": "did you mean model.lr",
    "batch=8": "did you mean model.batch_size",
    "random_state=1": "did you mean seed",
    "gpus=1": "did you mean trainer.devices",
    "label=y": "did you mean dataset.target",
    "Seed=1": "did you mean seed",
    "MODEL=mlp": "did you mean model",
    "dropout=0.1": "did you mean model.net.dropout",
    "model=linear model.C=10": "did you mean model.classifier.C",
    "model=linear C=10": "did you mean model.classifier.C",
    "model=linear model.classifier.c=10": "did you mean model.classifier.C",
    "model=linear +model.classifier.c=10": "takes no c: did you mean C",
    "model=random_forest n_estimators=5": r"did you mean model\.arguments\.n_estimators",
    "n_estimators=5": r"model=mlp has no n_estimators, model=random_forest has model.arguments.n_estimators",
    "C=1": r"model=mlp has no C, model=linear has model.classifier.C",
    "model=linear model.lr=1": "model.lr is unknown: model=linear has no lr, model=mlp has",
    "metric=F1": "did you mean f1",
    "metric=roc_auc": "did you mean auroc",
    "metric=AUC": "did you mean auroc",
    "metric=acc": "did you mean accuracy",
    "metric=mean_squared_error dataset=diabetes": "did you mean rmse",
    "metric=RMSE dataset=diabetes": "did you mean rmse",
    "model=MLP": "did you mean mlp",
    "dataset=Wine": "did you mean wine.*or a file: dataset=my.csv",
    "mlp wine": "mlp wine: write model=mlp dataset=wine",
    "linear dataset=wine": "linear: write model=linear",
    "overfit": "write debug=overfit",
    "hello": "'hello' is not an override.*write key=value",
    "logger.wait=;": "write logger.wait=';'",
    "tags=[a(b]": "put names with signs in it into quotes",
    "dataset=frame dataset.target=": "dataset.target=: should be text",
    "dataset=nowhere.csv dataset.target=y": "no file nowhere.csv in",
    "dataset=csv dataset.path=x dataset.target=y dataset.separator=''": "separator='': should be text",
    "hydra.launcher.n_jobs=2": "add hydra/launcher=joblib",
    "hydra/launcher=joblib": "for several runs: add --multirun",
    "hydra.run.dir=x": "OUTPUTS_DIR=",
    "hydra.run={dir:x}": "OUTPUTS_DIR=",
    "+hydra.sweep.subdir=x": "OUTPUTS_DIR=",
    "++hydra.sweep.dir=x": "OUTPUTS_DIR=",
    "hydra.job.chdir=true": "OUTPUTS_DIR=",
    "hydra.output_subdir=x": "OUTPUTS_DIR=",
    "hydra={run:{dir:x}}": "hydra would do nothing here; these work: hydra/launcher",
    "hydra.mode=MULTIRUN": "hydra.mode would do nothing",
    "hydra.job.name=x": "hydra.job.name would do nothing",
    "hydra.sweeper.params={seed:1}": "hydra.sweeper.params would do nothing",
    "hydra.verbose=true": "hydra.verbose would do nothing",
    "hydra/job_logging=default": "hydra/job_logging would do nothing",
    "hydra.searchpath=[file:///tmp] experiment=mine": "write --config-dir DIR",
}


@pytest.mark.parametrize("typed", HINTS)
def test_a_mistake_says_what_to_type(typed):
    with pytest.raises(UserError, match=HINTS[typed]) as refusal:
        compose(typed.split())
    assert "\n" not in str(refusal.value)


def test_the_models_of_a_sweep_that_have_a_key():
    with pytest.raises(UserError, match="has no lr, model=mlp has and model=cnn has; sweep=models gives"):
        check(["model=mlp,linear,cnn", "model.lr=1e-3,1e-2"], multirun=True)


def test_overrides_in_one_string_are_shown_apart():
    with pytest.raises(UserError, match="write each by itself, 'model=linear', 'dataset=wine', 'seed=1'"):
        compose(["model=linear dataset=wine seed=1"])
    with pytest.raises(UserError, match=r"'dataset=my\.csv', 'dataset\.target=y'"):
        compose(["dataset=my.csv dataset.target=y"])
    assert compose(["dataset=frame", "dataset.target='a seed=1'"])["dataset"]["target"] == "a seed=1"


@pytest.mark.parametrize("key", ["target", "id", "ignore", "group"])
def test_a_column_that_is_not_there_is_guessed(outputs, key):
    frame = pd.DataFrame({"Age": range(40), "Churned": [0, 1] * 20, "Sex": ["f", "m"] * 20})
    words = {"target": "Churned"} | {key: "churned" if key == "target" else "agee"}
    overrides = [f"dataset.{name}={value}" for name, value in words.items()]
    says = f"dataset.{key}=.*: no such column: did you mean (Churned|Age)\\? there are Age"
    with pytest.raises(UserError, match=says):
        fit("model=linear", *overrides, *QUIET, data=frame)


PASSWORDS = {
    "a login": "dataset=csv dataset.path=postgresql://me:hunter22@host/db",
    "raw signs": "dataset=csv dataset.path='mysql://me:hunter22@/#@host/db'",
    "a signature": "dataset=parquet dataset.path='https://host/a.parquet?X-Amz-Signature=hunter22'",
    "a token": "dataset=hf dataset.path='https://host/a?token=hunter22'",
    "of no file": "dataset=wine tags=['http://me:hunter22@host']",
    "behind plusses": "dataset=csv ++dataset.path=ftp://me:hunter22@host/a.csv",
    "of the environment": "dataset=csv dataset.path=${oc.env:PLACE}",
    "of a sweep": "dataset=csv dataset.path=a.csv,postgresql://me:hunter22@host/db -m",
    "of a short word": "dataset=postgresql://me:hunter22@host/db",
}


@pytest.mark.parametrize("case", PASSWORDS)
def test_a_password_in_the_config_is_refused(case, monkeypatch):
    monkeypatch.setenv("PLACE", "postgresql://me:hunter22@host/db")
    words = [*PASSWORDS[case].split(), "model=linear", "dataset.target=y"]
    with pytest.raises(UserError) as refusal:
        check(spelled([word for word in words if word != "-m"]), "-m" in words)
    assert "hunter22" not in str(refusal.value)
    if case != "of a short word":  # it names no dataset
        key, _, says = str(refusal.value).partition(" holds a password, which the run would record: ")
        assert key in ("dataset.path", "tags") and says.startswith("leave it out")


@pytest.mark.parametrize("path", ["postgresql://me@host/db", "s3://bucket/a.csv", "a@b:c.csv", "C:/a.csv"])
def test_an_address_without_a_password_is_taken(path):
    words = ["dataset=csv", f"dataset.path='{path}'", "dataset.target=y"]
    assert check(words)[1]["dataset"]["path"] == path


# -- Hydra's flags


@pytest.fixture
def own_conf(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\n# Mine\nseed: 7\n")
    return tmp_path


@pytest.fixture
def no_own():
    yield
    tree.own.clear()


def test_config_dir_adds_groups(own_conf, no_own):
    tree.add_own(str(own_conf))
    assert "mine" in tree.choices("experiment") and compose(["dataset=wine", "experiment=mine"])["seed"] == 7
    (own_conf / "experiment/mine.yaml").write_text("# @package _global_\nsed: 7\n")
    with pytest.raises(UserError, match="experiment=mine with model=mlp: sed is unknown: did you mean seed"):
        compose(["experiment=mine"])


def test_a_password_in_a_yaml_of_the_user_is_refused(own_conf, no_own):
    (own_conf / "dataset").mkdir()
    content = "defaults: [_base, _self_]\nname: mine\nfunction: mine.read\ntarget: y\naddress: http://me:hunter22@h"
    (own_conf / "dataset/mine.yaml").write_text(content)
    tree.add_own(str(own_conf))
    with pytest.raises(UserError, match=r"dataset\.address holds a password"):
        compose(["dataset=mine"])


@pytest.mark.parametrize("file", ["train.yaml", "other.yaml", "model/mlp.yaml", "experiment/adult_f1.yaml"])
def test_a_yaml_that_hydra_would_leave_out_is_refused(own_conf, no_own, file):
    (own_conf / file).parent.mkdir(exist_ok=True)
    (own_conf / file).write_text("seed: 9\n")
    with pytest.raises(UserError, match=f"{file} would be left out, as (conf/{file} is|it is in no group)"):
        tree.add_own(str(own_conf))


def test_config_dir_in_the_shell(shell, outputs, own_conf):
    words = ("model=linear", "dataset=wine", "--config-dir", str(own_conf), "experiment=mine", *QUIET)
    done = shell("train", *words)
    assert done.returncode == 0 and runs().iloc[-1]["seed"] == 7, done.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--config-name", "other"), "--config-name is not for Reprise"),
        (("-cn=other",), "--config-name is not for Reprise"),
        (("--config-path", "/tmp"), "--config-dir DIR adds groups"),
        (("--experimental-rerun", "x.pickle"), "python -m src.replay"),
        (("--config-dir", "nowhere"), "no such folder"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
    ],
)
def test_flags_that_are_refused(monkeypatch, capsys, flags, says):
    monkeypatch.setattr("sys.argv", ["train", "model=linear", *flags, "dataset=wine"])
    try:
        arguments()
    except (UserError, SystemExit) as refusal:
        assert says in f"{refusal}{capsys.readouterr().err}"
    else:
        raise AssertionError("it passed")


def test_flags_stand_anywhere(monkeypatch):
    words = ["model=mlp", "-m", "dataset.target=größe", "--cfg", "job", "seed=1"]
    monkeypatch.setattr("sys.argv", ["train", *words])
    args = arguments()
    assert args.multirun and args.cfg == "job"
    assert sys.argv[1:] == ["-m", "--cfg", "job", "model=mlp", "dataset.target='größe'", "seed=1"]

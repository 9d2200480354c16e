"""Every yaml of conf/ shows its command, composes and names only what exists; wrong overrides are refused."""

import importlib
import inspect
import re
import shlex
import shutil
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from src.config.check import check
from src.config.compose import change, compose
from src.config.rules import RULES
from src.config.tree import CONF, choices, flat, get
from src.config.typed import spelled
from src.system.code import locate
from src.system.errors import UserError
from src.system.paths import CHECKOUT

FILES = sorted(CONF.rglob("*.yaml"))
# groups whose files set keys of the whole config
GLOBAL = ("model_dataset", "experiment", "debug", "sweep", "space")
REQUIRED = {  # datasets that need more overrides
    "fasta": ["dataset.path=my.fa"],
    "genome": ["dataset.path=my.fa", "dataset.bed=my.bed"],
    "hf": ["dataset.path=stanfordnlp/imdb"],
    "csv": ["dataset.path=my.csv", "dataset.target=y"],
    "parquet": ["dataset.path=my.parquet", "dataset.target=y"],
    "frame": ["dataset.target=y"],
}
PAIRS = [path.stem for path in (CONF / "model_dataset").glob("*.yaml")]


def name_of(path: Path) -> str:
    return path.relative_to(CONF).with_suffix("").as_posix()


def head(path: Path) -> list[str]:
    """Return the comment at the top of a yaml, without its hashes."""
    lines = path.read_text().splitlines()
    n = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line[1:].strip() for line in lines[:n]]


def values_of(path: Path) -> dict:
    """Return the keys that a yaml sets, without its defaults list."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    content.pop("defaults", None)
    return flat(content)


pytestmark = pytest.mark.usefixtures("compose_once")


def unchecked(*overrides: str) -> dict:
    """Return what Hydra composes, without our check."""
    with hydra.initialize_config_dir(str(CONF), version_base=None, job_name="train"):
        return OmegaConf.to_container(hydra.compose("train", overrides), resolve=True)


# -- files


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_yaml_opens_with_its_command(path):
    lines = head(path)
    if path.parent.name in GLOBAL:
        assert lines.pop(0) == "@package _global_"
    assert len(lines[0]) > 10
    if path.stem.startswith("_"):
        return  # part of others
    assert ("fit(" if path.stem == "frame" else "python -m src.") in " ".join(lines)
    if path.parent != CONF and path.parent.name != "model_dataset":
        assert path.stem in " ".join(lines) or path.stem in ("default", "frame")


COMMANDS = sorted({line for path in FILES for line in head(path) if "python -m src.train" in line})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_in_a_comment_composes(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my.csv", "my.parquet", "reads.fa.gz"):
        (tmp_path / name).touch()
    overrides = shlex.split(command.partition("python -m src.train")[2])
    flags = {"-m", "--multirun"} & set(overrides)
    multirun = bool(flags)
    n_jobs, _ = check(spelled([word for word in overrides if word not in flags], multirun), multirun)
    assert n_jobs > 1 if multirun else n_jobs == 1


@pytest.mark.parametrize("group", ["dataset", "model"])
def test_name_in_the_yaml_is_the_files_name(group):
    for name in choices(group):
        assert OmegaConf.load(CONF / group / f"{name}.yaml").name == name


def test_datasets_mirror_their_files():
    files = {path.stem for path in Path(CHECKOUT / "src/dataset").glob("*.py")} - {"__init__"}
    assert files == set(choices("dataset"))
    for name in files:
        module = importlib.import_module(f"src.dataset.{name}")
        assert list(inspect.signature(module.read).parameters) == ["cfg"]
        if hasattr(module, "etl"):
            assert list(inspect.signature(module.etl).parameters) == ["df"]


def test_head_of_the_url_datasets_names_a_checksum():
    for name in choices("dataset"):
        cfg = OmegaConf.load(CONF / f"dataset/{name}.yaml")
        if "url" in cfg:
            assert cfg.url.startswith("https://")
            sums = [cfg.checksum] if "checksum" in cfg else list(cfg.digests.values())
            for one in sums:
                assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|[0-9a-f]{16}", one)


@pytest.mark.parametrize("model", choices("model"))
def test_model_names_a_class_and_arguments_that_exist(model):
    cfg = unchecked(f"model={model}")["model"]
    for key in ("net", "optimizer", "classifier", "regressor"):
        if cfg.get(key):
            spec = dict(cfg[key])
            module, _, name = spec.pop("class").rpartition(".")
            cls = getattr(importlib.import_module(module), name)
            assert set(spec) <= set(inspect.signature(cls).parameters)
            if key == "net":
                of_mlp = spec.get("residual", False)  # resnet is an mlp with this option
                assert module == f"src.model.{'mlp' if of_mlp else model}"
                assert of_mlp or name.lower() == model.replace("_", "")


def test_every_net_has_its_yaml():
    nets = {path.stem for path in Path(CHECKOUT / "src/model").glob("*.py")}
    parts = {"embed", "flat", "numeric", "vectors"}
    assert nets - parts - {"__init__", "build", "estimator", "lit", "schedule", "words"} | {"resnet"} == {
        model for model in choices("model") if "net" in unchecked(f"model={model}")["model"]
    }


def test_trainer_options_are_lightnings_with_its_defaults():
    import lightning

    theirs = {name: word.default for name, word in inspect.signature(lightning.Trainer).parameters.items()}
    ours = values_of(CONF / "trainer/default.yaml")
    assert not set(ours) - set(theirs)
    changed = {key for key, value in ours.items() if value != theirs[key]}
    assert changed == {"max_epochs", "precision", "devices"}


def test_no_rule_for_a_key_that_is_not_there():
    models = ("mlp", "tabm", "transformer", "linear")
    known = {key for model in models for key in flat(unchecked(f"model={model}"))}
    for name in ("csv", "dna_sample", "fasta", "gb1", "genome", "hf"):
        known |= {f"dataset.{key}" for key in values_of(CONF / f"dataset/{name}.yaml")}
    known |= set(values_of(CONF / "sweep/_search.yaml"))
    known |= {f"cv.{key}" for name in ("_base", "repeated") for key in values_of(CONF / f"cv/{name}.yaml")}
    known |= {key.rpartition(".")[0] for key in known}
    assert not set(RULES) - known


SOURCE = "\n".join(path.read_text() for path in Path(CHECKOUT / "src").rglob("*.py"))


LISTS = {
    "dataset.task": "src.data.words.TASKS",
    "dataset.tokenizer": "src.data.words.TOKENIZERS",
    "model.scaler": "src.data.words.SCALERS",
    "model.schedule": "src.model.words.SCHEDULES",
    "model.progress": "src.trainer.watch.PROGRESS",
    "model.categories": "src.model.words.CATEGORIES",
}


@pytest.mark.parametrize("key", LISTS)
def test_a_word_added_to_its_list_is_allowed(key, monkeypatch):
    """The room that knows the words keeps the only list of them."""
    model = "model=linear" if key in ("model.progress", "model.categories") else "model=mlp"
    with pytest.raises(UserError, match=f"{key}=novel: should be "):
        check([model, f"{key}=novel"])
    overrides = locate(LISTS[key])
    longer = {**overrides, "novel": list} if isinstance(overrides, dict) else (*overrides, "novel")
    monkeypatch.setattr(LISTS[key], longer)
    check([model, f"{key}=novel"])


def test_every_key_is_read():
    groups = ("dataset", "model", "logger")
    files = [path for path in FILES if path.parent.name in groups or path.stem == "train"]
    keys = {key for path in files for key in values_of(path) if not key.startswith(("hydra.", "tfidf."))}
    names = {key.partition(".")[0] for key in keys}
    assert not {name for name in names if f'"{name}"' not in SOURCE}


# -- composing


def test_every_model_and_every_dataset_compose():
    """Each with two of the other: what is special to a pair has a file, tested below."""
    embedded = [name for name in choices("dataset") if name not in REQUIRED]
    models, datasets = f"model={','.join(choices('model'))}", f"dataset={','.join(embedded)}"
    n_jobs, _ = check([models, "dataset=wine,text_sample"], multirun=True)
    n_jobs += check(["model=mlp,linear", datasets], multirun=True)[0]
    for name, overrides in REQUIRED.items():
        n_jobs += check(["model=mlp,linear", f"dataset={name}", *overrides], multirun=True)[0]
    assert n_jobs == 2 * (len(choices("model")) + len(choices("dataset")))


@pytest.mark.parametrize("pair", PAIRS)
def test_pair_holds_only_what_differs(pair):
    model, dataset = next((m, d) for m in choices("model") for d in choices("dataset") if f"{m}_{d}" == pair)
    overrides = [f"model={model}", f"dataset={dataset}"]
    tuned = flat(unchecked(*overrides))
    plain = flat(unchecked(*overrides, "~model_dataset"))
    assert set(tuned) == set(plain)  # no key that is not in the yamls of the two
    ours = values_of(CONF / f"model_dataset/{pair}.yaml")
    assert {key: tuned[key] for key in ours} == ours
    assert not {key: value for key, value in ours.items() if plain[key] == value}


@pytest.mark.parametrize("group", ["experiment", "debug"])
def test_whole_settings_compose(group):
    plain = flat(unchecked())
    for name in choices(group):
        values = values_of(CONF / group / f"{name}.yaml")
        composed = flat(compose([f"{group}={name}"]))
        assert {key: composed[key] for key in values} == values
        assert not {key for key in values if key not in plain and key not in RULES}


def test_debug_takes_both_families():
    presets = ",".join(set(choices("debug")) - {"overfit"})
    n_jobs, _ = check([f"debug={presets}", "model=cnn,linear"], multirun=True)
    assert n_jobs == (len(choices("debug")) - 1) * 2
    assert check(["debug=overfit", "model=cnn"])[0] == 1
    with pytest.raises(UserError, match=r"debug=overfit with model=linear: model\.net\.dropout is unknown"):
        check(["debug=overfit", "model=linear"])


def test_overrides_win_over_a_tuned_pair_and_an_experiment():
    assert compose(["model=mlp", "dataset=sst2"])["model"]["lr"] == 2e-3
    assert compose(["model=mlp", "dataset=sst2", "model.lr=0.5"])["model"]["lr"] == 0.5
    cfg = compose(["experiment=adult_f1", "metric=auroc"])
    assert (cfg["dataset"]["name"], cfg["class_weight"], cfg["metric"]) == ("adult", "balanced", "auroc")


def test_composing_claims_nothing(outputs):
    compose(["dataset=wine"])
    with pytest.raises(UserError):
        compose(["model.lrr=1"])
    assert not list(outputs.iterdir())


# -- what is refused

REFUSED = [
    # unknown keys, also where Hydra lets them through
    ("model.lrr=1", r"model\.lrr is unknown: did you mean model\.lr\?"),
    ("+model.lrr=1", r"model\.lrr is unknown: did you mean model\.lr\?"),
    ("++model.lrr=1", r"model\.lrr is unknown: did you mean model\.lr\?"),
    ("++trainer.max_epoch=3", r"trainer\.max_epoch is unknown: did you mean trainer\.max_epochs\?"),
    ("+trainer.callbacks=[]", r"trainer\.callbacks is unknown"),
    ("lr=3", r"lr is unknown: did you mean model\.lr\?"),
    ("max_epochs=3", r"did you mean trainer\.max_epochs\?"),
    ("modl=mlp", r"modl is unknown: did you mean model\?"),
    ("+foo=1", "foo is unknown"),
    ("dataset.args={a:1}", r"dataset\.args\.a is not in the yaml.*; to add it, write \+dataset\.args={a:1}"),
    ("model.net.d_hiden=3", r"model\.net\.d_hiden is not in the yaml: did you mean model\.net\.d_hidden\?"),
    ("+model.net.d_hiden=3", r"d_hiden: did you mean d_hidden\?"),
    ("model=linear +model.classifier.c=1", "LogisticRegression takes no c"),
    ("model=linear model.net.d_hidden=3", r"model\.net\.d_hidden is unknown"),
    ("model=linear +model.net.d_hidden=3", r"model\.net\.d_hidden is unknown"),
    ("+model.optimizer.lr=1", r"model\.optimizer\.lr: Reprise sets lr itself"),
    ("model.optimizer.betas=[0.9,0.99]", r"write \+model\.optimizer\.betas="),
    # wrong types
    ("model.lr=abc", r"model\.lr=abc: should be a number"),
    ("++model.lr=abc", r"model\.lr=abc: should be a number"),
    ("model.lr=true", "should be a number"),
    ("model.lr=null", "should be a number"),
    ("seed=1.5", "seed=1.5: should be a whole number"),
    ("model.batch_size=2.5", "should be a whole number"),
    ("tags=x", r"tags=x: should be a list"),
    ("model.compile=1", "should be true or false"),
    ("dataset.lower=no", "should be true or false"),
    ("dataset.numeric=a", "should be a list or null"),
    ("model.net=null", r"model\.net=null"),
    ("model.net.d_hidden=abc", "should be a whole number, at least 1 or null"),
    ("model.net.class=3", r"model\.net\.class=3: should be the dotted name of a class"),
    ("model.net.class=src.model.mlp.MPL", "cannot be imported: .* has no attribute 'MPL'"),
    # impossible values
    ("model.lr=-1", r"model\.lr=-1: should be a number, at least 0"),
    ("++model.lr=-1", "at least 0"),
    ("model.lr=nan", "model.lr=nan: should be finite"),
    ("model.lr=inf", "should be finite"),
    ("seed=-1", "seed=-1: should be a whole number between 0 and 2147483647"),
    ("model.batch_size=0", "at least 1"),
    ("dataset.val_size=1.5", "a number above 0 and below 1"),
    ("trainer.max_epochs=0", "at least 1"),
    # words of a closed list
    ("model=mpl", r"model=mpl is unknown: did you mean mlp\?; there are: .*gradient_boosting, hist_gb"),
    ("+model=mpl", r"model=mpl is unknown: did you mean mlp\?"),
    ("++dataset=sst", r"did you mean sst2\?"),
    ("dataset=_base", "dataset=_base is unknown"),
    ("logger=mlfow", r"did you mean mlflow\?"),
    ("experiment=adult_f", r"did you mean adult_f1\?"),
    ("model=[mlp]", "model="),
    ("model=null", "model"),
    ("dataset=null", "dataset"),
    ("logger=null", "logger"),
    ("hydra/launcher=jobli", "jobli"),
    ("metric=acuracy", r"metric=acuracy is unknown: did you mean accuracy\?"),
    ("metric=rmse", "not a metric of a classification task"),
    ("metric=my.module.fn", "metric_mode=max or metric_mode=min"),
    ("metric=f1 metric_mode=up", "should be min, max or null"),
    ("class_weight=balancd", "should be a dict or balanced or null"),
    ("model.schedule=cosin", r"did you mean cosine\?"),
    ("model.scaler=quantle", r"did you mean quantile\?"),
    ("dataset.tokenizer=words", r"did you mean word\?"),
    ("dataset.task=regresion", r"did you mean regression\?"),
    ("trainer.precision=bf", "should be 64-true, 32-true"),
    # what is missing, or is no override
    ("dataset=csv", r"dataset\.(path|target) is required.*conf/dataset/csv\.yaml"),
    ("dataset=csv dataset.path=my.csv", r"dataset\.target is required.*conf/dataset/csv\.yaml"),
    ("dataset=csv dataset.target=y", r"dataset\.path is required"),
    ("seed=0,1", r"seed=0,1 names several values: add --multirun"),
    ("model=mlp,cnn", "names several values: add --multirun"),
    ("hello", "'hello' is not an override.*write key=value"),
    ("~model.lr", "keys are not removed"),
    ("+model@other=mlp", "a group has one place; write model=... without @"),
    # of the other family
    ("model=mlp +model.classifier.C=1", "model.classifier.C is unknown: model=mlp has no model.classifier"),
    ("model=mlp model.classifier={C:1}", "model.classifier is unknown: model=mlp has no model.classifier"),
    ("model=mlp ++model.regressor={class:sklearn.linear_model.Ridge}", "model=mlp has no model.regressor"),
    ("model=mlp +model.arguments.n_jobs=1", "model=mlp has no model.arguments"),
    ("model=mlp +model.tfidf.min_df=2", "model=mlp has no model.tfidf"),
    ("model=mlp +model.progress=once", "model.progress is unknown"),
    ("model=linear +model.net.x=1", "model.net.x is unknown: model=linear has no model.net"),
    ("model=linear model.net={d_hidden:3}", "model=linear has no model.net"),
    ("model=linear +model.optimizer.betas=[0.9,0.9]", "model=linear has no model.optimizer"),
    ("model=linear ++model.lit=null", "model.lit is unknown"),
    # names
    ("tags=[[a]]", "tags=.*: should be a list of text without control characters"),
    ("tags=[null]", "a list of text without"),
    ("tags=['\x1b[31m']", r"tags=\['\\x1b\[31m'\]: should be a list of text without control characters"),
    ("logger.project='a\u202eb'", r"logger.project='a\\u202eb': should be text without control characters"),
    ("logger.project=''", "text without control characters"),
    ("model.net.n_layers=1000000", "should be a whole number between 0 and 10000"),
]


@pytest.mark.parametrize("overrides,says", REFUSED, ids=[overrides for overrides, _ in REFUSED])
def test_refused_in_one_sentence(overrides, says):
    with pytest.raises(UserError, match=says) as refusal:
        check(overrides.split())
    assert "\n" not in str(refusal.value)


PRESETS = [
    ("model: {classifier: {C: 1}}", "model=mlp", "x with model=mlp: model.classifier.C is unknown"),
    ("model: {net: {d_hidden: 8}}", "model=linear", "x with model=linear: model.net.d_hidden is unknown"),
    ("model: {net: {d_hiden: 8}}", "model=mlp", "takes no d_hiden: did you mean d_hidden"),
    ("sed: 1", "model=mlp", "x with model=mlp: sed is unknown: did you mean seed"),
    ("seed: abc", "model=mlp", "x with model=mlp: seed=abc: should be a whole number"),
    ("model: {lr: -1}", "model=mlp", "model.lr=-1: should be a number, at least 0"),
    ("seed: ${oc.env:SEED}", "model=mlp", r"seed=\$\{oc.env:SEED\}, which is 'x': should be a whole number"),
    ("defaults: [override /model: linear]\nmodel: {lr: 1}", "seed=1", "model=linear: model.lr is unknown"),
]


@pytest.mark.parametrize("group", ["experiment", "debug"])
@pytest.mark.parametrize(("content", "model", "says"), PRESETS)
def test_file_of_an_experiment_is_checked_as_typed(tmp_path, monkeypatch, group, content, model, says):
    shutil.copytree(CONF, tmp_path / "conf")
    name = f"{PRESETS.index((content, model, says))}_{group}_x"  # composed sets of overrides are kept
    (tmp_path / f"conf/{group}/{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    monkeypatch.setattr("src.config.tree.CONF", tmp_path / "conf")
    monkeypatch.setenv("SEED", "x")
    with pytest.raises(UserError, match=says):
        check([f"{group}={name}", model])


def test_preset_leaves_required_keys_to_the_command():
    overrides = ["debug=fast", "model=linear", "dataset=csv", "dataset.path=my.csv", "dataset.target=y"]
    assert compose(overrides)["dataset"]["max_rows"] == 512


# -- interpolations

BEHIND = [  # value of the environment, the override, and the value of its key
    ("7", "seed=${oc.env:V}", 7),
    ("1e-3", "model.lr=${oc.env:V}", 1e-3),
    ("null", "model.ema=${oc.env:V}", None),
    ("false", "model.compile=${oc.env:V}", False),
    ("[2,3]", "model.net.widths=${oc.env:V}", [2, 3]),
    ("2", "model.net.widths=[${oc.env:V},3]", [2, 3]),
    ("f1", "metric=${oc.env:V}", "f1"),
    ("a, b.csv", "+dataset.args={path: ${oc.env:V}}", {"path": "a, b.csv"}),
    ("1,2", "+dataset.args.path=${oc.env:V}", "1,2"),
    ("x", "seed=${oc.env:NOT_SET,3}", 3),
    ("x", "seed=${trainer.max_epochs}", 100),
    ("64", "model.net={n_filters: ${oc.env:V}}", None),
    ("0.5", "++model.net.word_dropout=${oc.env:V}", 0.5),
]
REFUSED_BEHIND = [
    ("abc", "seed=${oc.env:V}", r"seed=\$\{oc.env:V\}, which is 'abc': should be a whole number between 0"),
    ("1.5", "seed=${oc.env:V}", "which is 1.5: should be a whole number"),
    ("-1", "model.lr=${oc.env:V}", "which is -1: should be a number, at least 0"),
    ("inf", "model.lr=${oc.env:V}", "should be finite"),
    ("${oc.env:LR}", "model.lr=${oc.env:V}", "should be a number"),
    ("0", "model.net.n_filters=${oc.env:V}", "should be a whole number, at least 1"),
    ("abc", "model.net={n_filters: ${oc.env:V}}", r"model.net.n_filters=.* 'abc': should be a whole number"),
    ("a", "model.net.widths=[${oc.env:V},3]", "should be a list like"),
    ("cosin", "model.schedule=${oc.env:V}", r"did you mean cosine\?"),
    ("acuracy", "metric=${oc.env:V}", r"metric=acuracy is unknown: did you mean accuracy\?"),
    ("rmse", "metric=${oc.env:V}", "not a metric of a classification task"),
    ("no.such.Net", "model.net.class=${oc.env:V}", "no.such.Net cannot be imported"),
    ("-1", "class_weight={yes: ${oc.env:V}}", "class_weight.yes=.*: should be a number, at least 0"),
    ("a\x1b[31m", "tags=[${oc.env:V}]", "text without control characters"),
    ("x", "seed=${oc.env:NOT_SET}", r"seed=\$\{oc.env:NOT_SET\}: Environment variable 'NOT_SET' not found"),
    ("x", "seed=${no.such.key}", "Interpolation key 'no.such.key' not found"),
    ("x", "seed=${seed}", "Recursive interpolation"),
]


@pytest.mark.parametrize(("value", "override", "result"), BEHIND)
def test_value_behind_an_interpolation_is_read_as_if_it_was_typed(monkeypatch, value, override, result):
    monkeypatch.setenv("V", value)
    found, exists = get(compose(["model=cnn", override]), override.partition("=")[0].lstrip("+"))
    if isinstance(found, dict) and result is None:
        found, result = found["n_filters"], int(value)
    assert exists and type(found) is type(result) and found == result


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize(("value", "override", "says"), REFUSED_BEHIND)
def test_wrong_value_behind_an_interpolation_is_one_sentence(monkeypatch, value, override, says, multirun):
    monkeypatch.setenv("V", value)
    rest = ["model=cnn", "dataset=wine", *(["model.patience=1,2"] if multirun else [])]
    with pytest.raises(UserError, match=says) as refusal:
        check([*rest, override], multirun)
    assert "\n" not in str(refusal.value) and "\x1b" not in str(refusal.value)


def test_each_job_of_a_multirun_is_checked_with_its_own_values(monkeypatch):
    assert check(["seed=1,2", "model.patience=${seed}"], multirun=True)[0] == 2
    with pytest.raises(UserError, match=r"patience=\$\{seed\}, which is 0: should be a whole number"):
        check(["seed=1,2,0", "model.patience=${seed}"], multirun=True)
    check(["seed=${hydra:job.num},5", "model=mlp,linear"], multirun=True)  # only the job knows it


def test_config_of_the_first_job_is_returned():
    _, first = check(["seed=3,4", "logger.mlflow=false", "model=linear,mlp"], multirun=True)
    assert (first["seed"], first["logger"]["mlflow"], first["model"]["name"]) == (3, False, "linear")


@pytest.mark.parametrize(("value", "seed"), [("5", 5), ("x", None)])
def test_interpolation_in_a_change_of_a_recorded_config(monkeypatch, value, seed):
    monkeypatch.setenv("V", value)
    config = compose(["dataset=wine"]) | {"tags": ["${oc.env:HOME}"]}  # recorded text stays as it is
    if seed is None:
        with pytest.raises(UserError, match="which is 'x': should be a whole number"):
            change(config, ["seed=${oc.env:V}"])
    else:
        assert change(config, ["seed=${oc.env:V}"]) == config | {"seed": seed}


@pytest.mark.parametrize(
    "overrides",
    [
        ["+model.optimizer.betas=[0.9,0.99]"],
        ["model=linear", "+model.classifier.solver=saga"],
        ["model=random_forest", "model.classifier.max_features=0.5"],
        ["+class_weight.yes=2"],
        ["class_weight={yes: 2}"],
        ["metric=f1", "class_weight=balanced"],
        ["metric=my.module.fn", "metric_mode=max"],
        ["model.lr=${oc.env:LR,0.1}"],
        ["trainer.fast_dev_run=3", "trainer.devices=2"],
        ["model.lr=1", "model.ema=null"],
        ["dataset=csv", "dataset.path=a.csv", "dataset.target=3"],
    ],
    ids=" ".join,
)
def test_allowed(overrides):
    compose(overrides)


@pytest.mark.parametrize(
    "overrides,n_jobs",
    [
        ("seed=0,1", 2),
        ("seed=range(3) model=mlp,linear dataset=wine,iris", 12),
        ("model=choice(mlp,cnn)", 2),
        ("hydra/launcher=joblib seed=0,1 hydra.launcher.n_jobs=2", 2),
        ("class_weight=null,balanced", 2),
        ("tags=[a],[b]", 2),
    ],
)
def test_jobs_of_a_multirun(overrides, n_jobs):
    assert check(overrides.split(), multirun=True)[0] == n_jobs


@pytest.mark.parametrize(
    "overrides,says",
    [
        ("seed=0,1,abc", "seed=abc: should be a whole number"),
        ("++model.lr=0.1,-1", "at least 0"),
        ("model=mlp,hist_g", r"did you mean hist_gb\?"),
        ("model=mlp,hist_gb model.net.d_hidden=3", r"model\.net\.d_hidden"),
        ("dataset=wine,diabetes metric=f1", "not a metric of a regression task"),
        ("dataset=wine,csv", "is required"),
        ("metric=acuracy,f1", r"did you mean accuracy\?"),
        ("model.lrr=1,2", r"did you mean model\.lr\?"),
        ("model.lr=interval(0,1)", r"model\.lr=interval\(0,1\)"),
        ("model=glob(m*)", r"model=glob\(m\*\)"),
    ],
)
def test_every_job_of_a_multirun_is_checked_before_the_first(overrides, says):
    with pytest.raises(UserError, match=says):
        check(overrides.split(), multirun=True)

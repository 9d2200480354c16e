"""From words to a config: composes, and says what is wrong with the words before anything heavy is imported."""

import difflib
import logging
import os
import sys
from itertools import islice, product
from pathlib import Path

from omegaconf import OmegaConf

from src import storage
from src.storage import UserError

CONF = storage.CHECKOUT / "conf"
GROUPS = ("dataset", "model", "trainer", "logger", "experiment")
# keys under which an argument may be added that the yaml does not name: +model.net.d_new=3
OPEN = ("model.net.", "model.optimizer.", "model.classifier.", "model.regressor.", "model.tfidf.", "class_weight.", "hydra.")
NUMBER, TEXT, NAMES = (int, float), (str,), (list,)
# key -> what its value may be (null where None is listed), lowest, highest; other keys keep the type of their default
RULES = {
    "seed": ((int,), 0, 2**31),
    "metric": ((str, None), None, None),
    "metric_mode": ((str, None), None, None),
    "class_weight": ((str, dict, None), None, None),
    "dataset.positive": ((str, int, float, bool, None), None, None),
    "dataset.task": ((str, None), None, None),
    **{f"dataset.{role}": ((list, None), None, None) for role in ("numeric", "categorical", "text", "ignore")},
    **{f"dataset.{key}": ((str, None), None, None) for key in ("id", "weight", "split", "group")},
    "dataset.target": ((str, list), None, None),
    "dataset.test_size": (NUMBER, 0, 1),
    "dataset.val_size": (NUMBER, 0, 1),
    "dataset.split_seed": ((int,), 0, 2**31),
    "dataset.min_count": ((int,), 1, None),
    "dataset.max_vocab": ((int,), 1, None),
    "dataset.max_len": ((int,), 1, None),
    "model.batch_size": ((int,), 1, None),
    "model.lr": (NUMBER, 0, None),
    "model.weight_decay": (NUMBER, 0, None),
    "model.warmup": (NUMBER, 0, 1),
    "model.label_smoothing": (NUMBER, 0, 1),
    "model.ema": ((int, float, None), 0, 1),
    "model.patience": ((int, None), 1, None),
    "model.classifier": ((dict, None), None, None),
    "model.regressor": ((dict, None), None, None),
    "model.tfidf.max_features": ((int, None), 1, None),
    "trainer.max_epochs": ((int, None), 1, None),
    "trainer.min_epochs": ((int, None), 1, None),
    "trainer.max_steps": ((int,), -1, None),
    "trainer.min_steps": ((int, None), 1, None),
    "trainer.max_time": ((str, dict, None), None, None),
    "trainer.devices": ((int, str, list), None, None),
    "trainer.num_nodes": ((int,), 1, None),
    "trainer.precision": ((int, str), None, None),
    "trainer.gradient_clip_val": ((int, float, None), 0, None),
    "trainer.gradient_clip_algorithm": ((str, None), None, None),
    "trainer.accumulate_grad_batches": ((int,), 1, None),
    "trainer.fast_dev_run": ((bool, int), None, None),
    "trainer.limit_train_batches": ((int, float, None), 0, None),
    "trainer.limit_val_batches": ((int, float, None), 0, None),
    "trainer.overfit_batches": (NUMBER, 0, None),
    "trainer.deterministic": ((bool, str, None), None, None),
    "trainer.benchmark": ((bool, None), None, None),
    "trainer.profiler": ((str, None), None, None),
}

OmegaConf.register_new_resolver(
    "claim_run", lambda: str(storage.claim(storage.outputs() / "runs", "t")), replace=True, use_cache=False
)
OmegaConf.register_new_resolver("sweep_dir", lambda: os.environ.get("REPRISE_SWEEP_DIR", "none"), replace=True)


def compose(words) -> dict:
    """The resolved config of one run, as a plain dict; ``words`` as in the shell: ["model=mlp", "seed=1"]."""
    jobs = check(list(words))
    if len(jobs) > 1:
        raise UserError("these words name several runs; fit takes one")
    return jobs[0]


def check(words: list[str], multirun: bool = False) -> list[dict]:
    """The config of every job that ``words`` name, each checked.

    Raises
    ------
    UserError
        saying what is wrong, where, and the nearest right name.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    jobs = _jobs(words, multirun)
    bases: dict[tuple, dict] = {}
    configs = []
    with initialize_config_dir(str(CONF), version_base=None, job_name="check"):
        for job in jobs:
            groups = tuple(word for word in job if _group(word))
            try:
                if groups not in bases:
                    bases[groups] = _plain(compose("train", list(groups)), missing_ok=True)
                for word in job:
                    if word not in groups:
                        _check_word(word, bases[groups])
                configs.append(_plain(compose("train", job)))
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(" ".join(str(error).split())) from None
    for config in configs:
        check_values(config)
    return configs


def check_values(config: dict) -> None:
    """Types and ranges of all values that have a rule, and the missing ones."""
    for key, value in _leaves(config):
        if value == "???":
            raise UserError(f"{key} is required: say {key}=...{_hint(config, key)}")
        if key in RULES:
            types, low, high = RULES[key]
            if not _is_one_of(value, types):
                raise UserError(f"{key}={value} should be {_names(types)}")
            if isinstance(value, int | float) and not isinstance(value, bool):
                if low is not None and value < low or high is not None and value > high:
                    limits = f"at least {low}" if high is None else f"between {low} and {high}"
                    raise UserError(f"{key}={value} is impossible: it should be {limits}")


def _jobs(words, multirun) -> list[list[str]]:
    """The words of every job, sweeps multiplied out as Hydra does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    alternatives = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise UserError(f"{word!r} is not an override: {str(error).splitlines()[0]}; write key=value") from None
        name = override.key_or_group
        if override.is_sweep_override():
            if not multirun:
                raise UserError(f"{word} names several values: add --multirun")
            alternatives.append([f"{override.input_line.partition('=')[0]}={value}" for value in override.sweep_string_iterator()])
        else:
            alternatives.append([word])
        if name in GROUPS:
            for alternative in alternatives[-1]:
                _check_choice(name, alternative.partition("=")[2])
    return [list(job) for job in islice(product(*alternatives), 10_000)]


def _group(word: str) -> bool:
    name = word.lstrip("+~").partition("=")[0].partition("@")[0]
    return name in GROUPS or name.startswith("hydra/")


def _check_choice(group: str, choice: str) -> None:
    if choice in ("null", ""):
        return
    known = choices(group)
    if choice not in known:
        raise UserError(f"{group}={choice} is unknown{_nearest(choice, known)}; there are: {', '.join(known)}")


def choices(group: str) -> list[str]:
    """The names that ``group=`` takes."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


def _check_word(word: str, base: dict) -> None:
    """Whether the key of ``word`` exists, and its value is of the default's type."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(word)
    key = override.key_or_group
    if override.is_delete():
        raise UserError(f"{word}: keys are not removed, set them to null")
    if key.startswith("hydra."):
        return
    default, exists = _get(base, key)
    if not exists:
        added = override.is_add() or override.is_force_add()
        if key.startswith(OPEN):
            if added:
                return
            raise UserError(f"{key} is not in the yaml{_nearest(key, _keys(base))}; if its class takes it, add it: +{word}")
        raise UserError(f"{key} is unknown{_nearest(key, _keys(base))}")
    if key not in RULES and default is not None and default != "???":
        value = override.value()
        types = NUMBER if isinstance(default, int | float) and not isinstance(default, bool) else (type(default),)
        if isinstance(default, int) and not isinstance(default, bool) and not key.startswith(OPEN):
            types = (int,)
        if isinstance(value, str) and value.startswith("${"):
            return
        if value is None and key.startswith(OPEN):
            return
        if not _is_one_of(value, types):
            raise UserError(f"{word} should be {_names(types)}, as its default {default}")


def _get(config: dict, key: str):
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return None, False
        config = config[name]
    return config, True


def _keys(config: dict) -> list[str]:
    return [key for key, _ in _leaves(config)]


def _leaves(config: dict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}", value


def _nearest(word: str, known) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    tails = difflib.get_close_matches(word.rpartition(".")[2], [key.rpartition(".")[2] for key in known], n=1, cutoff=0.7)
    if tails and not near:
        near = [key for key in known if key.rpartition(".")[2] == tails[0]][:1]
    return f": did you mean {near[0]}?" if near else ""


def _hint(config: dict, key: str) -> str:
    name = config.get("dataset", {}).get("name")
    return f" (as in the comment at the head of conf/dataset/{name}.yaml)" if key.startswith("dataset.") else ""


def _is_one_of(value, types) -> bool:
    if value is None:
        return None in types
    plain = tuple(t for t in types if t is not None)
    if isinstance(value, bool):
        return bool in plain
    return isinstance(value, (*plain, int) if float in plain else plain)


def _names(types) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list: "a list", dict: "a dict", None: "null"}
    wanted = [names[t] for t in types if not (t is int and float in types)]
    return " or ".join(wanted)


def _plain(config, missing_ok: bool = False) -> dict:
    return OmegaConf.to_container(config, resolve=not missing_ok, throw_on_missing=False)


def help_text() -> str:
    """Groups and their choices, one line each, from the comments at the heads of the yaml files."""
    lines = ["Train one model on one dataset, or many with --multirun.", ""]
    lines += ["  python -m src.train model=mlp dataset=sst2", "  python -m src.train --multirun model=mlp,hist_gb seed=0,1", ""]
    for group in GROUPS:
        lines.append(f"{group}=")
        lines += [f"  {name:20} {_headline(CONF / group / f'{name}.yaml')}" for name in choices(group)]
        lines.append("")
    lines.append("and any value of the config (--cfg job prints it):")
    own = [line for line in (CONF / "train.yaml").read_text().splitlines() if line[:1].isalpha() and "#" in line]
    lines += [f"  {line}" for line in own]
    return "\n".join([*lines, "", "Flags of Hydra: --multirun (-m), --cfg job, --resolve; hydra/launcher=joblib runs jobs side by side."])


def _headline(path: Path) -> str:
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next(line for line in lines if not line.startswith("@package"))


def verb(name: str, words: list[str]) -> dict:
    """The words of a small verb: ``conf/<name>.yaml`` with ``words`` over it; prints the yaml for --help."""
    path = CONF / f"{name}.yaml"
    if {"-h", "--help"} & set(words):
        print(path.read_text().strip())
        sys.exit(0)
    config = OmegaConf.to_container(OmegaConf.load(path))
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in config:
            raise UserError(f"{word!r}: write key=value, with a key of {', '.join(config)}{_nearest(key, list(config))}")
        config[key] = OmegaConf.to_container(OmegaConf.create(f"{{value: {value}}}"))["value"]
    for key, value in config.items():
        if value == "???":
            raise UserError(f"{key} is required: python -m src.{name} {key}=...")
    return config


def log_to_console() -> None:
    """Show the project's messages, once, without decoration."""
    log = logging.getLogger("reprise")
    if not any(isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout for handler in log.handlers
               if not isinstance(handler, logging.FileHandler)):  # fmt: skip
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def run_verb(main) -> None:
    """Call ``main``; a `UserError` is one sentence on stderr and exit code 1, Ctrl-C is exit code 130."""
    log_to_console()
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

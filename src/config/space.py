"""The space of a search, in Hydra's words: choices, ranges and intervals of values for keys."""

import math
from collections.abc import Iterable

from hydra.core.override_parser.types import IntervalSweep, QuotedString
from omegaconf import OmegaConf

from src.config.tree import addable, choices, hydra_compose, parse, written
from src.metric.words import check_name
from src.system.errors import UserError

SAMPLERS = ("tpe", "cmaes", "qmc", "nsga2", "random")
PRUNERS = ("median", "hyperband")
SECONDS = "seconds"  # of the fit: an objective that no model logs


def is_search(section: dict | None) -> bool:
    """Return whether the section ``sweep`` of a config is that of a search, not of a grid."""
    return "sampler" in (section or {})


def space(params: dict, overrides: Iterable[str], task: str | None = None) -> tuple[dict, list[str]]:
    """Return ({key: `dimension`}, the overrides that each job has).

    params : of a ready space; an override of the same key counts instead
    task : of the data; keys of the estimator for the other one would change nothing, and are left out
    """
    other = task and f"model.{'classifier' if task == 'regression' else 'regressor'}."
    typed = {parse(text).key_or_group: text for text in overrides}
    used = [key for key in params if key not in typed and not (other and key.startswith(other))]
    ready, found, fixed = {key: addable(f"{key}={params[key]}") for key in used}, {}, []
    for text in [*ready.values(), *typed.values()]:
        override = parse(text)
        if override.is_sweep_override():
            found[override.key_or_group] = dimension(override) | {"key": override.get_key_element()}
        else:
            fixed.append(text)
    if not found:
        raise UserError(f"the space has only keys of {other[:-1]}, which a {task} task does not use")
    return found, fixed


def of_models(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each model in ``sweep.models={mlp:{model.lr:[1e-3,1e-2]},linear:{}}``."""
    typed = {parse(text).key_or_group: text for text in overrides}
    given = typed.pop("sweep.models", None)
    if given is None:
        return []
    if typed.pop("sweep", None) != "sweep=models":
        raise UserError(f"{given} is for sweep=models: add it")
    models, grids = parse(given).value(), []
    for name, values in models.items() if isinstance(models, dict) else ():
        if not isinstance(values, dict):
            raise UserError(f"{given}: write {{{name}: {{key: value}}}}, {{}} for the defaults of {name}")
        lists = {key: one if isinstance(one, list) and one else [one] for key, one in values.items()}
        own = [addable(f"{key}={','.join(written(x, key) for x in one)}") for key, one in lists.items()]
        grids.append([f"model={name}", *own, *typed.values()])
    if not grids or "model" in typed:
        typed = typed.get("model", given)
        raise UserError(f"{typed}: write the models as sweep.models={{mlp:{{}},knn:{{}}}}, and no model=...")
    return grids


def dimension(override) -> dict:
    """Return the values that an override offers: {"texts", "values"} of a choice, else {"low", "high", ...}.

    A range has a "step", an interval may have "log"; "ends" are the texts that stand for all of them.

    >>> dimension(parse("model.lr=tag(log,interval(1e-4,1e-1))"))
    {'low': 0.0001, 'high': 0.1, 'log': True, 'whole': False, 'ends': ['0.0001', '0.1']}
    """
    value, typed = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        return _interval(value, typed)
    if getattr(value, "shuffle", False):
        raise UserError(f"{typed}: the order does not matter in a search, leave shuffle out")
    texts = list(override.sweep_string_iterator())
    if not texts:
        raise UserError(f"{typed} holds no value")
    if len(set(texts)) < len(texts):
        raise UserError(f"{typed} holds a value twice")
    values = [one.text if isinstance(one, QuotedString) else one for one in override.sweep_iterator()]
    if override.is_range_sweep() and len(texts) > 1:
        low, high = sorted((values[0], values[-1]))
        whole = all(type(one) is int for one in values)
        step = abs(values[1] - values[0])
        return {"low": low, "high": high, "step": step, "whole": whole, "ends": [texts[0], texts[-1]]}
    plain = all(isinstance(one, str | int | float | None) for one in values)
    return {"texts": texts, "values": values if plain else texts, "ends": texts}


def _interval(value: IntervalSweep, typed: str) -> dict:
    """Return an interval; its ends are whole numbers if int(...) or tag(int, ...) says so."""
    low, high, log = value.start, value.end, "log" in value.tags
    unknown = sorted(value.tags - {"log", "int"})
    if unknown:
        raise UserError(f"{typed}: tag {unknown[0]} is unknown; known: log, int")
    whole = "int" in value.tags or (type(low) is int and type(high) is int)
    if not low < high:
        raise UserError(f"{typed} holds no value: the first end should be below the second")
    if log and low <= 0:
        raise UserError(f"{typed}: with log the first end should be above 0")
    if whole:
        if low != int(low) or high != int(high):
            raise UserError(f"{typed}: with int both ends should be whole numbers")
        low, high = int(low), int(high)
    return {"low": low, "high": high, "log": log, "whole": whole, "ends": [repr(low), repr(high)]}


def searcher(parsed: list) -> tuple[dict | None, dict]:
    """Return the section ``sweep`` of the config, null without a searcher, and the ready space."""
    for one in parsed:
        if one.key_or_group.partition(".")[0] in ("sweep", "space") and one.is_sweep_override():
            raise UserError(f"{one.input_line}: a sweep has one searcher and one space")
    typed = {one.key_or_group: one for one in parsed}
    chosen = [typed[key] for key in ("sweep", "space") if key in typed]
    if not chosen or any(one.value() not in choices(one.key_or_group) for one in chosen):
        return None, {}  # an unknown one is refused with all other overrides
    with hydra_compose() as compose:
        cfg = compose("train", [one.input_line for one in chosen], return_hydra_config=True)
    section = OmegaConf.to_container(cfg.sweep) if "sweep" in cfg else None
    for key in section or ():
        section[key] = typed[f"sweep.{key}"].value() if f"sweep.{key}" in typed else section[key]
    return section, dict(cfg.hydra.sweeper.get("params") or {})


def check_search(section: dict, params: dict, overrides: list, multirun: bool) -> None:
    """Refuse what no searcher can do; ``overrides`` are parsed, ``params`` those of a ready space."""
    if params and not is_search(section):
        raise UserError("space=... is for a search: add sweep=optuna, or sweep=random")
    typed = {one.key_or_group: one.input_line for one in overrides}
    options = [typed[key] for key in typed if key.startswith("sweep.")]
    if options and (section == {} or (section is None and "sweep" not in typed)):
        raise UserError(f"{options[0]} is for a search: add sweep=optuna")
    if section is not None and not multirun:
        raise UserError("sweep=... is for several runs: add --multirun")
    if not is_search(section):
        return
    swept = {one.key_or_group: one.input_line for one in overrides if one.is_sweep_override()}
    for key in {"dataset", "dataset.path", "metric", "metric_mode", "cv.outer"} & swept.keys():
        raise UserError(f"{swept[key]}: values of several cannot be compared, search with one {key}")
    storage, several = section["storage"], len(objectives(section)) > 1
    url = "should be a URL, postgresql+psycopg://host/database"
    _refuse({
        "trial is set for each job: leave it out": section["trial"] is not None,
        f"storage={storage}: {url}": storage is not None and "://" not in storage,
        "study is required with sweep.storage: all who give one name share its trials":
            storage and not section["study"],
        "sampler=cmaes optimises one metric: take tpe or nsga2 for two":
            several and section["sampler"] == "cmaes",
        "pruner compares one metric: leave it out, or one of the two in sweep.metric":
            several and section["pruner"],
    })  # fmt: skip


def _refuse(reasons: dict) -> None:
    """Raise the first of {text after "sweep.": whether it is the case}."""
    for text in (text for text, wrong in reasons.items() if wrong):
        raise UserError(f"sweep.{text}")


def objectives(section: dict) -> list[str | None]:
    """Return the names of the metrics that a search optimises; None is the deciding one."""
    named = section["metric"]
    return list(named) if isinstance(named, list) else [named]


def check_objectives(section: dict, metric: str | None, mode: str | None, task: str | None) -> None:
    """Refuse metrics of a search that no model of the task logs; ``metric`` is the deciding one."""
    names = objectives(section)
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
        raise UserError(f"sweep.metric={names}: should be one metric, or two different ones")
    for name in names:
        if name == SECONDS or (name or metric) is None:
            continue
        if "." in (name or "") and name != metric:
            raise UserError(f"sweep.metric={name} is your own function: add metric={name}, which logs it")
        try:
            check_name(name or metric, mode if name in (None, metric) else None, task)
        except UserError as error:
            raise UserError(f"{'sweep.' if name else ''}{error}") from None


def check_first(cfg: dict, overrides: list) -> None:
    """Refuse a search that cannot begin with ``cfg``, the config of its first job."""
    if not any(one.is_sweep_override() for one in overrides):  # after typos, which may have been the space
        raise UserError("sweep=... searches nothing: add 'model.lr=interval(1e-4,1e-1)', or space=mlp")
    check_objectives(cfg["sweep"], cfg["metric"], cfg["metric_mode"], cfg["dataset"]["task"])
    section, model = cfg["sweep"], cfg["model"]
    several = any(one.key_or_group == "model" and one.is_sweep_override() for one in overrides)
    upside_down = (section["max_epochs"] or math.inf) < section["min_epochs"]
    refused = {
        "compares epochs of one model: search with one": several,
        "compares epochs of one fit, a job of cv=... has several: leave cv out": "cv" in cfg,
        "compares a metric of each epoch: take one that is not seconds": objectives(section) == [SECONDS],
        f"finds model={model['name']} fitted in one go: take another": model.get("progress") == "once",
        "needs sweep.min_epochs below sweep.max_epochs": upside_down,
    } if section["pruner"] else {}  # fmt: skip
    _refuse({f"pruner {text}, or leave it out": wrong for text, wrong in refused.items()})

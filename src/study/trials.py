"""Read the jobs of a sweep as trials of an Optuna study, so that a grid is shown as a search is."""

import math
import warnings
from contextlib import suppress

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from src.study.best import goals
from src.study.leaderboard import ASIDE

OF_NONE = {"name": "value", "mode": "max"}  # where no job is done

def parameters(jobs: list[dict]) -> list[dict]:
    """Return for each line of ``jobs.jsonl`` its overrides that differ between jobs: {"model.lr": 0.01}."""
    found = []
    for job in jobs:
        pairs = (str(text).lstrip("+").partition("=") for text in job["overrides"])
        found.append({key: _typed(text) for key, _, text in pairs if not key.startswith(ASIDE)})
    varied = {key for one in found for key, x in one.items() if any(other.get(key) != x for other in found)}
    return [{key: x for key, x in one.items() if key in varied} for one in found]


def _typed(text: str) -> int | float | str:
    with suppress(ValueError):
        return float(text) if {*text} & {*".en"} else int(text)
    return text


def as_study(jobs: list[dict]) -> optuna.Study:
    """Return jobs of one metric and dataset as a study in memory; those that are not done have no value."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    aims = goals(next((job for job in jobs if job["status"] == "done"), {"objectives": [OF_NONE]}))
    study = optuna.create_study(directions=[f"{aim['mode']}imize" for aim in aims])
    with warnings.catch_warnings(action="ignore"):  # it may yet change
        study.set_metric_names([aim["name"] for aim in aims])
    params = []
    for one in parameters(jobs):  # $ would begin a formula in a picture
        texts = {key: x.replace("$", r"\$") for key, x in one.items() if isinstance(x, str)}
        params.append({key.rpartition(".")[2]: x for key, x in (one | texts).items()})
    ranges = {key: _range([one[key] for one in params if key in one]) for one in params for key in one}
    for job, one in zip(jobs, params, strict=True):
        values = [goal["value"] for goal in goals(job)]
        known = job["status"] == "done" and all(x is not None and math.isfinite(x) for x in values)
        end = {"state": TrialState.COMPLETE, "values": values} if known else {"state": TrialState.FAIL}
        study.add_trial(create_trial(**end, params=one, distributions={key: ranges[key] for key in one}))
    return study


def _range(values: list):
    """Return a range of numbers, logarithmic if it spans two powers of ten, or the values as choices."""
    if {*map(type, values)} <= {int, float}:
        low, high = min(values), max(values)
        kind = FloatDistribution if float in map(type, values) else IntDistribution
        return kind(low, high, log=low > 0 and high >= 100 * low)
    return CategoricalDistribution(list(dict.fromkeys(values)))


def importances(study: optuna.Study) -> dict[str, float]:
    """Return each parameter's share in whether a trial is among the best, the largest first (PED-ANOVA).

    The best are a tenth of the trials, but at least five, so that few trials say something, too.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 2 or not any(trial.params for trial in done):
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, 5 / len(done))))
    with warnings.catch_warnings(action="ignore"):  # of few trials
        return get_param_importances(study, evaluator=evaluator)

"""Train what a config describes: one run, the folds of one, an ensemble, or a team of models in a budget."""

import time

from src.config.compose import compose
from src.run.folder import Run
from src.run.job import run_job
from src.run.needed import done_before
from src.study.ensemble import config_of, train_ensemble
from src.study.folds import run_folds
from src.system.errors import UserError, log, sentence

OF_THE_TEAM = ("experiment", "team", "budget", "model", "needed", "register")  # not of its members


def run_config(cfg: dict, **options) -> Run | None:
    """Train what ``cfg`` describes; ``options`` are those of `run_job`."""
    if cfg.get("team"):
        return run_team(cfg, **options)
    if "members" in cfg["model"]:
        return run_job(cfg, train=train_ensemble, **options)
    if cfg.get("cv") and cfg["cv"]["fold"] is None:
        return run_folds(cfg, **options)
    return run_job(cfg, **options)


def run_team(cfg: dict, *, frame=None, report: dict | None = None, **_) -> Run:
    """Train a team with folds, as many of its models as ``cfg["budget"]`` seconds allow, and combine them.

    A member that would take longer than what is left is not begun. How long is known from the members before:
    each names its cost in a unit of its own, the seconds of one unit are the most that one has shown. Members
    that an earlier, interrupted team has finished are not trained again.
    """
    began, runs, unit, seconds = time.perf_counter(), [], 0.0, float(str(cfg["budget"]).rstrip("s"))
    typed = [word for word in (report or {}).get("overrides", ()) if _key(word) not in OF_THE_TEAM]
    for member in cfg["team"]:
        left, word = seconds - (time.perf_counter() - began), f"model={member['model']}"
        if runs and unit * member["cost"] > left:
            needs = f"needs about {unit * member['cost']:.0f} s, {max(0, left):.0f} of {seconds:.0f} are left"
            log.info("\nleft out  %s: %s", word, needs)
            continue
        try:
            own = [f"++{key}={value}" for key, value in member.items() if "." in key]
            words = [word, *own, *typed]
            one = compose([f"cv={cfg['cv']['name']}", "pictures=false", *words]) | {"needed": True}
            more = {"overrides": words}
            runs.append(done_before(one, frame=frame) or run_config(one, frame=frame, report=more))
        except UserError as error:  # a library that is not installed, a model for another task
            log.info("\nleft out  %s: %s", word, sentence(error))
            continue
        unit = max(unit, sum(runs[-1].report["timings"].values()) / member["cost"])
    if len(runs) < 2:
        if not runs:
            raise UserError("no model of the team could be trained: the reasons stand above")
        log.info("\n%s alone: budget=%s was too short for a second model", runs[0].name, cfg["budget"])
        return runs[0]
    # not by the metric: an accuracy, say, tells models apart that differ by chance alone
    cfg = config_of([run.name for run in runs], "weighted", "linear", trust=False)
    return run_job(cfg, train=train_ensemble, report=report)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition(".")[0]

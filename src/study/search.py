"""A search: Optuna chooses the overrides of each job, may prune it, and is told how it ended.

The study is ``study.journal`` in the folder of the sweep, or in a database that several machines share.
A trial is told when its run is done. One that failed or was killed stays open: a sweep that goes on trains
it again.
"""

import math
import time
import warnings
from functools import cache
from itertools import islice
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from src.config.resolve import resolve
from src.config.space import SECONDS, check_objectives, objectives, of_models, space
from src.config.tree import parse
from src.data.shared import load_shared
from src.metric.choose import choose
from src.metric.words import METRICS
from src.study.sampler import distribution, sampler, text
from src.system.errors import UserError, one_line
from src.system.files import host
from src.system.tables import located
from src.trainer.history import Pruned

SHARED, STOP = ".data", ".stop"  # in the folder of a sweep


class Lock:
    """The lock of the journal: Optuna's own one waits 30 s for a process that was killed."""

    def __init__(self, journal: Path):
        from filelock import FileLock

        self.journal, self.lock = journal, FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        """Cut off a last line that a kill has torn: Optuna would not read what is written after it."""
        self.lock.acquire()
        with self.journal.open("rb+") as file:
            size = file.seek(0, 2)
            start = max(0, size - 65536)
            file.seek(start)
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(start + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def optuna():
    """Return Optuna, which shows warnings only."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


@cache
def _storage(folder: Path, url: str | None):
    from optuna import storages

    if url:
        try:
            return storages.get_storage(url)
        except Exception as error:
            if "duplicate" not in str(error):
                raise
            time.sleep(2)  # another machine was just making the tables
            return storages.get_storage(url)
    journal = folder / "study.journal"
    return storages.JournalStorage(storages.journal.JournalFileBackend(str(journal), Lock(journal)))


def open_study(folder: Path, section: dict, directions=None):
    """Return the study of the sweep in ``folder``; ``directions()`` are those of a new one."""
    library, name = optuna(), section["study"] or folder.name
    try:
        storage = _storage(folder, section["storage"])
        if directions is None or name in library.get_all_study_names(storage):
            return library.load_study(study_name=name, storage=storage)
        return library.create_study(
            study_name=name, storage=storage, directions=directions(), load_if_exists=True
        )
    except UserError:
        raise
    except Exception as error:  # a database's driver has errors of its own
        raise UserError(f"the study {name} cannot be opened: {one_line(error)}") from None


def sweep(config, launcher, params: dict, arguments: list[str]) -> list:
    """Run the jobs of Hydra's ``config``: each model's own, or those that the searcher asks for."""
    cfg = resolve(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
    section, folder = cfg["sweep"], Path(config.hydra.sweep.dir)
    if grids := of_models(arguments):
        jobs = [job for words in grids for job in BasicSweeper.split_arguments(map(parse, words), None)[0]]
        returned = launcher.launch(jobs, initial_job_idx=0)
    else:
        dimensions, fixed = space(params, arguments, _task(folder, cfg))
        study = begin(folder, cfg, dimensions)
        returned = _launched(launcher, _asked(study, folder, section, dimensions, fixed))
    for one in returned:
        _ = one.return_value  # raises what a job has raised
    return [returned]


def begin(folder: Path, cfg: dict, dimensions: dict):
    """Return the study, a new one or as far as it is; refuse one of another space."""
    section = cfg["sweep"]
    study = open_study(folder, section, lambda: list(_directions(folder, cfg).values()))
    words = {key: str(distribution(one)) for key, one in dimensions.items()}
    known = study.user_attrs.get("space")
    if known is None:
        study.set_metric_names(list(_directions(folder, cfg)))
        study.set_user_attr("space", words)
    elif known != words:
        keys = ", ".join(sorted(key for key in {*known, *words} if known.get(key) != words.get(key)))
        raise UserError(f"the study {study.study_name} is of another space: {keys} differs; begin a new one")
    study.sampler = sampler(section["sampler"], cfg["seed"], section["n_trials"])
    return study


def _task(folder: Path, cfg: dict) -> str:
    """Return the task of the data, which is read for the jobs, too."""
    options = {"scaler": cfg["model"]["scaler"], "class_weight": cfg["class_weight"], "seed": cfg["seed"]}
    return load_shared(folder / SHARED, located(cfg["dataset"]), **options).info["task"]


def _directions(folder: Path, cfg: dict) -> dict[str, str]:
    """Return {objective: minimize or maximize} by the task of the data."""
    task = _task(folder, cfg)
    check_objectives(cfg["sweep"], cfg["metric"], cfg["metric_mode"], task)
    pairs = aims(cfg["sweep"], choose(cfg["metric"], cfg["metric_mode"], task))
    return {name if name == SECONDS else f"val/{name}": f"{mode}imize" for name, mode in pairs}


def aims(section: dict, deciding: dict) -> list[tuple[str, str]]:
    """Return name and mode of each objective; ``deciding`` is the metric of the run."""
    found = []
    for name in objectives(section):
        if name is None or "." in name:  # only the deciding one is a user's own function
            found.append((deciding["name"], deciding["mode"]))
        else:
            found.append((name, "min" if name == SECONDS else METRICS[name]["mode"]))
    return found


def _asked(study, folder: Path, section: dict, dimensions: dict, fixed: list[str]):
    """Yield (number, overrides) of each trial: first those that this sweep left open, then new ones."""
    from optuna import Trial
    from optuna.trial import TrialState

    owner, space = f"{host()}:{folder}", {key: distribution(one) for key, one in dimensions.items()}
    end = time.monotonic() + (section["timeout"] or float("inf"))

    def job(trial) -> tuple[int, list[str]]:
        values = {key: trial._suggest(key, space[key]) for key in space}
        chosen = [f"{one['key']}={text(one, values[key])}" for key, one in dimensions.items()]
        return trial.number, [*fixed, *chosen, f"sweep.trial={trial.number}"]

    for known in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not section["storage"] or known.user_attrs.get("owner") == owner:
            yield job(Trial(study, known._trial_id))
    while time.monotonic() < end and not (folder / STOP).is_file():
        if len(study.get_trials(deepcopy=False)) >= section["n_trials"]:
            return
        trial = study.ask()
        if trial.number >= section["n_trials"]:  # another machine was faster
            return study.tell(trial, state=TrialState.FAIL)
        if section["storage"]:
            trial.set_user_attr("owner", owner)
        yield job(trial)


def _launched(launcher, jobs) -> list:
    """Return Hydra's records of the jobs; a launcher that can asks for each when a worker is idle."""
    if getattr(launcher, "takes_iterators", False):
        return launcher.launch(jobs, initial_job_idx=0)
    options, returned = launcher.config.hydra.launcher, []
    n = options.get("n_jobs") or options.get("array_parallelism") or 1
    while batch := list(islice(jobs, n)):
        returned += launcher.launch([overrides for _, overrides in batch], initial_job_idx=batch[0][0])
    return returned


# -- how a job goes and ends


def watch(folder: Path, section: dict, max_epochs: int | None):
    """Return a function that reports each row of a run to its trial and may raise `Pruned`, or None."""
    if not section.get("pruner"):
        return None
    from optuna import Trial

    study = open_study(folder, section)
    study.pruner, (name,) = _pruner(section, max_epochs), study.metric_names
    known = study.get_trials(deepcopy=False)[section["trial"]]
    trial, last = Trial(study, known._trial_id), max(known.intermediate_values, default=0)

    def look(row: dict) -> None:
        if row["epoch"] < last:  # a try that was killed reported it
            return
        if row["epoch"] > last and not math.isnan(row[name]):
            trial.report(row[name], row["epoch"])
        if trial.should_prune():
            raise Pruned

    return look


def _pruner(section: dict, max_epochs: int | None):
    from optuna import pruners

    if section["pruner"] == "median":
        first = section["n_warmup_epochs"] + 1
        return pruners.MedianPruner(section["n_startup_trials"], n_warmup_steps=first)
    least, most = section["min_epochs"], section["max_epochs"] or max_epochs or "auto"
    return pruners.HyperbandPruner(min_resource=least, max_resource=most)


def ends(report: dict, section: dict) -> list[dict]:
    """Return [{"name", "mode", "value"}] of each objective of a search, by the report of a run."""
    values = {name.removeprefix("val/"): value for name, value in report["metrics"].items()}
    values[SECONDS] = report["timings"].get("fit")
    pairs = aims(section, report["metric"])
    return [{"name": name, "mode": mode, "value": values.get(name)} for name, mode in pairs]


def tell(folder: Path, section: dict, run) -> None:
    """Tell the study how the run of its trial ended, done or pruned; a trial is told once."""
    from optuna.trial import TrialState

    study, number = open_study(folder, section), section["trial"]
    if study.get_trials(deepcopy=False)[number].state != TrialState.RUNNING:
        return
    if run.status == "pruned":
        study.tell(number, state=TrialState.PRUNED)
        return
    values = [one["value"] for one in ends(run.report, section)]
    known = all(value is not None for value in values)
    study.tell(number, values if known else None, state=None if known else TrialState.FAIL)

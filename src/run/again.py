"""Run a recorded run again in a clean process, with its code or today's; or resume it in this one."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from src.run.code import changed_since, files_of
from src.run.folder import Run
from src.run.own import named_code, with_notebook
from src.run.trust import check_trust
from src.system import notebook
from src.system.environment import THREAD_VARIABLES
from src.system.errors import UserError, one_line
from src.system.files import read_json, write_json
from src.system.paths import CHECKOUT, data_dir, outputs
from src.system.tables import located


def run_again(old: Run, cfg: dict, report: dict, *, recorded_code: bool, data, same_data: bool) -> Run:
    """Train ``cfg`` by ``python -m src.rerun`` and return the new run.

    data : a DataFrame to train on, or None
    same_data : whether the data of ``old`` is meant, which may have been moved
    """
    cfg = with_notebook(cfg)
    notebook.unpack(old.folder / "code.zip", named_code(cfg))
    where_now = origin(old) if same_data else None
    if "input_digest" not in old.report or not same_data:  # its code looks nowhere else, and not from here
        cfg = cfg | {"dataset": located(cfg["dataset"], where_now and where_now["folders"])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        request = {"cfg": cfg, "report": report, "frame": None, "origin": where_now}
        if data is not None:
            pickles = not recorded_code or b"read_pickle" in files_of(old).get("src/rerun.py", b"")
            request["frame"] = hand_over(data, folder, pickles)
        write_json(folder / "request.json", request)
        where = CHECKOUT
        if recorded_code:
            where = folder / "code"
            with zipfile.ZipFile(old.folder / "code.zip") as archive:
                archive.extractall(where)
        command = [sys.executable, "-m", "src.rerun", str(folder / "request.json")]
        if subprocess.run(command, cwd=where, env=os.environ | _environment(old, where)).returncode:
            raise UserError(f"the replay of {old.name} failed, see above")
        return Run.open(read_json(folder / "request.json")["run"])


def hand_over(data, folder: Path, pickles: bool) -> Path:
    """Write a DataFrame for the child process into ``folder``, which only this user can read or write.

    Parquet does not take every frame, and changes some: columns of mixed types, intervals, integers beyond 64
    bits, sparse columns. Only code that was recorded before frames were pickled still gets it.
    """
    path = folder / ("frame.pickle" if pickles else "frame.parquet")
    try:
        (data.to_pickle if pickles else data.to_parquet)(path)
    except Exception as error:  # cells can be any object, and pickling them can raise anything
        advice = "its cells should be plain values" if pickles else "code=now takes it"
        raise UserError(f"a replay cannot take this DataFrame ({one_line(error)}): {advice}") from None
    return path


def _environment(old: Run, where: Path) -> dict[str, str]:
    """Return the threads of ``old``, this machine's folders, and a path that begins with ``where``."""
    recorded = read_json(old.folder / "env.json")["threads"]  # has no seal, and LD_PRELOAD would run code
    threads = {name: str(recorded[name]) for name in THREAD_VARIABLES if recorded.get(name) is not None}
    paths = [str(where), os.getcwd(), os.environ.get("PYTHONPATH", ""), notebook.folder()]
    folders = {"OUTPUTS_DIR": str(outputs()), "DATA_DIR": str(data_dir())}
    return threads | folders | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def origin(run: Run, output: bool = False) -> dict:
    """Return where a run's data came from, as `load_data` takes it.

    output : whether data that differs after the ETL is refused
    """
    folders = [run.folder, Path.cwd()]
    if found := run.report.get("input_path"):
        folders = [Path(found).parent, *folders]
    folders = [*dict.fromkeys(map(str, folders))]
    made = run.report["data_digest"] if output else None
    return {"input": run.report.get("input_digest"), "output": made, "folders": folders}


def config_to_resume(run: Run, max_epochs: int | None, finish: bool, path: str | None) -> dict:
    """Return the config to go on with; its trainer section is the run's own, if that does not change.

    max_epochs : the new limit, which may only rise
    finish : no epoch more than its last checkpoint has
    path : where the file of its data is now
    """
    name, cfg, before = run.name, run.cfg, run.cfg["trainer"]["max_epochs"]
    check_trust(run, code=True)
    if finish and max_epochs is not None:
        raise UserError(f"max_epochs={max_epochs} trains {name} longer, finish=true does not: leave one out")
    if finish and run.status != "done":
        max_epochs = epochs_behind(run)
        if not max_epochs:
            raise UserError(f"{name} has no checkpoint to finish with: resume it without finish=true")
    elif max_epochs is not None and cfg.get("cv") and cfg["cv"]["fold"] is None:
        raise UserError(f"{name} is made of folds: train it anew with trainer.max_epochs={max_epochs}")
    elif max_epochs is not None and before is None:
        raise UserError(f"{name} was started with max_epochs=null, it has no limit: leave max_epochs out")
    elif max_epochs is not None and max_epochs < before:
        raise UserError(f"max_epochs={max_epochs} is less than the {before} of {name}; it may only rise")
    if path is not None and "path" not in cfg["dataset"]:
        raise UserError(f"{name} was not trained on a file: leave dataset.path out")
    if path is not None:
        cfg = cfg | {"dataset": located(cfg["dataset"] | {"path": path})}
    if max_epochs in (None, before):
        return cfg
    return cfg | {"trainer": cfg["trainer"] | {"max_epochs": max_epochs}}


def check_code(run: Run, changed: bool) -> dict:
    """Refuse other code than a run began with, unless ``changed``; return a note for its report."""
    files = changed_since(run)
    if files and not changed:
        shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        raise UserError(
            f"the code of {run.name} has changed since it began ({shown}), so it would not end like a run "
            "that nobody stopped: bring the code back, or add changed=true to go on with today's"
        )
    return {"changed": [*dict.fromkeys([*run.report.get("changed", []), *files])]} if files else {}


def check_resumable(run: Run, cfg: dict, data) -> None:
    """Refuse a run without a history, and one that was trained on a DataFrame if ``data`` is None."""
    if not cfg["logger"]["csv"] and (run.folder / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"{run.name} was made with logger.csv=false, it has no history: train it again")
    if cfg["dataset"]["name"] == "frame" and data is None:
        advice = f'in a notebook, resume("{run.name}", data=df)'
        raise UserError(f"{run.name} was trained on a DataFrame: {advice}")


def report_of_resume(run: Run, cfg: dict, finish: bool, changed: bool) -> dict:
    """Return what the report of a resumed run notes; refuse other code than it began with."""
    planned = run.cfg["trainer"]["max_epochs"]
    early = finish and planned != cfg["trainer"]["max_epochs"]
    return check_code(run, changed) | {"planned_epochs": planned if early else None}


def epochs_behind(run: Run) -> int:
    """Return how many epochs the run's last checkpoint has behind it; 0 without a checkpoint."""
    last = run.folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return 0
    import torch

    try:
        return torch.load(last, weights_only=True, map_location="cpu")["epoch"] + 1
    except Exception as error:  # which one depends on the byte that is damaged
        reason = str(error) or type(error).__name__
        raise UserError(f"{last} is damaged ({reason}); remove it and the run begins anew") from None

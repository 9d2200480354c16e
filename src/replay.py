"""``python -m src.replay run=t7``: run a recorded run again in a clean process, and say whether it is the same."""

import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from src.config import shell
from src.config.compose import change
from src.run.compare import compare, describe
from src.run.folder import Run
from src.run.trust import check_trust
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import CHECKOUT, data_dir, outputs

log = logging.getLogger("reprise")


def main() -> None:
    own = {"run", "code", "trust", "-h", "--help"}
    words = shell.verb("replay", [word for word in sys.argv[1:] if word.partition("=")[0] in own])
    changes = [word for word in sys.argv[1:] if word.partition("=")[0] not in own]
    try:
        change(Run.open(words["run"]).cfg, changes)
    except UserError as error:
        shell.refuse(error, 2)
    found = replay_train(words["run"], *changes, code=words["code"], trust=words["trust"])
    if not found["identical"] and not changes:
        sys.exit(1)


def replay_train(name: str, *changes: str, code: str = "recorded", trust: bool = False, data=None) -> dict:
    """Run ``name`` again and compare; prints `identical`, or the largest differences and where they may come from.

    Parameters
    ----------
    changes : str
        words that change its config, "model.lr=1e-3": the new run is then an experiment, recorded as such.
    code : "recorded" or "now"
        the code that the run was made with, or today's.
    data : DataFrame, optional
        what a run on a frame of a notebook was trained on.

    Returns
    -------
    dict
        run (the new one), identical, and by kind the largest absolute difference.
    """
    shell.log_to_console()
    run = Run.open(name, trust)
    if run.status != "done":
        raise UserError(f"{name} is {run.status}: only a run that is done can be replayed")
    if code not in ("recorded", "now"):
        raise UserError(f"code={code} is unknown; known: recorded, now")
    if run.cfg["dataset"]["name"] == "frame" and data is None:
        raise UserError(f'{name} was trained on a DataFrame of a notebook: hand it in, replay_train("{name}", data=df)')
    check_trust(run, code=True)
    cfg = change(run.cfg, list(changes))
    report = {"replay_of": name, "overrides": list(changes), "code": code}
    with tempfile.TemporaryDirectory() as folder:
        where = CHECKOUT
        if code == "recorded":
            where = Path(folder) / "code"
            with zipfile.ZipFile(run.folder / "code.zip") as archive:
                archive.extractall(where)
        again = Run.open(_in_a_clean_process(where, Path(folder), cfg, report, run, data))
    found = compare(run, again)
    log.info(describe(run, again, found))
    return found


def _in_a_clean_process(where: Path, folder: Path, cfg, report, run: Run, data) -> str:
    """Start the rerun in ``where``, with the recorded threads; returns the new run's name."""
    request = folder / "request.json"
    frame = None
    if data is not None:
        frame = folder / "frame.parquet"
        data.to_parquet(frame)
    write_json(request, {"cfg": cfg, "report": report, "frame": frame})
    threads = {key: value for key, value in read_json(run.folder / "env.json")["threads"].items() if value is not None}
    paths = [str(where), os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]  # the recorded code goes first
    places = {"OUTPUTS_DIR": str(outputs()), "DATA_DIR": str(data_dir())}
    places["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, "-m", "src.rerun", str(request)]
    done = subprocess.run(command, cwd=where, env=os.environ | threads | places)
    if done.returncode:
        raise UserError(f"the replay of {run.name} failed, see above")
    return read_json(request)["run"]


if __name__ == "__main__":
    shell.run(main)

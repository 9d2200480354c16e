"""Run a recorded run again: in a clean process, with its code or today's."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from src.run.folder import Run
from src.run.own import named_code, with_notebook
from src.system import notebook
from src.system.environment import THREAD_VARIABLES
from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import CHECKOUT, data_dir, outputs


def run_again(old: Run, cfg: dict, report: dict, *, recorded_code: bool, data=None) -> Run:
    """Train ``cfg`` by ``python -m src.rerun`` and return the new run; ``data``: a DataFrame to train on."""
    cfg = with_notebook(cfg)
    notebook.unpack(old.folder / "code.zip", named_code(cfg))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        request = {"cfg": cfg, "report": report, "frame": None}
        if data is not None:
            request["frame"] = folder / "frame.parquet"
            data.to_parquet(request["frame"])
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


def _environment(old: Run, where: Path) -> dict[str, str]:
    """Return the threads of ``old``, this machine's folders, and a path that begins with ``where``."""
    recorded = read_json(old.folder / "env.json")["threads"]  # has no seal, and LD_PRELOAD would run code
    threads = {name: str(recorded[name]) for name in THREAD_VARIABLES if recorded.get(name) is not None}
    paths = [str(where), os.getcwd(), os.environ.get("PYTHONPATH", ""), notebook.folder()]
    folders = {"OUTPUTS_DIR": str(outputs()), "DATA_DIR": str(data_dir())}
    return threads | folders | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

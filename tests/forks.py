"""Verbs in processes of their own that do not import torch, pandas and Lightning anew, which takes seconds.

One process imports these libraries and nothing of ``src``; each call is a fork of it, with the caller's
environment variables. A test of what is imported, of variables that libraries read when they load, or of
signals, starts Python itself.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS = 280  # that a call may take
USED = ("train", "study.jobs", "study.leaderboard", "trainer.net", "trainer.estimator", "share.plots")
LATE = ("sklearn.linear_model", "sklearn.ensemble", "sklearn.feature_extraction.text", "matplotlib.pyplot")


@cache
def server() -> subprocess.Popen:
    """Start the process that is forked; it ends with this one."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, __file__], cwd=CHECKOUT, **pipes)


def call(*command, cwd=CHECKOUT, env=None, merged: bool = False) -> subprocess.CompletedProcess:
    """Run ``python -m command``, or ``python -c code words``, and capture its output.

    merged : stdout and stderr are one text, in the order in which a person would see them
    """
    with tempfile.TemporaryDirectory() as name:
        files = [f"{name}/stdout", f"{name}/stdout" if merged else f"{name}/stderr"]
        request = {"command": list(map(str, command)), "cwd": str(cwd), "files": files}
        request["env"] = {**(env or os.environ)}
        server().stdin.write(json.dumps(request) + "\n")
        server().stdin.flush()
        code = int(server().stdout.readline())
        said = [Path(file).read_text(encoding="utf-8") for file in files]
    return subprocess.CompletedProcess(command, code, said[0], None if merged else said[1])


def serve() -> None:
    """Answer each request, a line of JSON, with the exit code of a fork."""
    sys.path[0] = str(CHECKOUT)
    importlib.import_module("src")  # sets how OpenMP waits, before torch loads
    for name in (*(f"src.{room}" for room in USED), *LATE):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("src", "hydra_plugins")]:
        del sys.modules[name]
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            answers.close()
            run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


def run(command: list[str], cwd: str, env: dict, files: list[str]) -> None:
    """Be a new Python, and end this process as Python ends."""
    signal.alarm(SECONDS)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in enumerate([os.devnull, *files]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w"), write_through=True) for n in (1, 2))
    sys.path[:1] = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    code = 0
    try:
        if command[0] == "-c":
            sys.argv = ["-c", *command[2:]]
            exec(compile(command[1], "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            sys.argv = list(command)
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(code)


if __name__ == "__main__":
    serve()

"""Jobs and folds side by side in processes of this machine: every process is a pool by itself.

Joblib's own pool is lost as a whole, with all its runs, when one of its processes is killed, as the kernel
does for want of memory. Here one killed process is one failed job. All end with the process that began them.
A server imports once what the jobs need, and is forked for each process.
"""

import atexit
import os
import re
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from contextlib import suppress
from itertools import cycle, islice, takewhile
from multiprocessing import forkserver, get_context, parent_process, set_forkserver_preload
from pathlib import Path

from src.config.tree import CONF
from src.study.preload import PRELOAD

CONTEXT = get_context("forkserver")
CLASSES = re.compile(r"class: (sklearn[\w.]*)\.\w+")
STOPPING = 60  # seconds in which an interrupted job closes its trackers


def prestart(words: list[str]) -> None:
    """Start the server, once, while this process checks ``words``, the overrides of a sweep or of folds."""
    if forkserver._forkserver._forkserver_pid is not None:
        return
    models = next((word[6:] for word in words if word.startswith("model=")), "mlp").split(",")
    files = [file for file in (CONF / "model").glob("*.yaml") if file.stem in models]
    texts = [file.read_text(encoding="utf-8") for file in files]
    nets = {"_torch" in text for text in texts}
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists():
        nets.discard(True)  # an import of torch may look at the GPUs, which forked processes then cannot use
    modules = ["src.trainer.net" if net else "src.trainer.estimator" for net in nets]
    modules += CLASSES.findall("".join(texts)) if False in nets else []
    modules = ["src.study.jobs", "hydra_plugins.hydra_joblib_launcher._core", *modules]
    set_forkserver_preload(["src.study.preload"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server inherits it: Ctrl-C ends its parent
    os.environ[PRELOAD] = " ".join(modules)
    forkserver.ensure_running()
    del os.environ[PRELOAD]
    signal.signal(signal.SIGINT, before)
    server = forkserver._forkserver  # after a typo it would import for two more seconds
    atexit.register(lambda: os.kill(server._forkserver_pid, signal.SIGKILL))


def side_by_side(jobs, shares: list, function, lost) -> list:
    """Return ``function(number, job)`` of jobs in processes, one for each of ``shares``, see `device_shares`.

    jobs, lost : as of `work`
    """
    pools = [[share, None] for share in shares]

    def submit(pool: list, number: int, job):
        pool[1] = pool[1] or _pool(pool[0])
        return pool[1].submit(function, number, job)

    def reason(error, pool: list) -> str | None:
        pool[1] = None if isinstance(error, BrokenExecutor) else pool[1]
        return killed_by(str(error)) if pool[1] is None else None

    try:
        return work(jobs, list(pools), submit, reason, _stop, lost)
    finally:
        for _, pool in pools:
            if pool:
                pool.shutdown()


def work(jobs, idle: list, submit, reason, stop, lost) -> list:
    """Run jobs by workers that are ``idle``; return what they return, in the order of their numbers.

    jobs : iterator of (number, job)
    submit : called with a worker, number and job; returns a Future
    reason : called with the exception of a Future and the worker; returns why the process died, or None
    stop : called at the end with {Future of a job that still runs: (number, job, worker)}
    lost : called with number, job and reason where the process died; returns a value in its place
    """
    running, returned = {}, {}
    try:
        while True:
            while idle and (one := next(jobs, None)):
                worker = idle.pop()
                running[submit(worker, *one)] = (*one, worker)
            if not running:
                return [returned[number] for number in sorted(returned)]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, job, worker = running.pop(future)
                error = future.exception()
                why = error and reason(error, worker)
                returned[number] = lost(number, job, why) if why else future.result()
                idle.append(worker)
    finally:
        stop(running)


def device_shares(n_pools: int, n_each: int | str = 1) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES of each pool, the visible GPUs in turn.

    None where there are too few, and where ``trainer.devices`` names devices or takes all. They are counted
    without torch, which reads the variable when it loads.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        given = ",".join(str(i) for i, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))
    known = [*takewhile(lambda one: one.strip()[:1] not in ("", "-"), given.split(","))]  # as CUDA: up to -1
    n_each = 1 if n_each == "auto" else n_each
    if not isinstance(n_each, int) or not 0 < n_each <= len(known):
        return [None] * n_pools
    turns = cycle(known)
    return [",".join(islice(turns, n_each)) for _ in range(n_pools)]


def _pool(share: str | None):
    from joblib.externals.loky import ProcessPoolExecutor

    changed = {} if share is None else {"CUDA_VISIBLE_DEVICES": share}
    environment = {**os.environ, **changed}  # the server may be older than some of it
    return ProcessPoolExecutor(1, context=CONTEXT, initializer=_enter, initargs=(environment,))


def _stop(running: dict) -> None:
    """Interrupt the jobs that still run after Ctrl-C, and kill those that do not end."""
    for stop in (signal.SIGINT, signal.SIGKILL):
        for future, (*_, pool) in running.items():
            for pid in () if future.done() else list(pool[1]._processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)
        wait(running, timeout=STOPPING)


def _enter(environment: dict) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and & let it be ignored
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Stop this process's job as by Ctrl-C when the process that started it is gone."""
    parent_process().join()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOPPING)
    os._exit(1)


def killed_by(text: str) -> str:
    """Return why a process died, by the text in which joblib says its exit code.

    >>> killed_by("The exit codes of the workers are {SIGKILL(-9)}"), killed_by("{EXIT(3)}")
    ('its process was killed by SIGKILL, perhaps out of memory', 'its process ended with exit code 3')
    """
    if found := re.search(r"\bSIG[A-Z0-9]+\b", text):
        return f"its process was killed by {found[0]}" + ", perhaps out of memory" * (found[0] == "SIGKILL")
    code = re.search(r"EXIT\((\d+)\)", text)
    return f"its process ended with exit code {code[1]}" if code else "its process died"

"""Child processes for slow work that must not delay training: trackers and plots.

A message to a child is a line of JSON, [method, *arguments]. Its answer is a string, a warning to show, or at
the end of a run true or false: whether the process may be reused. Not `multiprocessing`: its spawn runs the
parent's ``__main__`` again, so a script that calls ``fit`` without a guard would begin its run twice.
"""

import gc
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import ClassVar

import psutil

from src.system.errors import log
from src.system.paths import CHECKOUT

NUMERIC = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_")


class Child:
    """A process ``python -m module arguments``; after a run it waits, its libraries loaded, for the next run.

    It ends with this process, also when this one is killed: then its standard input ends.
    """

    idle: ClassVar[list["Child"]] = []

    def __init__(self, command: tuple[str, ...]):
        self.command, self.environment = command, lasting_environment()
        self.messages, self.over = queue.SimpleQueue(), queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        for target in (self._feed, self._listen):
            start_thread(target)

    @classmethod
    def reuse(cls, *command: str) -> "Child":
        """Reuse an idle child started with the same environment variables (server, key), else start one."""
        for child in [one for one in cls.idle if one.command == command]:
            cls.idle.remove(child)
            if child.environment == lasting_environment() and child.process.poll() is None:
                return child
            child.messages.put(None)
        return cls(command)

    @classmethod
    def prestart(cls, *command: str) -> None:
        """Start a child that will be needed, so that it loads its libraries meanwhile."""
        cls.idle.append(cls.reuse(*command))

    def send(self, method: str, *arguments) -> None:
        """Put a message into the queue, without waiting."""
        self.messages.put([method, *arguments])

    def wait(self, seconds: float = threading.TIMEOUT_MAX) -> str | None:
        """Wait for the child to report the end of the run; return what went wrong, or None.

        One that does not within ``seconds`` is killed.
        """
        try:
            reusable = self.over.get(timeout=max(0, min(seconds, threading.TIMEOUT_MAX)))
        except queue.Empty:
            self.kill()
            return "it did not answer in time"
        if reusable:
            self.idle.append(self)
        return "its process died" if reusable is None else None

    def kill(self) -> None:
        """Kill the process and those that it started: W&B's own one is in another session."""
        with suppress(psutil.NoSuchProcess):
            for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
                process.kill()

    def _feed(self) -> None:
        try:
            with self.process.stdin as stream:
                while (message := self.messages.get()) is not None:
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()
        except OSError:
            return  # it died: `wait` reports that

    def _listen(self) -> None:
        for line in self.process.stdout:
            try:
                answer = json.loads(line)
            except ValueError:  # printed by something that Python loads at its start
                continue
            if isinstance(answer, bool):
                self.over.put(answer)
            else:
                log.warning("%s", answer)
        self.process.wait()
        self.over.put(None)


def start_thread(target, *arguments) -> threading.Thread:
    """Start a daemon thread that takes no signals: in a launched run one thread waits for SIGTERM."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted():
    """Let Ctrl-C wait for the end of the block: a library whose import was cut short is broken afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed and callable(before):
        before(signal.SIGINT, None)


@contextmanager
def uncollected():
    """Look for no garbage during a block that imports: it takes a sixth of the time of Lightning's import."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def lasting_environment() -> dict[str, str]:
    """Return the environment variables, without those that numeric libraries set while a run goes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(NUMERIC)}


def silence_output():
    """Silence this child process, and return the function with which it sends an answer to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which records "stopped"
    os.nice(5)  # where cores are short, training goes first
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # trackers print a lot
        os.dup2(nowhere, descriptor)

    def answer(value: str | bool) -> None:
        try:
            print(json.dumps(value), file=stream)
        except OSError:  # the run is gone
            return

    return answer

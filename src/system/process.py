"""Processes beside this one, for what takes seconds of Python and would stand in training's way: trackers, pictures.

A message is a line of JSON, [method, *arguments]. An answer is a line, too: a sentence to show, or at the end of a
run true, and false where the process would rather not be kept for the next.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import ClassVar

from src.system.paths import CHECKOUT

log = logging.getLogger("reprise")


class Child:
    """A process of ``python -m module words``; when a run is over, it is kept, with all it has loaded, for the next.

    It ends with this process, also when that is killed: its standard input is at its end then.
    """

    idle: ClassVar[list["Child"]] = []

    def __init__(self, command: tuple[str, ...]):
        self.command, self.environment = command, user_environment()
        self.messages, self.over = queue.SimpleQueue(), queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        for target in (self._feed, self._listen):
            threading.Thread(target=target, daemon=True).start()

    @classmethod
    def reuse(cls, *command: str) -> "Child":
        """One that is idle and was started in the surroundings of now (another server, another key), or a new one."""
        for beside in [one for one in cls.idle if one.command == command]:
            cls.idle.remove(beside)
            if beside.environment == user_environment() and beside.process.poll() is None:
                return beside
            beside.messages.put(None)
        return cls(command)

    @classmethod
    def prestart(cls, *command: str) -> None:
        """Let one load what it needs, for a `reuse` to come."""
        cls.idle.append(cls.reuse(*command))

    def send(self, method: str, *arguments) -> None:
        """A queue's put: nobody waits."""
        self.messages.put([method, *arguments])

    def wait(self) -> bool:
        """Until it says that the run is over; False, and a warning, if it has ended without a word."""
        keep = self.over.get()
        if keep:
            self.idle.append(self)
        elif keep is None:
            log.warning("python -m %s, beside the run, has ended by itself", " ".join(self.command))
        return keep is not None

    def _feed(self) -> None:
        try:
            with self.process.stdin as stream:
                while (message := self.messages.get()) is not None:
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()
        except OSError:
            return  # it is gone; `wait` tells

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


def user_environment() -> dict[str, str]:
    """The environment variables, without those that numeric libraries set for themselves in the middle of a run."""
    numeric = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(numeric)}


def silence_output():
    """What the process itself does first; returns a function that sends an answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then says "stopped"
    os.nice(10)  # where cores are short, training goes first
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # trackers are talkative
        os.dup2(nowhere, descriptor)

    def answer(value: str | bool) -> None:
        try:
            print(json.dumps(value), file=stream)
        except OSError:  # the run is gone: nobody to tell
            return

    return answer

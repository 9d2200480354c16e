"""The process beside a run that talks to one of its trackers: it reads one JSON message a line, tells of what fails.

A process of its own, because a tracker takes seconds of Python that would stand in training's way, and because it
outlives a run that is killed: when the messages end without a "finish", it closes the tracker as "killed".
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path

from src.logger.mlflow import MLflow
from src.logger.wandb import WandB
from src.storage import locked, read_json, write_json

# name in the logger section of the config -> class
TRACKERS = {"mlflow": MLflow, "wandb": WandB}


class Worker:
    """Hands messages to the tracker ``name``; once it has failed, to nobody.

    ``path`` keeps what every tracker of the run said of itself, each written as soon as it is known.
    """

    def __init__(self, name: str, path: Path, tell):
        self.name, self.path, self.tell = name, path, tell
        self.tracker = TRACKERS[name]()

    def work(self, messages: queue.SimpleQueue) -> None:
        """Until "finish"; rows that wait together are logged together, one call for many is cheaper."""
        waiting = []
        while True:
            method, *arguments = waiting.pop(0) if waiting else messages.get()
            if method == "log":
                while not messages.empty() and not waiting:
                    following = messages.get()
                    if following[0] == "log":
                        arguments += following[1:]
                    else:
                        waiting.append(following)
                arguments = [arguments]
            if method == "abandon":
                return self.abandon()
            self.hand(method, *arguments)
            if method == "finish":
                return None

    def hand(self, method: str, *arguments) -> None:
        if self.tracker is None:
            return
        try:
            if method == "start":
                self.keep(self.tracker.start(*arguments, self.known().get(self.name, {})))
            else:
                getattr(self.tracker, method)(*arguments)
            if method == "finish":
                self.keep(self.known()[self.name] | {"closed": True})
        except Exception as error:  # whatever a tracker does, the run goes on
            self.tracker = None
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            self.keep(self.known().get(self.name, {}) | {"error": reason})
            self.tell(f"{self.name} failed, the run goes on without it (python -m src.sync later): {reason}")

    def abandon(self) -> None:
        """The run was killed: close its tracker for now; a row may have died with it, which sync or resume brings."""
        if self.tracker is not None:
            with contextlib.suppress(Exception):
                self.tracker.finish("killed")

    def known(self) -> dict:
        return read_json(self.path) if self.path.is_file() else {}

    def keep(self, found: dict) -> None:
        if self.path.parent.is_dir():
            with locked(self.path.with_name(".trackers.lock")):
                write_json(self.path, self.known() | {self.name: found})


def read(stream, messages: queue.SimpleQueue) -> None:
    """Put each line's message into the queue; the end of the stream is the end of a run that could not say so."""
    for line in stream:
        if line.endswith("\n"):  # a kill can cut the last one
            messages.put(json.loads(line))
    messages.put(["abandon"])


def main(name: str, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then says "stopped"
    os.nice(10)  # where cores are short, training goes first
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # trackers are talkative
        os.dup2(nowhere, stream)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # the run is gone: nobody to tell
            print(json.dumps(text), file=answers)

    messages = queue.SimpleQueue()
    threading.Thread(target=read, args=(sys.stdin, messages), daemon=True).start()
    with locked(path.with_name(f".{name}.lock")):  # the worker of a run that was killed may still be closing it
        Worker(name, path, tell).work(messages)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    os._exit(0)  # to take apart all that a tracker has loaded would keep the run waiting for a second

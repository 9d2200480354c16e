"""The process beside a run that talks to its trackers: it reads one JSON message a line, and tells of what fails.

A process of its own, because trackers and pictures take seconds of Python that would stand in training's way, and
because it outlives a run that is killed: when the messages end without a "finish", it closes the trackers as "killed".
"""

import contextlib
import importlib
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
    """Hands messages to every tracker; one that fails is left out, and said once."""

    def __init__(self, tell):
        self.tell, self.trackers, self.found, self.path = tell, {}, {}, None

    def start(self, names: list[str], run: dict, path: str) -> None:
        """``path`` keeps what each tracker said of itself, written as soon as it is known."""
        self.trackers = {name: TRACKERS[name]() for name in names}
        self.path = Path(path)
        self.found = read_json(self.path) if self.path.is_file() else {}  # as the worker before it has left it
        run = {**run, "known": self.found}
        self.each("start", run)

    def record(self, folder: str, report: dict) -> None:
        self.each("record", Path(folder), report)

    def finish(self, status: str) -> None:
        self.each("finish", status)

    def abandon(self) -> None:
        """The run was killed: close its trackers for now; a row may have died with it, which sync or resume brings."""
        for tracker in self.trackers.values():
            with contextlib.suppress(Exception):
                tracker.finish("killed")

    def load(self, module: str) -> None:
        """Import early what a later call needs."""
        importlib.import_module(module)

    def call(self, function: str, *arguments) -> None:
        """Call a function by its dotted name."""
        module, _, name = function.rpartition(".")
        try:
            getattr(importlib.import_module(module), name)(*arguments)
        except Exception as error:  # a picture that cannot be drawn stops nothing
            self.tell(f"{name} failed: {error}")

    def each(self, method: str, *arguments) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                found = getattr(tracker, method)(*arguments)
            except Exception as error:  # whatever a tracker does, the run goes on
                del self.trackers[name]
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                self.keep(name, {"error": reason})
                self.tell(f"{name} failed, the run goes on without it (python -m src.sync later): {reason}")
                continue
            if method == "start":
                self.found.pop(name, None)
                self.keep(name, found)
            if method == "finish":
                self.keep(name, {"closed": True})

    def keep(self, name: str, found: dict) -> None:
        self.found[name] = self.found.get(name, {}) | found
        if self.path.parent.is_dir():
            write_json(self.path, self.found)

    def work(self, messages: queue.SimpleQueue) -> None:
        """Until "finish"; rows that wait together are logged together, one call for many is cheaper."""
        waiting = []
        while True:
            method, *arguments = waiting.pop(0) if waiting else messages.get()
            if method == "log":
                rows = [*arguments]
                while not messages.empty() and not waiting:
                    following = messages.get()
                    if following[0] == "log":
                        rows += following[1:]
                    else:
                        waiting.append(following)
                self.each("log", rows)
            else:
                getattr(self, method)(*arguments)
            if method in ("finish", "abandon"):
                return


def read(stream, messages: queue.SimpleQueue) -> None:
    """Put each line's message into the queue; the end of the stream is the end of a run that could not say so."""
    for line in stream:
        if line.endswith("\n"):  # a kill can cut the last one
            messages.put(json.loads(line))
    messages.put(["abandon"])


def main() -> None:
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
    with locked(Path(sys.argv[1])):  # the worker of a run that was killed may still be closing its trackers
        Worker(tell).work(messages)


if __name__ == "__main__":
    main()

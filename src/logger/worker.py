"""The process that talks to one tracker: ``python -m src.logger.worker mlflow``, for one run after another.

It outlives a run that is killed: when the messages end without a "finish", it closes the tracker as "killed".
"""

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from src.logger.fanout import TRACKERS, failure, keep, known
from src.system.code import locate
from src.system.errors import one_line
from src.system.files import locked
from src.system.process import silence_output

CLOSING = 60  # seconds in which a tracker closes a run whose process is gone


class Worker:
    """Forwards one run's messages to the tracker ``name``; drops them after its first failure.

    run, path : as of `Fanout`
    answer : function that sends a sentence to the run
    """

    def __init__(self, name: str, run: dict, path: Path, answer):
        self.name, self.run, self.answer = name, run, answer
        self.tracker = name  # until it starts: the user's own may fail to load
        self.known, self.keep = partial(known, path, name), partial(keep, path, name)

    def work(self, messages: queue.SimpleQueue) -> bool:
        """Process messages until "finish" (True) or until the run is gone (False).

        Rows that wait in the queue are logged in one call.
        """
        waiting = []  # at most one message, the one after the rows
        while message := waiting.pop() if waiting else messages.get():
            method, *arguments = message
            if method == "log":
                rows = arguments
                while not messages.empty() and not waiting:
                    following = messages.get()
                    if following and following[0] == "log":
                        rows += following[1:]
                    else:
                        waiting.append(following)
                arguments = [rows]
            self.forward(method, *arguments)
            if method == "finish":
                return True
        self.close("killed")
        return False

    def forward(self, method: str, *arguments) -> None:
        """Call a method of the tracker; whatever it raises, the run goes on."""
        if self.tracker is None:
            return
        try:
            if method == "start":
                self.tracker = (TRACKERS.get(self.name) or locate(self.name))()
                self.keep(self.tracker.start(self.run, self.known()))
            else:
                getattr(self.tracker, method)(*arguments)
            if method == "finish":
                self.keep(self.known() | {"closed": True})
        except Exception as error:
            if method != "finish":
                self.close("failed")
            self.tracker = None
            reason = one_line(error)
            self.keep(self.known() | {"error": reason})
            self.answer(failure(self.name, self.run, reason))

    def close(self, status: str) -> None:
        """Close the tracker for now; sync or resume sends what it lacks."""
        if self.tracker is not None:
            with suppress(Exception):
                self.tracker.finish(status)


def read(stream, messages: queue.SimpleQueue) -> None:
    """Put each line's message into the queue, and None when the process that sends them has ended."""
    for line in stream:
        if line.endswith("\n"):  # a kill can cut the last one
            messages.put(json.loads(line))
    messages.put(None)
    threading.Timer(CLOSING, os._exit, [1]).start()


def main(name: str) -> None:
    answer, messages = silence_output(), queue.SimpleQueue()
    threading.Thread(target=read, args=(sys.stdin, messages), daemon=True).start()
    while message := messages.get():
        _, run, path = message
        path = Path(path)
        with locked(path.with_name(f".{name}.lock"), 600):  # a killed run's worker may still be closing it
            worker = Worker(name, run, path, answer)
            worker.forward("start")
            if not worker.work(messages):
                break
        healthy = worker.tracker is not None
        answer(healthy)
        if not healthy:  # the library may be in any state: do not reuse this process
            break


if __name__ == "__main__":
    sys.path += sys.argv[2:]
    main(sys.argv[1])
    os._exit(0)  # an orderly exit takes a second, for all that a tracker has loaded

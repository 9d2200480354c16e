"""The process that talks to one tracker: ``python -m src.logger.worker mlflow``, for one run after the other.

It outlives a run that is killed: when the messages end without a "finish", it closes the tracker as "killed".
"""

import contextlib
import json
import os
import queue
import sys
import threading
from pathlib import Path

from src.logger.fanout import TRACKERS
from src.system.errors import without_password
from src.system.files import locked, read_json, write_json
from src.system.process import silence_output


class Worker:
    """Hands the messages of one run to the tracker ``name``; once it has failed, to nobody.

    ``path`` keeps what every tracker of the run said of itself, each written as soon as it is known.
    """

    def __init__(self, name: str, path: Path, tell):
        self.name, self.path, self.tell = name, path, tell
        self.tracker = TRACKERS[name]()

    def work(self, messages: queue.SimpleQueue) -> bool:
        """Until "finish", or the messages' end: False; rows that wait together are logged by one call."""
        waiting = []
        while message := waiting.pop(0) if waiting else messages.get():
            method, *arguments = message
            if method == "log":
                while not messages.empty() and not waiting:
                    following = messages.get()
                    if following and following[0] == "log":
                        arguments += following[1:]
                    else:
                        waiting.append(following)
                arguments = [arguments]
            self.hand(method, *arguments)
            if method == "finish":
                return True
        self.close("killed")
        return False

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
            if method != "finish":
                self.close("failed")
            self.tracker = None
            reason = without_password(" ".join(str(error).split()))[:300] or type(error).__name__
            self.keep(self.known().get(self.name, {}) | {"error": reason})
            self.tell(f"{self.name} failed, the run goes on without it (python -m src.sync later): {reason}")

    def close(self, status: str) -> None:
        """Close the tracker for now; what it lacks, sync or resume brings."""
        if self.tracker is not None:
            with contextlib.suppress(Exception):
                self.tracker.finish(status)

    def known(self) -> dict:
        return read_json(self.path) if self.path.is_file() else {}

    def keep(self, found: dict) -> None:
        if self.path.parent.is_dir():
            with locked(self.path.with_name(".trackers.lock")):
                write_json(self.path, self.known() | {self.name: found})


def read(stream, messages: queue.SimpleQueue) -> None:
    """Put each line's message into the queue; None is the end of the process that sent them."""
    for line in stream:
        if line.endswith("\n"):  # a kill can cut the last one
            messages.put(json.loads(line))
    messages.put(None)


def main(name: str) -> None:
    answer, messages = silence_output(), queue.SimpleQueue()
    threading.Thread(target=read, args=(sys.stdin, messages), daemon=True).start()
    while message := messages.get():
        _, run, path = message
        path = Path(path)
        with locked(path.with_name(f".{name}.lock"), 600):  # the worker of a killed run may still be closing it
            worker = Worker(name, path, answer)
            worker.hand("start", run)
            if not worker.work(messages):
                break
        healthy = worker.tracker is not None
        answer(healthy)
        if not healthy:  # who knows what the library holds of it
            break


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # to take apart all that a tracker has loaded would take a second

"""Tracker troubles on loopback: each run ends well and is not held for long; sync brings the rest later."""

import contextlib
import socketserver
import sqlite3
import threading
import time
from pathlib import Path

import harness as h
from harness import Found, Verb

from src.run.folder import Run

JSON, CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", b"Connection: close\r\n\r\n"
ANSWERS = {  # what a server sends when it has read a request; None: it never answers
    "hangs": None,
    "trickles": JSON + CLOSE + b" " * 3600,  # a byte a second
    "resets": b"",
    "sends no HTTP": b"\0\1\2 no HTTP at all\n" * 9,
    "answers 500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n" + CLOSE,
    "answers 503": b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n" + CLOSE,
    "answers 401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n" + CLOSE,
    "answers 429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n" + CLOSE,
    "redirects to itself": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n" + CLOSE,
    "answers HTML": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n" + CLOSE + b"<html>login</html>\r\n",
    "answers odd JSON": JSON + CLOSE + b'{"experiment": [[[]]], "run": 3}',
    "breaks off": JSON + b"Content-Length: 5000\r\n\r\n{",
}
URI, ONLINE = "MLFLOW_TRACKING_URI", {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40}
# name -> (tracker, kind of server or of store, variables)
TROUBLES = {f"MLflow's server {kind}": ("mlflow", kind, {}) for kind in ANSWERS}
STORES = ("a folder", "garbage", "newer", "locked", "empty")
TROUBLES |= {f"a store that is {kind}": ("mlflow", kind, {}) for kind in STORES}
TROUBLES |= {
    "no MLflow server": ("mlflow", "", {URI: "http://127.0.0.1:9"}),
    "a missing driver": ("mlflow", "", {URI: "mysql://me:secret@127.0.0.1/x"}),
    "an odd address": ("mlflow", "", {URI: "gopher://127.0.0.1"}),
    "W&B's server hangs": ("wandb", "hangs", ONLINE),
    "W&B's server answers 500": ("wandb", "answers 500", ONLINE),
    "a bad key of W&B": ("wandb", "answers 401", ONLINE | {"WANDB_API_KEY": "short"}),
    "an odd mode of W&B": ("wandb", "", {"WANDB_MODE": "sideways"}),
}
LIMITS = {"hangs": 45, "trickles": 40}  # seconds: logger.wait is 30; others: 15, and 5 to load the library
SWEEPS = ("MLflow's server hangs",)  # three jobs: only the first is held


@contextlib.contextmanager
def server(kind: str):
    """Yield the address of a server that answers everything with ``ANSWERS[kind]``."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while self.request.recv(65536):
                    pass
            answer, step = ANSWERS[kind], 1 if kind == "trickles" else 10_000
            for k in range(0, len(answer or b""), step):
                self.request.sendall(answer[k : k + step])
                time.sleep(kind == "trickles")
            time.sleep(600 if answer is None else 0)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close, request_queue_size = True, False, 100
        handle_error = lambda *_: None  # noqa: E731  a client that has gone

    with Server(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


@contextlib.contextmanager
def spoiled(path: Path, kind: str):
    """Spoil the sqlite store while the block runs."""
    kept = path.rename(path.with_name("kept.db"))
    with contextlib.ExitStack() as stack:
        if kind == "a folder":
            path.mkdir()
        elif kind == "garbage":
            path.write_bytes(b"no database at all" * 1000)
        elif kind != "empty":
            path.write_bytes(kept.read_bytes())
            store = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            newer = "update alembic_version set version_num = 'ffffffffffff'"
            store.execute(newer if kind == "newer" else "begin exclusive")
        yield
    if path.is_dir():
        path.rmdir()
    kept.replace(path)


def alone(found: Found, made: Path) -> None:
    """Measure the seconds of the run without trackers."""
    with h.place(made, "t1"):
        found["measured"] = Verb("train", *h.NET).wait().seconds


def trouble(found: Found, made: Path, name: str, alone: float) -> None:
    """Train while a tracker is in trouble; when the trouble is over, sync."""
    tracker, kind, variables = TROUBLES[name]
    jobs = ("--multirun", "seed=0,1,2") if name in SWEEPS else ()
    with h.place(made, "t1") as folder, contextlib.ExitStack() as stack:
        before = h.finished()
        if kind in ANSWERS:
            address = stack.enter_context(server(kind))
            variables = variables | {URI if tracker == "mlflow" else "WANDB_BASE_URL": address}
        elif kind:
            stack.enter_context(spoiled(folder / "outputs/mlflow.db", kind))
        verb = Verb("train", *jobs, *h.NET, f"logger={tracker}", **variables).wait(200).check(found, (0,))
        found["held"] = verb.seconds - alone * (3 if jobs else 1)
        found.check(found["held"] < LIMITS.get(kind, 20), "other", f"held for {found['held']:.0f} s")
        found.check("secret" not in verb.read("stdout"), "other", "shows a password")
        reported = [line for line in verb.read("stdout").splitlines() if "src.sync" in line]
        found.check(len(reported) == (kind != "empty") * (3 if jobs else 1), "other", f"reported {reported}")
        stack.close()
        run = Run.open(h.latest())
        if not jobs:
            h.check_same(found, run.name, "t1")
        synced = Verb("sync", f"run={run.name}").check(found, (0,))
        found.check(synced.code == 0, "lost", "sync does not bring it")
        if tracker == "mlflow" and kind != "empty":
            h.check_store(found, run)
        h.check_untouched(found, before)
        h.check_listings(found)

"""Who holds a run: one process at a time trains, resumes, syncs, packs or removes it.

The holder locks the file ``.lock`` in the run's folder and writes into it who it is. The kernel gives the
lock back when the holder dies. A shared file system may not carry locks from host to host, so the holder also
touches the file every 10 s; other hosts take it for dead after 60 s without a touch.
"""

import fcntl
import json
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from src.system.errors import UserError
from src.system.files import host
from src.system.process import start_thread

BEAT_S, DEAD_S = 10, 60
WAIT_S = 0.5  # whoever lists runs locks each for microseconds
BOOT = Path("/proc/sys/kernel/random/boot_id")  # containers of one machine share its kernel
_held = set()  # descriptors of this process


class Held(UserError):
    """Another process holds the run."""

    def __init__(self, name: str, found: dict):
        since = time.strftime("%F %T", time.localtime(found["since"]))
        who = f"{found['verb']}, process {found['pid']} on {found['host']}, since {since}"
        super().__init__(f"{name} is in use ({who}); if that process is gone for certain, add force=true")


@contextmanager
def hold(folder: Path, verb: str, force: bool = False):
    """Hold the run in ``folder`` for the block; raise `Held` if another process does, unless by force."""
    check_free(folder, force)
    descriptor = _take(folder, force)
    if descriptor is None:
        yield
        return
    _held.add(descriptor)
    with suppress(OSError):  # a full disk: it is locked, though without a name
        content = json.dumps(_me() | {"pid": os.getpid(), "verb": verb, "since": time.time()})
        os.truncate(descriptor, os.pwrite(descriptor, content.encode(), 0))
    over = threading.Event()
    beat = start_thread(_beat, descriptor, over)
    try:
        yield
    finally:
        over.set()
        beat.join()
        with suppress(OSError):
            os.truncate(descriptor, 0)  # other hosts see at once that it is over
        _held.discard(descriptor)
        os.close(descriptor)


def check_free(folder: Path, force: bool = False) -> None:
    """Raise `Held` if a process holds the run, unless by force."""
    found = holder(folder)
    if found and not force:
        raise Held(folder.name, found)


def holder(folder: Path) -> dict | None:
    """Return who holds the run now, {"host", "pid", "verb", "since"}; None if nobody does."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return _trainer_of_old(folder)
    try:
        knows = True  # whether the file system has locks
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(descriptor) or _unknown()
        except OSError:
            knows = False
        found, silent = _read(descriptor), time.time() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    died_here = knows and _me().items() <= found.items()
    return found if found and silent < DEAD_S and not died_here else None


def alive(pid: int, since: float) -> bool:
    """Return whether the process that had number ``pid`` at the time ``since`` still runs.

    Numbers are given again, so the start counts, too. A killed process stays a zombie if nobody waits for it.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _trainer_of_old(folder: Path) -> dict | None:
    """Return who trains a run without a lock file, which an older version began, by its report."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        found = {"host": report["host"], "pid": report["pid"], "verb": "train", "since": report["started"]}
        if report["status"] != "running" and (report["status"] != "done" or (folder / "DONE").is_file()):
            return None
        here = found["host"] in (host(), socket.gethostname())
        return None if here and not alive(found["pid"], found["since"]) else found
    except (OSError, ValueError, KeyError, TypeError):  # no run has begun here
        return None


def _take(folder: Path, force: bool) -> int | None:
    """Return a descriptor of the locked file; None where no such file can be written, as on a full disk.

    By force the file is a new one: the old holder's lock is on a file without a name.
    """
    path, end = folder / ".lock", time.monotonic() + WAIT_S
    if force and holder(folder):
        path.unlink(missing_ok=True)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            raise UserError(f"{folder.name} has just been removed") from None
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except OSError as error:
            taken = not isinstance(error, BlockingIOError)  # a file system without locks: the touches count
        with suppress(FileNotFoundError):
            if taken and os.path.samestat(os.fstat(descriptor), path.stat()):  # not removed meanwhile
                return descriptor
        os.close(descriptor)
        if time.monotonic() > end:
            raise Held(folder.name, holder(folder) or _unknown())
        time.sleep(0.01)


def _beat(descriptor: int, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with suppress(OSError):  # a server that is away for a moment
            os.utime(descriptor)


def _me() -> dict:
    return {"host": host(), "boot": BOOT.read_text().strip() if BOOT.is_file() else socket.gethostname()}


def _unknown() -> dict:
    """Return the holder who has not written its name yet, or cannot."""
    return {"host": host(), "pid": "?", "verb": "train", "since": time.time()}


def _read(descriptor: int) -> dict:
    """Return the holder in a lock file; {} where it was given back, or is just being taken."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return found if {"host", "pid", "verb", "since"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _forget() -> None:
    """Close the locks of the process that was forked: a child that outlives it must not keep them."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_forget)

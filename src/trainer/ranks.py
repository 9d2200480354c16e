"""More than one device: a process for each (a rank), whether the run began in a shell, a notebook or a sweep.

Rank 0 is the run's own process; the others read its folder's config, make the same data and train along. They write
nothing but ``rank_1.txt``, which is kept only where one dies.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from src.metric.choose import choose
from src.system.environment import n_threads, set_seed, set_threads
from src.system.errors import UserError
from src.system.files import read_json
from src.system.paths import CHECKOUT

LOST = ("connection", "remote", "gloo", "nccl", "timed out")  # what is said when another rank is gone
VARIABLES = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


def n_devices(trainer: dict) -> int:
    """How many devices the trainer section asks for: a number, a list, or "0,1"; one for "auto"."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and not devices.lstrip("-").isdigit():
        return 1 if devices == "auto" else len([x for x in devices.split(",") if x.strip()])
    if int(devices) < 0:
        import torch

        return max(1, torch.cuda.device_count())
    return int(devices)


def rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def others(n: int, folder: Path):
    """Ranks 1 to n - 1 train along while the block runs; one that dies ends it.

    Raises
    ------
    UserError
        with the last words of the rank that died.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    command = [sys.executable, "-m", "src.trainer.ranks", str(folder)]
    workers, outputs = [], []
    for i in range(1, n):
        outputs.append((folder / f"rank_{i}.txt").open("w"))
        variables = os.environ | common | {"LOCAL_RANK": str(i)}
        workers.append(
            subprocess.Popen(command, cwd=CHECKOUT, env=variables, stdout=outputs[-1], stderr=subprocess.STDOUT)
        )
    os.environ.update(common | {"LOCAL_RANK": "0"})
    over = threading.Event()
    threading.Thread(target=_watch, args=(workers, over), daemon=True).start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in LOST):
            _wait_for_death(workers)
        dead = _dead(workers)
        if dead is not None and not isinstance(error, UserError):
            raise UserError(
                f"rank {dead + 1} died: {_last_words(folder / f'rank_{dead + 1}.txt', workers[dead])}"
            ) from None
        raise
    finally:
        over.set()
        for name in VARIABLES:
            os.environ.pop(name, None)
        for worker in workers:
            try:
                worker.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.kill()
        for output in outputs:
            output.close()
    for i in range(1, n):
        (folder / f"rank_{i}.txt").unlink()


def meet(n: int) -> None:
    """Open the process group of ``n`` ranks, which Lightning then uses; the last that each does before training.

    A rank asks here, in Python, whether the others have come: in torch's own rendezvous nothing could wake it from
    waiting for one that has died.
    """
    import torch.distributed as dist

    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(*address, n, is_master=rank() == 0, wait_for_workers=False)
    store.set(f"rank {rank()}", "here")
    while not store.check([f"rank {i}" for i in range(n)]):
        time.sleep(0.02)
    dist.init_process_group(store=store, rank=rank(), world_size=n)


def _wait_for_death(workers) -> None:
    """Rank 0 learns of a lost connection before the process at its other end has gone."""
    until = time.monotonic() + 20
    while _dead(workers) is None and time.monotonic() < until:
        time.sleep(0.05)


def _watch(workers, over) -> None:
    """Interrupt rank 0 where another rank has died: it may wait for that one for ever."""
    while not over.wait(0.5):
        if _dead(workers) is not None:
            if not over.wait(5):  # a lost connection mostly ends rank 0 by itself
                import _thread

                _thread.interrupt_main()
            return


def _dead(workers) -> int | None:
    return next((i for i, worker in enumerate(workers) if worker.poll() not in (None, 0)), None)


def _last_words(path: Path, worker) -> str:
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    how = f"signal {-worker.returncode}" if worker.returncode < 0 else f"exit code {worker.returncode}"
    return f"{how}{', ' + lines[-1][:300] if lines else ''}"


class Follower:
    """What a rank other than 0 has for a run: a folder to read, and nobody who listens."""

    def __init__(self, folder: Path):
        self.folder, self.name, self.resumed = folder, folder.name, (folder / "checkpoints" / "last.ckpt").is_file()

    def log_row(self, row: dict) -> None:
        """Rank 0 writes the history."""


def main(folder: Path) -> None:
    from src.data.load import load_data
    from src.trainer.family import family
    from src.trainer.history import Progress

    cfg = read_json(folder / "config.json")
    set_threads(n_threads(cfg["threads"]))
    set_seed(cfg["seed"])
    frame = None
    if (folder / "frame.pkl").is_file():
        import pandas as pd

        frame = pd.read_pickle(folder / "frame.pkl")  # written by rank 0 a moment ago
    data = load_data(cfg, frame)
    chosen = choose(cfg["metric"], cfg["metric_mode"], data.info["task"])
    run = Follower(folder)
    family(cfg["model"]).fit(
        cfg["model"], data, chosen, seed=cfg["seed"], trainer=cfg["trainer"], folder=folder / "checkpoints",
        resume=run.resumed, log_row=run.log_row, progress=Progress(chosen, 0), n_threads=1,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One rank of a run without a launcher: ``python -m src.trainer.rank FOLDER``, by `src.trainer.ranks`."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from src.data.prepare import Data
from src.metric.choose import choose
from src.system.environment import set_seed, set_threads
from src.system.errors import UserError
from src.system.files import read_json
from src.trainer import net
from src.trainer.ranks import rank


class Parent:
    """The process that records the run: rank 0 sends it rows and waits until they are written.

    So no checkpoint knows an epoch that the run's history does not.
    """

    def __init__(self):
        port = int(os.environ["MASTER_PORT"])
        self.store, self.n_rows = dist.TCPStore("127.0.0.1", port, is_master=False), 0

    def log_row(self, row: dict) -> None:
        self.store.set(f"row {self.n_rows}", json.dumps(row))
        self.store.wait([f"taken {self.n_rows}"])
        self.n_rows += 1

    def within(self, *progress) -> None:
        if rank() == 0:
            self.store.set("within", json.dumps(progress))


def main() -> None:
    folder, parent = Path(sys.argv[1]), Parent()
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    request = read_json(folder / "request.json")
    set_threads(request["n_threads"])
    set_seed(request["seed"])
    parts = {"train": {}, "val": {}}
    for path in folder.glob("*.npy"):
        part, _, name = path.stem.partition("-")
        parts[part][name] = np.load(path, mmap_mode="c")  # copy on write: one copy in memory for all ranks
    data = Data(parts, request["info"], request["transforms"])
    metric = choose(*request["metric"], request["info"]["task"])
    names = ("seed", "trainer", "resume", "n_threads")
    try:
        trained, kept = net.fit(
            request["model"], data, metric, **{name: request[name] for name in names},
            folder=folder.parent, log_row=parent.log_row, progress=parent,
        )  # fmt: skip
    except UserError:
        raise
    except Exception:  # ranks notice a dead one within milliseconds: let the parent see it first
        time.sleep(1)
        raise
    if rank() == 0:
        net.save(trained, folder / "net.pt")
        parent.store.set("kept", json.dumps(kept))


def end_with(parent: int) -> None:
    """End this process when its parent is gone, also where that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    record(main)()

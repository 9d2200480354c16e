"""One run on several devices or nodes: which rank this process is, and starting ranks where no launcher did.

A rank is one process of a run that trains on several devices. ``torchrun`` and ``srun`` start every rank as a
whole command: rank 0 records the run, the others only train along. Without a launcher the run's process stays
outside of the training: it starts all ranks through torch's own process starter, hands them the prepared
arrays in files, and takes each row of history from rank 0 through torch's store.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from src.system.errors import UserError
from src.system.files import read_json, write_json
from src.system.paths import CHECKOUT

GRACE_S = 5  # for ranks to end by themselves before they are killed
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # that torch's starter takes over


def n_devices(trainer: dict) -> int:
    """Return how many devices a node uses: ``trainer.devices`` is a number, a list, "0,1" or "auto" (one)."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and not devices.lstrip("-").isdigit():
        return 1 if devices == "auto" else len([x for x in devices.split(",") if x.strip()])
    if int(devices) < 0:
        import torch

        return max(1, torch.cuda.device_count())
    return int(devices)


def world_size(trainer: dict) -> int:
    """Return the number of ranks of one run, over all nodes."""
    return n_devices(trainer) * trainer["num_nodes"]


def launcher() -> str | None:
    """Return "torchrun" or "srun" if it started this process as one of several ranks, as Lightning tests."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun" if int(os.environ["WORLD_SIZE"]) > 1 else None
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    return "srun" if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else None


def rank() -> int:
    """Return this process's number among all ranks of the run; 0 where there are no others."""
    known = launcher()
    return 0 if known is None else int(os.environ["RANK" if known == "torchrun" else "SLURM_PROCID"])


def check(trainer: dict, refit: bool) -> None:
    """Refuse numbers of devices and nodes, or a second fit, that do not fit how this process was started."""
    nodes, known = trainer["num_nodes"], launcher()
    if known is None:
        if nodes > 1:
            raise UserError(
                f"trainer.num_nodes={nodes} needs a launcher on every node: torchrun --nnodes={nodes} "
                f"--nproc_per_node={n_devices(trainer)} -m src.train ..., or srun python -m src.train ..."
            )
        return
    if refit:
        raise UserError(f"{known} starts the ranks of one fit: add refit=false")
    started = int(os.environ["WORLD_SIZE" if known == "torchrun" else "SLURM_NTASKS"])
    if started != world_size(trainer):
        raise UserError(
            f"{known} started {started} ranks, but trainer.devices={trainer['devices']} and "
            f"trainer.num_nodes={nodes} ask for {world_size(trainer)}: their product is the number of ranks"
        )


# -- without a launcher: this process starts the ranks


def train(request: dict, parts: dict, folder: Path, *, log_row, progress) -> int:
    """Train one net in ``request["n_ranks"]`` new processes of `src.trainer.rank`; return the kept epoch.

    A `UserError` has the reason of the rank that failed first.

    request : what a rank needs to call `src.trainer.net.fit`; JSON
    parts : {"train", "val"} of named arrays, saved once and mapped into memory by every rank
    folder : a new folder for what this process and the ranks share; ``net.pt`` there is the trained net
    """
    import numpy as np
    import torch
    from torch.distributed import TCPStore

    n, n_gpus = request["n_ranks"], torch.cuda.device_count()
    if 0 < n_gpus < n and request["trainer"]["accelerator"] in ("auto", "gpu", "cuda"):
        raise UserError(f"trainer.devices={n}, but there are {n_gpus} GPUs; on CPU: trainer.accelerator=cpu")
    folder.mkdir(parents=True)
    for part, arrays in parts.items():
        for name, array in arrays.items():
            np.save(folder / f"{part}-{name}.npy", array)
    write_json(folder / "request.json", request)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    n_rows = 0
    with _started(n, folder, store.port) as processes:
        while (ended := processes.wait(0)) is None:
            if store.check([f"row {n_rows}"]):
                log_row(json.loads(store.get(f"row {n_rows}")))
                store.set(f"taken {n_rows}", "")
                n_rows += 1
            elif store.check(["within"]):
                progress.within(*json.loads(store.get("within")))
                store.delete_key("within")
            else:
                time.sleep(0.02)
    if ended.failures:
        raise _reason(ended.failures)
    return json.loads(store.get("kept"))


@contextmanager
def _started(n: int, folder: Path, port: int):
    """Start ``n`` ranks as torchrun would, and end them with the block; Ctrl-C stays what it was."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std, start_processes

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we show the reason
    environment = {
        "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "reprise", "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_USE_AGENT_STORE": True,
        "SLURM_JOB_NAME": "interactive",  # Lightning then looks for no ranks of srun, also in a SLURM job
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)]),
    }  # fmt: skip
    common = {name: str(value) for name, value in environment.items()}
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with tempfile.TemporaryDirectory() as logs:
        processes = start_processes(
            "rank",
            sys.executable,
            {i: ("-m", "src.trainer.rank", str(folder)) for i in range(n)},
            {i: common | {"RANK": str(i), "LOCAL_RANK": str(i)} for i in range(n)},
            DefaultLogsSpecs(log_dir=logs, redirects=Std.ALL),
        )
        try:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)
            yield processes
        finally:
            processes.close(timeout=GRACE_S)


def _reason(failures: dict) -> UserError:
    """Return the error of the rank that failed first; a mistake of the user's is told as on one device."""
    first = min(failures.values(), key=lambda failure: failure.timestamp)
    text = _message(first.error_file_data)
    if text is None:
        how = f"signal {-first.exitcode}" if first.exitcode < 0 else f"exit code {first.exitcode}"
        return UserError(f"rank {first.local_rank} died: {how}")
    kind, _, sentence = text.partition(": ")
    return UserError(sentence if kind == "UserError" else f"rank {first.local_rank} died: {text}")


def _message(error_file: dict) -> str | None:
    """Return "RuntimeError: ..." from what torch's `errors.record` wrote; None if nothing."""
    found = error_file.get("message")
    return found["message"] if isinstance(found, dict) else None


# -- with a launcher: this process is one rank


@contextmanager
def launched(end):
    """Watch over rank 0 of a launched run: ``end(error)`` is called if the launcher ends it.

    A rank that waits for a dead one stands in C++, where no signal handler of Python runs; a thread takes the
    launcher's SIGTERM instead. Does nothing where there is no launcher.
    """
    if launcher() is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            if signal.sigtimedwait({signal.SIGTERM}, 1) and not over.wait(GRACE_S):
                end(UserError(lost("it waited for another rank in vain")))
                os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that the connection to another rank broke; gloo raises a plain RuntimeError."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)


def lost(text: str) -> str:
    """Return a sentence on why other ranks are gone: from their error files on this node, else ``text``."""
    own = os.environ.get("TORCHELASTIC_ERROR_FILE")
    until = time.monotonic() + 2  # a rank writes its file before it ends, and is noticed a moment before
    while own and time.monotonic() < until:
        for path in sorted(Path(own).parent.parent.glob("*/error.json")):
            if path != Path(own) and (message := _message(read_json(path))):
                return f"rank {path.parent.name} died: {message}"
        time.sleep(0.1)
    return f"another rank is gone ({text}); the output of {launcher()} names it"

"""The server of a sweep's workers: it imports once what the jobs need, and is forked for each worker."""

import atexit
import os
import re
import signal
from multiprocessing import forkserver, get_context, set_forkserver_preload
from pathlib import Path

from src.config.tree import CONF

CONTEXT = get_context("forkserver")
CLASSES = re.compile(r"class: (sklearn[\w.]*)\.\w+")


def prestart(words: list[str]) -> None:
    """Start the server while this process checks ``words``, the overrides of a sweep."""
    models = next((word[6:] for word in words if word.startswith("model=")), "mlp").split(",")
    files = [file for file in (CONF / "model").glob("*.yaml") if file.stem in models]
    texts = [file.read_text(encoding="utf-8") for file in files]
    nets = {"_torch" in text for text in texts}
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists():
        nets.discard(True)  # an import of torch may look at the GPUs, which forked processes then cannot use
    modules = ["src.trainer.net" if net else "src.trainer.estimator" for net in nets]
    modules += CLASSES.findall("".join(texts)) if False in nets else []
    set_forkserver_preload(["src.study.jobs", "hydra_plugins.hydra_joblib_launcher._core", *modules])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server inherits it: Ctrl-C ends its parent
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)
    server = forkserver._forkserver  # after a typo it would import for two more seconds
    atexit.register(lambda: os.kill(server._forkserver_pid, signal.SIGKILL))

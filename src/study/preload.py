"""Import what jobs need, in the server that is forked for each process: the modules that `PRELOAD` names."""

import importlib
import os
from contextlib import suppress

from src.system.process import uncollected

PRELOAD = "REPRISE_PRELOAD"  # variable of the environment

with uncollected():
    for name in os.environ.get(PRELOAD, "").split():
        with suppress(ImportError):  # the job that needs it says so
            importlib.import_module(name)

"""Draws a run's pictures in a process beside it, which has loaded its plotting library long before it is needed."""

import logging
import subprocess
import sys
from pathlib import Path

from src.storage import CHECKOUT

log = logging.getLogger("reprise")


class Painter:
    """`src.plots` for the run in ``folder``, waiting for the word to draw."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "src.plots", str(folder)],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            process_group=0,
        )  # fmt: skip

    def finish(self, draw: bool) -> None:
        """Draw, or do not, and wait for it; pictures that cannot be drawn stop nothing."""
        _, said = self.process.communicate("draw\n" if draw else "")
        if draw and self.process.returncode:
            reason = said.strip().rpartition("\n")[2] or f"its process ended with {self.process.returncode}"
            log.warning("the pictures of %s could not be drawn: %s", self.folder.name, reason)

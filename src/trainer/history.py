"""What a person sees while a run trains: a line for an epoch now and then, none for a batch."""

import logging
import time

log = logging.getLogger("reprise")
EVERY_S = 10  # a line at least so often, within epochs too
LINES = 20  # about so many lines of epochs in a run


class Progress:
    """Shows rows of history as they come: the first, the last, and about `LINES` between."""

    def __init__(self, metric: dict, max_epochs: int):
        self.key = f"val/{metric['name']}"
        self.every = max(1, max_epochs // LINES) if max_epochs > 0 else 1
        self.started = self.said = time.monotonic()
        self.pending = None

    def row(self, row: dict) -> None:
        self.pending = row
        late = time.monotonic() - self.said >= EVERY_S
        if row["epoch"] == 1 or row["epoch"] % self.every == 0 or late:
            self.flush()

    def flush(self) -> None:
        """Show the last row if it was not shown yet."""
        if self.pending is None:
            return
        row, self.pending = self.pending, None
        self.said = time.monotonic()
        shown = dict.fromkeys(["train/loss", "val/loss", self.key])
        values = "   ".join(f"{name} {row[name]:.4f}" for name in shown)
        log.info("epoch %4d   %s   %6.1f s", row["epoch"], values, self.said - self.started)

    def within(self, epoch: int, done: int, n: int) -> None:
        if time.monotonic() - self.said >= EVERY_S:
            self.said = time.monotonic()
            log.info("epoch %4d   %3.0f%% of its batches   %6.1f s", epoch, 100 * done / n, self.said - self.started)

"""The rows of a run's history: which is the best, and what a person sees of them while the run trains."""

import logging
import sys
import time
from multiprocessing import parent_process

from src.metric.choose import better
from src.system.errors import NOTE, log

BAR_S = 2  # a longer epoch has a bar, on a terminal and in a notebook
EVERY_S = 10  # show a line at least this often, also within a long epoch
TRAIN_ROWS = 10_000  # metrics on train are computed on at most this many of its rows
LINES = 20  # about this many lines of epochs in a run


class Pruned(Exception):
    """A search gives a run up: raised by the run's ``watch`` after a row of history."""


def watched(log_row, watch):
    """Return a function that gives a row to ``log_row`` and then to ``watch``, if there is one."""
    return (lambda row: (log_row(row), watch(row))) if watch else log_row


class History(list):
    """Rows of history, one an epoch: {"epoch": 3, "train/loss": ..., "val/f1": ...}.

    best : the row with the best metric on val; None as long as the metric was never a number
    since : rows after the best one, all rows if there is none: what patience counts

    >>> history = History({"name": "f1", "mode": "max"})
    >>> for epoch, f1 in enumerate([0.5, 0.7, 0.6], start=1):
    ...     history.append({"epoch": epoch, "val/loss": 1.0, "val/f1": f1})
    >>> history.best["epoch"], history.since, history.kept
    (2, 1, 2)
    """

    def __init__(self, metric: dict):
        super().__init__()
        self.metric, self.best, self.since = metric, None, 0

    def append(self, row: dict) -> None:
        super().append(row)
        self.since += 1
        if better(row, self.best, self.metric):
            self.best, self.since = row, 0

    @property
    def kept(self) -> int | None:
        """The epoch of the best row; of the last row, with a warning, if the metric was never a number."""
        if self.best is not None:
            return self.best["epoch"]
        if not self.since:
            return None
        log.warning("%s on val was never a number: the last epoch is kept", self.metric["name"])
        return self[-1]["epoch"] if self else self.since  # resumed after its last epoch: all rows came before


class Progress:
    """Shows rows of history as they come: the first, the last, and about `LINES` between.

    n_epochs : the number of epochs that are expected; 0 if nobody knows.
    """

    def __init__(self, metric: dict, n_epochs: int):
        self.key = f"val/{metric['name']}"
        self.every = max(1, n_epochs // LINES) if n_epochs > 0 else 1
        self.started = self.shown_at = self.noted_at = time.monotonic()
        self.pending = self.bar = None

    def row(self, row: dict) -> None:
        self.pending = row
        late = time.monotonic() - self.shown_at >= EVERY_S
        if row["epoch"] == 1 or row["epoch"] % self.every == 0 or late:
            self.flush()

    def flush(self) -> None:
        """Show the last row if it was not shown yet."""
        if self.pending is None:
            return
        row, self.pending = self.pending, None
        self.shown_at = time.monotonic()
        names = dict.fromkeys(["train/loss", "val/loss", self.key])
        values = "   ".join(f"{name} {row[name]:.4f}" for name in names)
        log.log(self._level(), "epoch %4d   %s  %6.1f s", row["epoch"], values, self.shown_at - self.started)

    def within(self, epoch: int, done: int, n: int) -> None:
        """Show that ``done`` of an epoch's ``n`` steps are behind it: as a bar, or a line every `EVERY_S`."""
        if self.bar is None:
            from tqdm import tqdm  # here: estimators have no steps

            watched = sys.stderr.isatty() or "ipykernel" in sys.modules
            of_many = parent_process() is not None  # their bars would write over each other
            options = {"disable": of_many or not watched, "delay": BAR_S, "leave": False}
            self.bar = tqdm(desc=f"epoch {epoch}", total=n, **options)
        self.bar.update(done - self.bar.n)
        if done == n:
            self.bar.close()
            self.bar = None
        elif self.bar.disable and time.monotonic() - self.shown_at >= EVERY_S:
            self.shown_at = time.monotonic()
            seconds = self.shown_at - self.started
            line = "epoch %4d   %3.0f%% of its batches   %6.1f s"
            log.log(self._level(), line, epoch, 100 * done / n, seconds)

    def _level(self) -> int:
        """Return the level of a line: a sweep shows one of a job every `EVERY_S`."""
        if self.shown_at - self.noted_at < EVERY_S:
            return logging.INFO
        self.noted_at = self.shown_at
        return NOTE

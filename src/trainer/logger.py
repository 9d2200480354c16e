"""The bridge from Lightning's ``trainer.logger`` to a run: one row of history an epoch, from rank 0 only."""

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class RunLogger(Logger):
    def __init__(self, run):
        self.run = run

    @property
    def name(self) -> str:
        return "reprise"

    @property
    def version(self) -> str:
        return self.run.name

    @rank_zero_only
    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        self.run.log_row(metrics)

    def log_hyperparams(self, *_args, **_kwargs) -> None:
        """The run has recorded the whole config already."""

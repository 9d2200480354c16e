"""Compare two runs: ``runs=t7,t9``."""

from src.config import shell
from src.run.compare import side_by_side
from src.run.folder import Run
from src.system.errors import UserError


def diff(runs: str) -> None:
    """Show two runs side by side: metrics, then what differs in config, code, data and environment.

    python -m src.diff runs=t7,t9

    runs : two runs
    """
    names = runs.split(",")
    if len(names) != 2:
        raise UserError(f"runs={runs}: name two runs, runs=t7,t9")
    shell.show(side_by_side(*map(Run.open, names)))


if __name__ == "__main__":
    shell.call(diff)

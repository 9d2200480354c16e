"""Combine runs into one that predicts by all of them: ``runs=t3,t7,t9 method=greedy``."""

from src.config import shell
from src.run.remove import expand


def ensemble(runs: str, method: str = "greedy", model: str = "linear", trust: bool = False):
    """Combine done runs into a run of its own, which predicts by all of them; returns the `Run`.

    python -m src.ensemble runs=t3,t7,t9
    python -m src.ensemble runs=t3,t7-t9 method=stack model=hist_gb

    runs : runs and ranges of runs, of the same data, val rows and test rows
    method : mean; weighted, by the weights of the least loss on val; greedy, runs are added one by one, also
        again, while that helps on val; stack, a model is trained on their predictions for val, with folds
    model : of method=stack
    trust : use models that were not made here, or were changed since
    """
    from src.study.ensemble import config_of
    from src.study.run import run_config

    shell.console()
    cfg = config_of(expand(runs, "runs"), method, model, trust)
    return run_config(cfg, report={"overrides": [f"runs={runs}", f"method={method}"]})


if __name__ == "__main__":
    shell.call(ensemble)

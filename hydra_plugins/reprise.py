"""Hydra's plugin for ``sweep=optuna``: Hydra runs this file at each start, so it imports next to nothing."""

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


class Searcher(Sweeper):
    """Hand the jobs of a sweep to `src.study.search`, which chooses them."""

    def __init__(self, params=None):
        self.params = dict(params or {})  # of conf/space/: {"model.lr": "interval(1e-4,1e-1)"}

    def setup(self, *, hydra_context, task_function, config):
        from hydra.core.plugins import Plugins

        parts = {"hydra_context": hydra_context, "task_function": task_function, "config": config}
        self.config, self.launcher = config, Plugins.instance().instantiate_launcher(**parts)

    def sweep(self, arguments):
        from src.study.search import sweep

        return sweep(self.config, self.launcher, self.params, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper", name="reprise", node={"_target_": "hydra_plugins.reprise.Searcher", "params": {}}
)

"""Configs of a sweep's jobs: Hydra composes those that choose the same groups once."""

import copy
import functools
import re

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper

from src.config.tree import CONF, own


@functools.cache
def compose_once() -> None:
    """Let Hydra's launchers compose quickly; composing takes 0.07 s, a copy with other values 0.01 s."""
    whole, composed = ConfigLoaderImpl.load_sweep_config, {}

    def load_sweep_config(loader, master_config, sweep_overrides):
        values = [text for text in sweep_overrides if _is_value(text)]
        groups = [text for text in sweep_overrides if text not in values]
        key = (*master_config.hydra.overrides.hydra, *groups)
        if key not in composed:
            composed[key] = whole(loader, master_config, groups)
        cfg = copy.deepcopy(composed[key])
        loader._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), cfg)
        task = [text for text in sweep_overrides if not re.match("[+~]*hydra[./=]", text)]
        cfg.hydra.overrides.task = task  # in the order in which they were typed
        return cfg

    ConfigLoaderImpl.load_sweep_config = load_sweep_config
    for name in ("cfg", "hydra_cfg"):  # else Hydra keeps those of all jobs, which nobody reads: 0.2 MB a job
        setattr(JobReturn, name, property(lambda _: None, lambda *_: None))
    Sweeper.validate_batch_is_legal = lambda *_: None  # it would compose every job; `check` has done that


def plain_hydra() -> None:
    """Let Hydra compose no config only to read hydra.mode, and put no line of its own above a job's error."""

    def value(done):
        if done.status is JobStatus.FAILED:
            raise done._return_value
        return done._return_value

    Hydra.get_mode = lambda *_, **__: None  # `check` refuses hydra.mode=...
    JobReturn.return_value = property(value, JobReturn.return_value.fset)


def _is_value(override: str) -> bool:
    """Return whether an override sets a key of ours, and chooses no group."""
    key = re.match(r"\+{0,2}([A-Za-z_][\w.]*)=", override)
    return bool(key) and key[1][:6] != "hydra." and not any((conf / key[1]).is_dir() for conf in (CONF, *own))

"""The config tree: groups, choices, keys."""



from src.system.errors import UserError, one_line
from src.system.paths import CHECKOUT

CONF = CHECKOUT / "conf"
GROUPS = ("dataset", "model", "trainer", "logger", "experiment", "debug")


def flat(cfg: dict, prefix: str = "") -> dict:
    """{"model": {"lr": 1}} -> {"model.lr": 1}."""
    out = {}
    for key, value in cfg.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def choices(group: str) -> list[str]:
    """The names that ``group=`` takes."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


class _hydra:
    """Hydra's compose on ``conf/``; what it refuses is one sentence."""

    def __enter__(self):
        from hydra import compose, initialize_config_dir

        self.initialized = initialize_config_dir(str(CONF), version_base=None, job_name="train")
        self.initialized.__enter__()
        return compose

    def __exit__(self, kind, error, trace):
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        self.initialized.__exit__(kind, error, trace)
        if isinstance(error, HydraException | OmegaConfBaseException):
            raise UserError(one_line(error)) from None


def _parse(word: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not isinstance(word, str):
        raise UserError(f"{word!r} is not a word: give each as a string of its own, fit('model=mlp', 'seed=1')")
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{word!r} is not an override ({str(error).splitlines()[0]}): write key=value") from None
    if override.is_delete():
        raise UserError(f"{word}: keys are not removed; set it to null, or choose another group")
    return override


def _get(config: dict, key: str):
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return None, False
        config = config[name]
    return config, True


def _leaves(config: dict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}", value

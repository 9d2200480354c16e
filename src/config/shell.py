"""What every command shares: help, the words of small verbs, messages on the console, one sentence for a mistake."""

import logging
import sys
from pathlib import Path

from src.config.tree import CONF, GROUPS, choices
from src.system.errors import UserError, nearest


def run(main) -> None:
    """Call ``main``; a `UserError` is one sentence on stderr and exit code 1, Ctrl-C is exit code 130."""
    log_to_console()
    try:
        main()
    except UserError as error:
        refuse(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def refuse(error, code: int) -> None:
    """Exit with ``code`` and one sentence on stderr."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


def log_to_console() -> None:
    """Show the project's messages on stdout, without decoration; twice called is once done."""
    log = logging.getLogger("reprise")
    if not any(type(handler) is logging.StreamHandler for handler in log.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.raiseExceptions = False  # a closed pipe (| head) is no reason to bother a run


def verb(name: str, words: list[str]) -> dict:
    """The words of a small verb: ``conf/<name>.yaml`` with ``words`` over it; prints the yaml for --help."""
    from omegaconf import OmegaConf

    path = CONF / f"{name}.yaml"
    if {"-h", "--help"} & set(words):
        print(path.read_text().strip())
        sys.exit(0)
    values = OmegaConf.to_container(OmegaConf.load(path))
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in values:
            near = nearest(key, list(values))
            refuse(f"{word!r} is unknown{near}; write key=value with a key of {', '.join(values)}", 2)
        values[key] = {"null": None, "true": True, "false": False}.get(value.lower(), value)
    for key, value in values.items():
        if value == "???":
            refuse(f"{key} is required: python -m src.{name} {key}=...", 2)
    return values


def help_text() -> str:
    """Groups and their choices, one line each, from the comments at the heads of the yaml files."""
    lines = ["Train one model on one dataset, or many with --multirun.", ""]
    lines += [
        "  python -m src.train model=mlp dataset=sst2",
        "  python -m src.train --multirun model=mlp,hist_gb seed=0,1",
    ]
    for group in GROUPS:
        lines += ["", f"{group}="]
        lines += [f"  {name:20} {headline(CONF / group / f'{name}.yaml')}" for name in choices(group)]
    lines += ["", "and any value of the config; --cfg job prints it:"]
    own = (CONF / "train.yaml").read_text().splitlines()
    lines += [f"  {line}" for line in own if line[:1].isalpha() and "#" in line]
    lines += ["", "Hydra's flags: --multirun (-m), --cfg job, --resolve; hydra/launcher=joblib runs jobs side by side."]
    return "\n".join(lines)


def headline(path: Path) -> str:
    """The first sentence of a yaml's opening comment."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next(line for line in lines if not line.startswith("@package"))

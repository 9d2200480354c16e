"""Run a verb, or list them: ``reprise train model=mlp``, ``python -m src``."""

import os
import runpy
import sys

from src.config.completion import BASH, candidates
from src.config.shell import refuse, show, verbs, wrapped
from src.system.errors import nearest

USAGE = "reprise VERB key=value ...   like python -m src.VERB key=value ...; reprise VERB --help tells more"


def main() -> None:
    words = sys.argv[1:]
    if "COMP_LINE" in os.environ:  # bash asks, see `BASH`
        return show("\n".join(candidates(os.environ["COMP_LINE"])))
    if words[:1] == ["--completion"]:
        return show(BASH)
    known = verbs()
    if not words or words[0] in ("-h", "--help"):
        return show(wrapped("\n".join([USAGE, "", *(f"  {name:12} {text}" for name, text in known.items())])))
    verb = words[0]
    if verb not in known:
        refuse(f"no verb {verb}{nearest(verb, list(known)) or ': reprise lists them'}", 2)
    sys.argv[:] = [f"src.{verb}", *words[1:]]
    runpy.run_module(f"src.{verb}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

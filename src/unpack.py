"""``python -m src.unpack file=t7.zip``: take in a packed run; nothing of it runs until it is trusted."""

import sys

from src.config import shell
from src.share.package import unpack


def main() -> None:
    words = shell.verb("unpack", sys.argv[1:])
    run = unpack(words["file"], words["trust"])
    print(
        f"{run}\nreceived as {run.name}"
        + ("" if words["trust"] else "; its code and its pickles run only with trust=true")
    )


if __name__ == "__main__":
    shell.run(main)

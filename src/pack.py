"""``python -m src.pack run=t7``: a run as one file, with a digest of each of its parts."""

import sys

from src.config import shell
from src.share.package import pack


def main() -> None:
    words = shell.verb("pack", sys.argv[1:])
    path = pack(words["run"], words["file"])
    print(
        f"{path}   {path.stat().st_size / 1e6:.1f} MB; take it in elsewhere with: python -m src.unpack file={path.name}"
    )


if __name__ == "__main__":
    shell.run(main)

"""Unpack a run of another machine: ``file=t7.zip``."""

from src.config import shell
from src.share import package


def unpack(file: str, trust: bool = False, max_size: str = "2GB"):
    """Check a packed run and put it under the next free number; nothing in it is run.

    python -m src.unpack file=t7.zip
    python -m src.unpack file=t7.zip trust=true

    file : the zip file
    trust : allow its code and its pickles to run here; only if you know who made it
    max_size : how large its files may be when they are unpacked
    """
    run = package.unpack(file, trust, max_size)
    warning = "" if trust else "; its code and its pickles run only with trust=true"
    shell.show(f"{run}\nreceived as {run.name}{warning}")
    return run


if __name__ == "__main__":
    shell.call(unpack)

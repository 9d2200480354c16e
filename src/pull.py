"""Fetch a run from an S3 bucket: ``source=s3://bucket/prefix/t7``."""

from src.config import shell
from src.share import remote


def pull(source: str, trust: bool = False, max_size: str = "2GB"):
    """Fetch a run that was pushed, check its digests and put it under the next free number; nothing is run.

    python -m src.pull source=s3://bucket/prefix/t7

    source : the address that push showed; of a prefix, the runs below it are named
    trust : allow its code and its pickles to run here; only if you know who made it
    max_size : how large its files may be together
    """
    run = remote.pull(source, trust, max_size, shell.show)
    warning = "" if trust else "; its code and its pickles run only with trust=true"
    shell.show(f"{run}\nreceived as {run.name}{warning}")
    return run


if __name__ == "__main__":
    shell.call(pull)

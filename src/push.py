"""Copy a run into an S3 bucket: ``run=t7 to=s3://bucket/prefix``."""

from src.config import shell
from src.share import remote


def push(run: str, to: str, force: bool = False):
    """Copy a whole run into an S3 bucket; a push that was interrupted goes on where it was.

    python -m src.push run=t7 to=s3://bucket/prefix

    run : the run, t7
    to : address of a bucket, with a prefix or without; the variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...
        say which store and who
    force : push it though another process holds the run
    """
    address = remote.push(run, to, shell.show, force)
    shell.show(f"{address}   fetch it elsewhere with: python -m src.pull source={address}")
    return address


if __name__ == "__main__":
    shell.call(push)

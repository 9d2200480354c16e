"""Pack a run into one file for another machine: ``run=t7``."""

from src.config import shell
from src.share import package


def pack(run: str, file: str | None = None, force: bool = False):
    """Write a run into one zip file: to predict with, compare with or replay on another machine.

    python -m src.pack run=t7
    python -m src.pack run=t7 file=best.zip

    run : the run, t7
    file : the zip file; left out: t7.zip in the current directory
    force : pack it though another process holds the run
    """
    path = package.pack(run, file, force)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    shell.show(f"{path}   {size}; unpack it elsewhere with: python -m src.unpack file={path.name}")
    return path


if __name__ == "__main__":
    shell.call(pack)

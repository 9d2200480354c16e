"""Put a run into MLflow's registry: ``run=t7 name=adult alias=champion``."""

from src.config import shell
from src.run.folder import Run


def register(run: str, name: str, alias: str | None = None, trust: bool = False):
    """Register a run as a model of MLflow, which loads and serves it without this project's folder.

    python -m src.register run=t7 name=adult
    python -m src.register run=t7 name=adult alias=champion

    run : the run, t7
    name : of the model in the registry, which counts its versions
    alias : a word for this version, as in models:/adult@champion; it is taken from an older version
    trust : use its model though it was not made here, or was changed since
    """
    from src.share.registry import register  # MLflow

    version = register(Run.open(run, trust), name, alias)
    place = f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"
    shell.show(f"{name} version {version}   mlflow models serve -m {place} --env-manager local")
    return version


if __name__ == "__main__":
    shell.call(register)

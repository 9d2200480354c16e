"""An estimator as the Python object that it is: by skops, which names what it builds, or as a pickle."""

from importlib import import_module
from pathlib import Path

from src.format.load import TRUSTED
from src.model.estimator import Estimator


def refusal(estimator: Estimator, form: str) -> str | None:
    """Return why skops should not hold an estimator: the types that `TRUSTED` does not have."""
    if form == "joblib":
        return None
    import skops.io

    strange = set(skops.io.get_untrusted_types(data=skops.io.dumps(estimator))) - set(TRUSTED)
    return f"loading it would build {', '.join(sorted(strange))}: use format=joblib" if strange else None


def write(estimator: Estimator, info: dict, arrays: dict, form: str, path: Path, opset: int) -> None:
    import_module({"skops": "skops.io", "joblib": "joblib"}[form]).dump(estimator, path)

"""Which files may run code: those that this ``outputs/`` has sealed, or that the user trusts."""

import hashlib
import hmac
import secrets
from pathlib import Path

from src.model.build import is_own_net
from src.system.errors import UserError
from src.system.files import locked, replacing
from src.system.paths import outputs


def seal(path: Path) -> str:
    """Return a keyed digest of a file; nobody elsewhere can make it, as the key stays in ``outputs/``."""
    key_file = outputs() / ".key"
    if not key_file.is_file():
        with locked(outputs() / ".key.lock"):
            if not key_file.is_file():
                with replacing(key_file) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_bytes(secrets.token_bytes(32))
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    return hmac.digest(key_file.read_bytes(), content, "sha256").hex()


def seals(folder: Path) -> dict[str, str]:
    """Return the seal of each file of a run that can run code: config, code, model. report.json keeps it."""
    paths = [folder / "config.json", folder / "code.zip", *(folder / "model").glob("model_*")]
    return {path.relative_to(folder).as_posix(): seal(path) for path in paths}


def is_sealed(run) -> bool:
    """Return whether config, code and model are unchanged since they were written or trusted here."""
    known = run.report.get("signed", {})
    paths = {name: run.folder / name for name in known}
    if len(known) < 3:  # config, code, model
        return False
    return all(path.is_file() and seal(path) == known[name] for name, path in paths.items())


def check_trust(run, code: bool = False) -> None:
    """Refuse a run from elsewhere whose files can run code: a pickle, a class that is not the project's.

    code : whether its recorded code or its whole config will be used, not only its model
    """
    if run.trusted or is_sealed(run):
        return
    model = run.cfg["model"]
    if not code and "net" in model and is_own_net(str(model["net"]["class"])):
        return  # weights are read as weights only
    danger = f"{run.name} was not made here and its {'code' if code else 'model'} could run anything"
    raise UserError(f"{danger}: add trust=true if you trust it")

"""Which files may run code: those that this ``outputs/`` has sealed, or that the user trusts.

Code can come from config.json, which names classes and functions, from code.zip and from each file in model/.
Config and code are sealed when a run starts, its model when it ends; report.json keeps the seals. So it does
with transforms.json, if that holds the code of an ETL.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path

from src.model.build import is_own_net
from src.system.errors import UserError
from src.system.files import is_hidden, locked, replacing
from src.system.paths import outputs

START = ("config.json", "code.zip")


def seal(folder: Path, *names: str) -> list[str]:
    """Return a seal of each of these files of the run in ``folder``."""
    return [seal_of(folder.name, name, digest(folder / name)) for name in names]


def seal_of(run: str, name: str, digest: str) -> str:
    """Return the seal of one content under one name in one run; its key never leaves ``outputs/``."""
    if not _key().is_file():
        with locked(outputs() / ".key.lock"):
            if not _key().is_file():
                with replacing(_key()) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_bytes(secrets.token_bytes(32))
    return _keyed(json.dumps([run, name, digest]).encode())


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unsealed(run, code: bool = False) -> str | None:
    """Return the name of a file that could run code and has no seal; None where all of them are sealed.

    code : whether config and code will be used, not only the model; the model of a run that has not ended
        needs no seal then, as a resume replaces it
    """
    paths = [run.folder / name for name in START]
    if not code or run.report["status"] == "done":
        paths += [path for path in sorted((run.folder / "model").rglob("*")) if not is_hidden(path)]
    names = (path.relative_to(run.folder).as_posix() for path in paths)
    return next((name for name in names if not is_sealed(run, name)), None)


def is_sealed(run, name: str) -> bool:
    """Return whether the run's report holds a seal of this file as it is now."""
    path = run.folder / name
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file() or not _key().is_file():
        return False
    known = json.dumps([run.report.get("sealed"), run.report.get("signed")])  # nobody can guess a seal
    found = digest(path)
    older = _keyed(bytes.fromhex(found))  # a seal of the content alone
    return seal_of(run.name, name, found) in known or older in known


def _key() -> Path:
    return outputs() / ".key"


def _keyed(message: bytes) -> str:
    return hmac.digest(_key().read_bytes(), message, "sha256").hex()


def check_trust(run, code: bool = False) -> None:
    """Refuse a run from elsewhere whose files can run code: a pickle, a class that is not the project's.

    code : whether its recorded code or its whole config will be used, not only its model
    """
    if run.trusted or not (name := unsealed(run, code)):
        return
    of_others = (run.folder / "model" / "members.json").exists()  # its models may be any
    own_reader = run.cfg["dataset"].get("function")
    if not code and not of_others and not own_reader and is_own_net(run.cfg["model"].get("net")):
        return  # weights are read as weights only
    reason = f"{run.name} was not made here, or its {name} was changed since"
    danger = f"its {'code' if code else 'model'} could run anything"
    raise UserError(f"{reason}; {danger}: add trust=true if you trust it")

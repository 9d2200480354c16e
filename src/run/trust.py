"""Which files may run code."""

import hashlib
import hmac
import secrets
from pathlib import Path

from src.system.files import locked, replacing
from src.system.paths import outputs


def signature(path: Path) -> str:
    """A keyed digest that only this ``outputs/`` can make: it tells files written here from files brought here."""
    key_file = outputs() / ".key"
    if not key_file.is_file():
        with locked(outputs() / ".key.lock"):
            if not key_file.is_file():
                with replacing(key_file) as part:
                    part.touch(mode=0o600)
                    part.write_bytes(secrets.token_bytes(32))
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    return hmac.digest(key_file.read_bytes(), content, "sha256").hex()

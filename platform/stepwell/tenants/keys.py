"""Secret strings: made, hashed for the database, sealed with the server's key.

What is random (tokens, sessions, links) has 256 bits, so a plain SHA-256 is enough to keep it. What must be read back
(secrets) is sealed with AES-GCM; the place it belongs to is bound data, so that a row copied to another tenant,
repository, environment or name does not open.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stepwell.errors import Invalid, Unavailable

KEY_BYTES = 32
NONCE_BYTES = 12


def new_secret(prefix: str = "") -> str:
    """Return 256 random bits as text."""
    return prefix + secrets.token_urlsafe(32)


def new_id() -> str:
    """Return an identity for a row: 80 random bits."""
    return secrets.token_hex(10)


def hash_of(secret: str) -> str:
    """Return what the database keeps of a random secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Key:
    """The server's key."""

    def __init__(self, raw: bytes) -> None:
        self._cipher = AESGCM(raw)

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Read the key file, or create it for its owner alone. A crash leaves a whole file or none."""
        if not path.exists():
            _create(path)
        raw = path.read_bytes()
        if len(raw) != KEY_BYTES:
            raise Unavailable(f"Key file {path} has {len(raw)} bytes, not {KEY_BYTES}. Restore it from a backup.")
        if path.stat().st_mode & 0o077:
            raise Invalid(f"Key file {path} can be read by others. Run: chmod 600 {path}")
        return cls(raw)

    def seal(self, value: str, *place: str) -> bytes:
        """Encrypt the value for one place."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.encode(), _bound(place))

    def open(self, sealed: bytes, *place: str) -> str:
        """Decrypt a value sealed for this very place; Unavailable when it is not, or when the key is another one."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(place)).decode()
        except InvalidTag as error:
            raise Unavailable(
                f"Secret {place[-1]!r} cannot be opened: it was sealed with another key or for another place. "
                "Restore the key file of this state directory, or set the secret again."
            ) from error


def _bound(place: tuple[str, ...]) -> bytes:
    return json.dumps(["stepwell secret 1", *place]).encode()


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            return  # another process was first: its key counts
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    finally:
        fresh.unlink()

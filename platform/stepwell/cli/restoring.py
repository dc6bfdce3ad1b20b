"""Putting a backup back into an empty state directory: whole, or not at all.

Everything is written to a directory inside the state directory, which may be a volume of its own, checked there, and
then moved to its place, the database last: without it there is no state that a server could mistake for one.
"""

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from stepwell.cli.backing_up import Tell
from stepwell.cli.compose import prepare
from stepwell.cli.lock import StateLock
from stepwell.engine.entries import VERSION
from stepwell.errors import Conflict, Invalid, Unavailable
from stepwell.settings import Settings
from stepwell.store.archive import extract
from stepwell.store.journal_file import FORM
from stepwell.store.migrate import HEAD
from stepwell.tenants.keys import KEY_BYTES


def put_back(settings: Settings, archive: Path, key: Path | None, tell: Tell) -> dict[str, Any]:
    """Restore; say what was restored. Raises Conflict, Invalid, Unavailable; the directory is then empty still."""
    state = settings.state
    prepare(state)
    _require_empty(state)
    given = _key(key)
    with StateLock(state):
        fresh = state / f".restoring-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        try:
            told = extract(archive, fresh, _check, tell)
            if given is not None:
                _write_key(fresh / "key", given)
            runs = _checked(fresh / settings.database.name, archive)
            os.sync()
            for path in sorted(fresh.iterdir(), key=lambda path: path.name == settings.database.name):
                path.rename(state / path.name)
            os.sync()
        finally:
            shutil.rmtree(fresh)
            if not settings.database.exists():
                _empty(state)
    return {
        "state": str(state), "runs": runs, "members": told.members, "created_at": told.head.get("created_at", ""),
        "key": (state / "key").exists(),
    }  # fmt: skip


def _require_empty(state: Path) -> None:
    found = sorted(path.name for path in state.iterdir())
    if found:
        raise Conflict(
            f"State directory {state} is not empty: it has {', '.join(found[:5])}. Move it away, or set STEPWELL_STATE "
            "to an empty directory."
        )


def _empty(state: Path) -> None:
    """Remove what a failure has left in a directory that was empty."""
    for path in state.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check(head: dict[str, Any]) -> None:
    """Refuse what this Stepwell could not start on."""
    newer = (
        str(head.get("revision") or "") > HEAD
        or int(head.get("form") or 0) > FORM
        or int(head.get("entries") or 0) > VERSION
    )
    if newer:
        raise Invalid(
            f"The backup was made by Stepwell {head.get('stepwell')!r}, which is newer than this one. "
            "Install that version or a later one, and restore it with that."
        )


def _checked(database: Path, archive: Path) -> int:
    """Look at the database; give the number of its runs."""
    try:
        with closing(sqlite3.connect(database)) as db:
            found = [str(row[0]) for row in db.execute("PRAGMA quick_check(1)")]
            runs = int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise Invalid(f"The database in backup {archive} cannot be read: {error}. Use another one.") from error
    if found != ["ok"]:
        raise Invalid(f"The database in backup {archive} is damaged: {found[0]}. Use another one.")
    return runs


def _key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"Key file {path} cannot be read: {error.strerror}.") from error
    if len(raw) != KEY_BYTES:
        raise Invalid(f"Key file {path} has {len(raw)} bytes, not {KEY_BYTES}. Give the server's own, named key.")
    return raw


def _write_key(path: Path, raw: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)

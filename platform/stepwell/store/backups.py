"""A note of the last backup, beside the database: `stepwell backup` writes it, the page for admins reads it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

NAME = "backup.json"


@dataclass(frozen=True)
class BackupNote:
    """When the last backup was made, to which file, and whether it holds the key."""

    at: float
    file: str
    bytes: int
    with_key: bool


def note_backup(state: Path, done: Mapping[str, Any]) -> None:
    """Write down what a backup has done. Raises OSError."""
    told = {name: done[name] for name in ("created_at", "file", "bytes", "with_key")}
    fresh = state / f"{NAME}.part"
    fresh.write_text(json.dumps(told))
    fresh.replace(state / NAME)


def last_backup(state: Path) -> BackupNote | None:
    """Return the last backup that was made here; None when there was none, or its note cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((state / NAME).read_bytes())
        at = datetime.fromisoformat(told["created_at"]).timestamp()
        return BackupNote(at, str(told["file"]), int(told["bytes"]), bool(told["with_key"]))
    return None

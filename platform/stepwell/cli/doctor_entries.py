"""`stepwell doctor --journal RUN`: the entries of one run as they lie in the database, unpacked, one JSON value a line.

For people who look at a file that no server runs on, or at a run that the server has set aside: nothing is written, and
what cannot be read is shown beside what can.
"""

import json
import re
import sqlite3
import sys
from contextlib import closing
from typing import Any

from stepwell.cli.screen import show_json
from stepwell.errors import NotFound, Unavailable
from stepwell.settings import Settings
from stepwell.store.packed import unpack

_NUMBERED = re.compile(r"(?P<scope>[^#]+)#(?P<number>\d{1,18})")
_NAMES = ("seq", "at", "version", "type", "key", "attempt", "turn")
_ENTRIES = f"SELECT {', '.join(_NAMES)}, data FROM journal WHERE run = ? ORDER BY seq"  # noqa: S608 - our own names


def show_entries(settings: Settings, said: str, *, json: bool) -> int:
    """Print the journal of a run, said by its id or as acme/api#12; the exit code: 1 when an entry cannot be read."""
    if not settings.database.exists():
        raise Unavailable(f"There is no database {settings.database}. Set STEPWELL_STATE to the server's directory.")
    try:
        with closing(sqlite3.connect(f"{settings.database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            rows = db.execute(_ENTRIES, (_id_of(db, said),)).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"The database {settings.database} cannot be read: {error}. Restore a backup.") from error
    if not rows:
        raise NotFound(f"There is no journal of a run {said!r}. Say its id, or its number as in acme/api#12.")
    shown = [_shown(row) for row in rows]
    if json:
        show_json(shown)
    else:
        for one in shown:
            _print_line(one)
    return int(any("unreadable" in one for one in shown))


def _id_of(db: sqlite3.Connection, said: str) -> str:
    match = _NUMBERED.fullmatch(said)
    if match is None:
        return said
    found = db.execute(
        "SELECT id FROM runs WHERE scope = ? AND number = ?", (match["scope"], int(match["number"]))
    ).fetchone()
    return str(found[0]) if found else said


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    entry, data = dict(zip(_NAMES, row[:-1], strict=True)), row[-1]
    try:
        return {**entry, "data": json.loads(unpack(data))}
    except ValueError as error:
        return {**entry, "unreadable": str(error), "data": data if isinstance(data, str) else data.hex()}


def _print_line(entry: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")

"""Rows of `journal` and the entries that they are, whatever version they have."""

import json
from collections.abc import Sequence
from typing import Any

from stepwell.engine.entries import VERSION, Entry
from stepwell.engine.versions import REMEDY, read
from stepwell.errors import Unavailable
from stepwell.store.derived import encode
from stepwell.store.packed import unpack

COLUMNS = "seq, at, type, key, attempt, turn, version, data"
"""Of `journal`, as everything here takes them."""


def entry_of(run: str, row: tuple[Any, ...]) -> Entry:
    """Read a row of `journal`, whatever version it has. Raises Unavailable for one that cannot be read."""
    try:
        data = json.loads(unpack(row[7]))
    except (TypeError, ValueError) as error:
        raise Unavailable(f"Entry {row[0]} of run {run!r} cannot be read: {error}. {REMEDY}") from error
    return _entry(run, row, data)


def _entry(run: str, row: tuple[Any, ...], data: Any) -> Entry:
    seq, at, kind, key, attempt, turn, version, _ = row
    entry = Entry(run, seq, at, kind, key, attempt, turn, data, version)
    return entry if version == VERSION else read(entry)


def entries_of(run: str, rows: Sequence[tuple[Any, ...]]) -> list[Entry]:
    """Read rows; their data are parsed as one text, which takes half as long as one by one."""
    try:
        parsed = json.loads(f"[{','.join(row[7] for row in rows)}]")
    except (TypeError, ValueError):
        return [entry_of(run, row) for row in rows]  # names the one that cannot be read
    return [_entry(run, row, data) for row, data in zip(rows, parsed, strict=True)]


def text_of(entry: Entry, row: tuple[Any, ...]) -> str:
    """Its data as JSON: what is on disk, unless that is of an older version."""
    return str(row[7]) if row[6] == entry.version else encode(entry.data)

"""Rows of `journal` and the entries that they are, whatever version they have."""

import json
from collections.abc import Sequence
from typing import Any

from stepwell.engine.entries import VERSION, Entry, EntryType
from stepwell.engine.versions import REMEDY, read
from stepwell.errors import Unavailable
from stepwell.store.journal import Part
from stepwell.store.json_text import encode
from stepwell.store.packed import unpack

COLUMNS = "seq, at, type, key, attempt, turn, version, data"
"""Of `journal`, as everything here takes them."""

Row = tuple[int, float, EntryType, str, int, int, int, str]
"""An entry as kept, with its data unpacked if they can be."""


def entry_of(run: str, row: tuple[Any, ...]) -> Entry:
    """Read a row of `journal`, whatever version it has. Raises Unavailable for one that cannot be read."""
    return _entry(run, row, _parsed(run, row))


def _parsed(run: str, row: tuple[Any, ...]) -> Any:
    try:
        return json.loads(unpack(row[7]))
    except (TypeError, ValueError) as error:
        raise Unavailable(f"Entry {row[0]} of run {run!r} cannot be read: {error}. {REMEDY}") from error


def _entry(run: str, row: tuple[Any, ...], data: Any) -> Entry:
    seq, at, kind, key, attempt, turn, version, _ = row
    entry = Entry(run, seq, at, kind, key, attempt, turn, data, version)
    return entry if version == VERSION else read(entry)


def entries_of(run: str, rows: Sequence[tuple[Any, ...]]) -> list[Entry]:
    """Read rows. Raises Unavailable."""
    return [_entry(run, row, data) for row, data in zip(rows, _data_of(run, rows), strict=True)]


def part_of(run: str, rows: Sequence[Row]) -> Part | None:
    """Read rows into columns, without making an object of each; None of no rows. Raises Unavailable."""
    if not rows:
        return None
    *columns, versions, texts = zip(*rows, strict=True)
    data = _data_of(run, rows)
    size = sum(map(len, texts))
    if versions.count(VERSION) == len(versions):
        return Part._make((*columns, data, size))
    entries = [_entry(run, row, one) for row, one in zip(rows, data, strict=True)]
    _, *columns, _ = zip(*entries, strict=True)
    return Part._make((*columns, size))


def _data_of(run: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Parse their data as one text, which takes half as long as one by one."""
    try:
        data: list[Any] = json.loads(f"[{','.join([row[7] for row in rows])}]")
    except (TypeError, ValueError):
        data = []
    return data if len(data) == len(rows) else [_parsed(run, row) for row in rows]  # names the one that cannot be read


def text_of(entry: Entry, row: tuple[Any, ...]) -> str:
    """Its data as JSON: what is on disk, unless that is of an older version."""
    return str(row[7]) if row[6] == entry.version else encode(entry.data)

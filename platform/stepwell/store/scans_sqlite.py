"""Looking through all runs in SQLite, on connections of its own: the engine's, and its thread, are not waited for.

A connection lives for one look. To open one costs less than to read a page of rows, and none is left over, neither when
the engine stops nor in the memory of a server that nobody asks. What has been committed is seen.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.engine.entries import Entry
from stepwell.errors import Unavailable
from stepwell.store.entry_rows import COLUMNS, entry_of
from stepwell.store.journal import RunRow
from stepwell.store.journal_file import BUSY_MS, EXPLAINED, EXPLAINED_INDEX

if TYPE_CHECKING:
    from stepwell.engine.selection import Selection

_LIST = (
    "SELECT metadata, id, tenant, scope, number, title, state, reason, created_at, updated_at, ended_at, seq FROM runs"
)
_LAST = (
    f"SELECT run, {COLUMNS} FROM journal JOIN (SELECT value AS sought FROM json_each(?)) ON run = sought "  # noqa: S608
    "WHERE seq = (SELECT MAX(seq) FROM journal AS own WHERE own.run = sought)"
)


def scan(database: Path, which: "Selection", after: tuple[float, str], limit: int) -> list[RunRow]:
    """Give the next runs that are meant, behind a place; see Journal.scan."""
    query, arguments = _query(which, after, limit)
    with closing(_connected(database)) as db:
        rows = db.execute(query, arguments).fetchall()
    return [RunRow(json.loads(metadata), *rest) for metadata, *rest in rows]


def last_entries(database: Path, runs: Sequence[str]) -> dict[str, Entry | None]:
    """Give the last entry of each of these runs, None for one that cannot be read; those without a journal are left
    out.
    """
    with closing(_connected(database)) as db:
        rows = db.execute(_LAST, (json.dumps(list(runs)),)).fetchall()
    return {run: _entry(run, row) for run, *row in rows}


def _entry(run: str, row: Sequence[Any]) -> Entry | None:
    try:
        return entry_of(run, tuple(row))
    except Unavailable:
        return None


def _connected(database: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(database, isolation_level=None, timeout=BUSY_MS / 1000)
        db.execute("PRAGMA query_only=1")
    except sqlite3.Error as error:
        raise Unavailable(f"The database {str(database)!r} cannot be read: {error}.") from error
    return db


def _query(which: "Selection", after: tuple[float, str], limit: int) -> tuple[str, list[object]]:
    """Make one query of every state: each comes in order from an index, and only their first rows are sorted together.

    All states in one condition would have SQLite sort every run that has one of them.
    """
    order = "number" if which.by_number else "created_at, id" if which.tenant else "id"
    index = f" INDEXED BY {EXPLAINED_INDEX}" if which.explained else ""  # SQLite does not know how few they are
    parts, arguments = [], list[object]()
    for state in sorted(which.states) or ("",):
        conditions = dict(_conditions(which, state, after))
        where = " AND ".join(conditions)
        parts.append(f"{_LIST}{index} WHERE {where} ORDER BY {order} LIMIT ?")
        arguments += [argument for some in conditions.values() for argument in some] + [limit]
    if len(parts) == 1:
        return parts[0], arguments
    together = " UNION ALL ".join(f"SELECT * FROM ({part})" for part in parts)  # noqa: S608 - our own
    return f"{together} ORDER BY {order} LIMIT ?", [*arguments, limit]


def _conditions(which: "Selection", state: str, after: tuple[float, str]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Give each condition with what stands in it."""
    for name, value in (("tenant", which.tenant), ("scope", which.scope), ("state", state)):
        if value:
            yield f"{name}=?", (value,)
    if which.explained:
        yield EXPLAINED, ()
    if which.created_after is not None:
        yield "created_at > ?", (which.created_after,)
    if which.created_until is not None:
        yield "created_at <= ?", (which.created_until,)
    if which.by_number:
        yield "number > ?", (int(after[0]),)
    elif which.tenant:
        yield "(created_at, id) > (?, ?)", after
    else:
        yield "id > ?", (after[1],)

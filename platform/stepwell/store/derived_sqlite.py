"""The tables that follow from the journals, in SQLite: read run by run, and written anew where they are wrong."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stepwell.engine.entries import Entry
from stepwell.errors import Conflict
from stepwell.store.derived import COLUMNS, Derived, Kept
from stepwell.store.entry_rows import COLUMNS as ENTRY_COLUMNS
from stepwell.store.entry_rows import entry_of
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.packed import unpack
from stepwell.store.queues import REMINDER, Rows
from stepwell.store.queues_sqlite import SERIAL, SET_TIMER

_PUT = (
    f"INSERT INTO runs({','.join(COLUMNS)}) VALUES({','.join(f':{name}' for name in COLUMNS)}) "
    f"ON CONFLICT(id) DO UPDATE SET {','.join(f'{name}=excluded.{name}' for name in COLUMNS)}"
)
_ROW = f"SELECT {','.join(COLUMNS)} FROM runs WHERE id = ?"  # noqa: S608 - our own names
_WITHOUT_JOURNAL = (
    "SELECT DISTINCT {column} FROM {table} "
    "WHERE NOT EXISTS (SELECT 1 FROM journal WHERE journal.run = {table}.{column})"
)
_TABLES = (("runs", "id"), ("run_layers", "run"), ("queues", "run"))  # timers go with rows of `runs`
_TIMERS = f"SELECT key, due FROM timers WHERE run = {SERIAL}"  # noqa: S608 - our own names
_NO_TIMERS = f"DELETE FROM timers WHERE run = {SERIAL} AND key <> ?"  # noqa: S608 - our own names


class SqliteTables:
    """Reads and mends `runs`, `timers`, `run_layers` and `numbers` of an open journal."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._db = journal.db
        self._queues = journal.queues

    @contextmanager
    def moment(self, *, write: bool) -> Iterator[None]:
        """One transaction: everything read inside belongs to one moment. Nothing is kept when it raises."""
        self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def faults(self) -> list[str]:
        """Have SQLite look at the file itself; empty when it is sound."""
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA quick_check(10)")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def estimate(self) -> int:
        """About how many runs there are, for progress."""
        return int(self._db.execute("SELECT count(*) FROM runs").fetchone()[0])

    def journals(self, after: str, limit: int) -> list[str]:
        """Ids of runs that have a journal, in order."""
        query = "SELECT DISTINCT run FROM journal WHERE run > ? ORDER BY run LIMIT ?"
        return [str(row[0]) for row in self._db.execute(query, (after, limit))]

    def kept(self, run: str) -> Kept:
        """Read one run."""
        query = f"SELECT {ENTRY_COLUMNS} FROM journal WHERE run = ? ORDER BY seq"  # noqa: S608 - our own names
        row = self._db.execute(_ROW, (run,)).fetchone()
        derived = None
        if row is not None:
            rows = self._all(_TIMERS, run)
            timers = {str(key): float(due) for key, due in rows if key != REMINDER}
            layers = frozenset(str(one[0]) for one in self._all("SELECT layer FROM run_layers WHERE run = ?", run))
            derived = Derived(dict(zip(COLUMNS, row, strict=True)), timers, layers)
        return Kept(run, self._all(query, run), derived)

    def read(self, run: str, row: tuple[Any, ...]) -> Entry:
        """Read a raw row."""
        return entry_of(run, row)

    def _all(self, query: str, run: str) -> list[tuple[Any, ...]]:
        return self._db.execute(query, (run,)).fetchall()

    def put(self, told: Derived) -> None:
        """Write what the journal tells in place of what is kept."""
        run = told.row["id"]
        self._make_way(told)
        self._db.execute(_PUT, told.row)
        self._db.execute(_NO_TIMERS, (run, REMINDER))
        self._db.executemany(SET_TIMER, [(key, due, run) for key, due in told.timers.items()])
        self._db.execute("DELETE FROM run_layers WHERE run = ?", (run,))
        self._db.executemany(
            "INSERT OR REPLACE INTO run_layers VALUES(?,?)", [(layer, run) for layer in sorted(told.layers)]
        )

    def _make_way(self, told: Derived) -> None:
        """Remove a row that has this one's number, unless its own journal says so too: then the number is taken."""
        place = (told.row["scope"], told.row["number"], told.row["id"])
        other = self._db.execute("SELECT id FROM runs WHERE scope = ? AND number = ? AND id <> ?", place).fetchone()
        if other is None:
            return
        first = self._db.execute("SELECT data FROM journal WHERE run = ? ORDER BY seq LIMIT 1", other).fetchone()
        if first is not None:
            data = json.loads(unpack(first[0]))
            if (data.get("scope"), data.get("number")) == place[:2]:
                raise Conflict(f"its number {place[1]} in {place[0]!r} is that of run {other[0]!r} as well")
        self._db.execute("DELETE FROM runs WHERE id = ?", other)

    def without_journal(self) -> list[str]:
        """Runs of which there are rows, but not one entry."""
        found: set[str] = set()
        for table, column in _TABLES:
            found.update(row[0] for row in self._db.execute(_WITHOUT_JOURNAL.format(table=table, column=column)))
        return sorted(found)

    def remove(self, runs: Sequence[str]) -> None:
        """Remove all rows of runs, but not their journals."""
        for table, column in _TABLES:
            delete = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608 - our own names
            self._db.executemany(delete, [(run,) for run in runs])

    def last_numbers(self) -> dict[str, int]:
        """The last number given in each scope."""
        return dict(self._db.execute("SELECT scope, last FROM numbers").fetchall())

    def put_last_number(self, scope: str, last: int) -> None:
        """Have the next run of the scope numbered above `last`."""
        self._db.execute(
            "INSERT INTO numbers VALUES(?,?) ON CONFLICT(scope) DO UPDATE SET last = excluded.last", (scope, last)
        )

    def queues(self) -> Rows:
        """What is kept about queues of runs."""
        return self._queues.rows()

    def put_queues(self, rows: Rows) -> None:
        """Write all queues of runs anew."""
        self._queues.put(rows)

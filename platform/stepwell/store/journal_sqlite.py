"""The journal in SQLite: raw sqlite3, WAL, `synchronous=FULL`.

Why one connection on the engine's own thread, without a writer thread: the engine commits everything that it read in
one turn of its loop in one transaction and only then answers, so a hand-over to another thread and back (40 µs and a
switch of the interpreter's lock, each way) would stand in the way of every step; measured, it costs a third.
The data of entries are packed (see packed.py); rows of older files, and texts too short to gain by it, are plain JSON.
Text columns are plain ASCII or checked before they come here: an undecodable string of one run must not fail a
transaction that it shares with others.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.engine.entries import VERSION, Entry
from stepwell.errors import Unavailable
from stepwell.store import scans_sqlite
from stepwell.store.derived import COLUMNS, row_of
from stepwell.store.entry_rows import COLUMNS as ENTRY_COLUMNS
from stepwell.store.entry_rows import Row, entries_of, part_of, text_of
from stepwell.store.journal import (
    Awake,
    Committed,
    Created,
    Due,
    Ended,
    Glance,
    Loaded,
    NewRun,
    Numbered,
    Part,
    RunRow,
    Standing,
    Summary,
    Write,
)
from stepwell.store.journal_file import WAL_BYTES, opened
from stepwell.store.json_text import encode
from stepwell.store.packed import pack, unpack
from stepwell.store.queues_sqlite import SERIAL, SET_TIMER, SqliteQueues

if TYPE_CHECKING:
    from stepwell.engine.selection import Selection

_INSERT = f"INSERT INTO runs({','.join(COLUMNS)}) VALUES({','.join(f':{name}' for name in COLUMNS)})"
_APPEND = "INSERT INTO journal VALUES(?,?,?,?,?,?,?,?,?)"
_GO_ON = "UPDATE runs SET seq=?, updated_at=?, played=?, summary=? WHERE id=? AND lease=?"
_CHANGE = (
    "UPDATE runs SET seq=?, updated_at=?, played=?, summary=?, state=?, reason=?, started_at=?, ended_at=?, "
    "approvals=?, awake=?, lease=? WHERE id=? AND lease=?"
)
_ROWS = f"SELECT {ENTRY_COLUMNS} FROM journal WHERE run=? AND seq>? ORDER BY seq LIMIT ?"  # noqa: S608 - our own names
_AWAKE = (
    "SELECT id, tenant, scope, started_at IS NOT NULL, "
    "CASE WHEN json_valid(summary) THEN json_extract(summary, '$.priority') END "
    "FROM runs WHERE awake = 1 ORDER BY created_at"
)
_NUMBER = (
    "INSERT INTO numbers VALUES(?, 1) ON CONFLICT(scope) DO UPDATE SET last = last + 1 RETURNING last"  # one statement
)
_REMOVE = "DELETE FROM runs WHERE id=? AND ended_at IS NOT NULL"  # its timers go with it
_NO_TIMERS = f"DELETE FROM timers WHERE run={SERIAL}"  # noqa: S608 - our own names
_NO_TIMER = f"{_NO_TIMERS} AND key=?"
_DUE = "SELECT id, key, due FROM timers CROSS JOIN runs ON serial = run"  # the order of the join is that of the index
_LAYERS_OF = (
    "SELECT DISTINCT layer FROM run_layers WHERE run IN ({runs}) AND NOT EXISTS "
    "(SELECT 1 FROM run_layers AS other WHERE other.layer = run_layers.layer AND other.run NOT IN ({runs}))"
)


_ENDED = (
    "SELECT ended_at, id, EXISTS (SELECT 1 FROM run_layers WHERE run = runs.id) FROM runs "
    "WHERE ended_at IS NOT NULL AND (ended_at, id) > (?, ?) AND ended_at < ? ORDER BY ended_at, id LIMIT ?"
)


class SqliteJournal:
    """A Journal in one SQLite file."""

    def __init__(self, path: Path | str, wal_bytes: int = WAL_BYTES) -> None:
        self.path = Path(path)
        self._wal_bytes = wal_bytes
        self._db: sqlite3.Connection | None = None
        self._kept: dict[str, tuple[Any, ...]] = {}  # what a run's row says besides its progress, as last written

    def open(self) -> None:
        self._db = opened(self.path, self._wal_bytes)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for measurements and tests."""
        if self._db is None:
            raise Unavailable(f"The journal {self.path.name!r} is closed. Start an engine on it first.")
        return self._db

    @property
    def queues(self) -> SqliteQueues:
        return SqliteQueues(self.db)

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        db = self.db
        kept: dict[str, tuple[Any, ...]] = {}
        left: list[str] = []
        db.execute("BEGIN IMMEDIATE")
        try:
            created = tuple(self._create(run) for run in new)
            stale = frozenset(write.run for write in writes if not self._write(write, kept, left))
            released = self.queues.release(left) if left else ()
            self._before_commit()
            db.execute("COMMIT")
        except BaseException:
            self._kept.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._kept.update(kept)
        for write in writes:
            if write.ended or write.run in stale or not write.summary.awake:
                self._kept.pop(write.run, None)
        return Committed(created, stale, released)

    def _before_commit(self) -> None:
        """The last moment at which a crash leaves nothing; tests stop the world here and after."""

    def _create(self, run: NewRun) -> Created:
        db, data = self.db, run.data
        row = db.execute("SELECT number FROM runs WHERE id=?", (run.id,)).fetchone()
        if row is not None:
            return Created(run.id, row[0], None)
        number = int(db.execute(_NUMBER, (data["scope"],)).fetchone()[0])
        if data.get("parent"):
            db.execute(_NUMBER, (_below(data["parent"]["root"]),)).fetchone()
        held, look_at = self.queues.arrive(run.id, number, run.at, run.arrival) if run.arrival else (False, None)
        data = {**data, "number": number, **({"held": True} if held else {})}
        began_at = run.at if run.began_at is None else run.began_at
        entry = Entry(run.id, 1, began_at, "created", "", 0, 0, data)
        db.execute(_INSERT, row_of(entry, _new(run.at, data.get("order") or {}, awake=not held), 0))
        db.execute(_APPEND, (run.id, 1, began_at, VERSION, "created", "", 0, 0, pack(encode(entry.data))))
        if look_at is not None:
            self.queues.remind(run.id, look_at)
        if run.adopted is not None:
            self._write(_held(run.adopted) if held else run.adopted, {}, [])
        return Created(run.id, number, entry)

    def _write(self, write: Write, kept: dict[str, tuple[Any, ...]], left: list[str]) -> bool:
        db, now, run = self.db, write.summary, write.run
        if not self._summarise(write, now, kept):
            return False
        if write.since:
            self._begin_anew(run)
        rows = [
            (run, entry.seq, entry.at, entry.version, entry.type, entry.key, entry.attempt, entry.turn, pack(text))
            for entry, text in write.entries
            if entry.seq >= write.since
        ]
        if len(rows) == 1:
            db.execute(_APPEND, rows[0])
        elif rows:
            db.executemany(_APPEND, rows)
        if write.ended:
            db.execute(_NO_TIMERS, (run,))
        else:
            for key, due in write.timers.items():
                if due is None:
                    db.execute(_NO_TIMER, (run, key))
                else:
                    db.execute(SET_TIMER, (key, due, run))
        for layer in write.layers:
            db.execute("INSERT OR REPLACE INTO run_layers VALUES(?,?)", (layer, run))
        if write.moves is not None:
            left += self.queues.move(run, write.number, write.moves)
        return True

    def _begin_anew(self, run: str) -> None:
        for statement in ("DELETE FROM journal WHERE run=?", "DELETE FROM run_layers WHERE run=?", _NO_TIMERS):
            self.db.execute(statement, (run,))

    def _summarise(self, write: Write, now: Summary, kept: dict[str, tuple[Any, ...]]) -> bool:
        # Most commits only go on: leaving the indexed columns alone saves a third of the update.
        rest = (now.state, now.reason, now.started_at, now.ended_at, now.approvals, now.awake, write.next_lease)
        progress = (now.seq, now.updated_at, now.played, now.text)
        kept[write.run] = rest
        if self._kept.get(write.run) == rest:
            return self.db.execute(_GO_ON, (*progress, write.run, write.lease)).rowcount == 1
        return self.db.execute(_CHANGE, (*progress, *rest, write.run, write.lease)).rowcount == 1

    def load(self, run: str) -> Loaded | None:
        row = self.db.execute("SELECT lease, played FROM runs WHERE id=?", (run,)).fetchone()
        if row is None:
            return None
        rows = self._rows(run, 0)
        entries = entries_of(run, rows)
        return Loaded(row[0], row[1], entries, [text_of(*pair) for pair in zip(entries, rows, strict=True)])

    def standing(self, run: str) -> Standing | None:
        query = "SELECT lease, played, seq, state, awake FROM runs WHERE id=?"
        row = self.db.execute(query, (run,)).fetchone()
        return None if row is None else Standing(*row)

    def part(self, run: str, after: int, limit: int) -> Part | None:
        return part_of(run, self._rows(run, after, limit))

    def set_aside(self, run: str, reason: str) -> None:
        db = self.db
        self._kept.pop(run, None)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE runs SET awake=0, reason=? WHERE id=?", (reason, run))
        db.execute(_NO_TIMERS, (run,))
        db.execute("COMMIT")

    def entries(self, run: str, after: int = 0) -> list[Entry]:
        return entries_of(run, self._rows(run, after))

    def _rows(self, run: str, after: int, limit: int = -1) -> list[Row]:
        rows = self.db.execute(_ROWS, (run, after, limit)).fetchall()
        try:
            return [row if type(row[7]) is str else (*row[:7], unpack(row[7])) for row in rows]
        except ValueError:
            return rows  # left to entry_of, which names the one that cannot be read

    def glance(self, run: str) -> Glance | None:
        query = "SELECT id, tenant, scope, number, title, state, reason, seq FROM runs WHERE id=?"
        row = self.db.execute(query, (run,)).fetchone()
        return None if row is None else Glance(*row)

    def numbered(self, scope: str, before: int | None, limit: int) -> list[Numbered]:
        query = "SELECT id, number, tenant, metadata FROM runs WHERE scope=? AND number<? ORDER BY number DESC LIMIT ?"
        rows = self.db.execute(query, (scope, 2**62 if before is None else before, limit))
        return [Numbered(run, number, tenant, json.loads(text)) for run, number, tenant, text in rows]

    def descendants(self, root: str) -> int:
        row = self.db.execute("SELECT last FROM numbers WHERE scope=?", (_below(root),)).fetchone()
        return 0 if row is None else int(row[0])

    def scan(self, which: "Selection", after: tuple[float, str], limit: int) -> list[RunRow]:
        return scans_sqlite.scan(self.path, which, after, limit)

    def last_entries(self, runs: Sequence[str]) -> dict[str, Entry | None]:
        return scans_sqlite.last_entries(self.path, runs)

    def awake(self) -> list[Awake]:
        return [
            Awake(run, tenant, scope, bool(begun), int(priority or 0))
            for run, tenant, scope, begun, priority in self.db.execute(_AWAKE)
        ]

    def due(self, now: float, limit: int) -> list[Due]:
        rows = self.db.execute(f"{_DUE} WHERE due<=? ORDER BY due LIMIT ?", (now, limit))
        return [Due(*row) for row in rows]

    def next_due(self) -> float | None:
        row = self.db.execute(f"{_DUE} ORDER BY due LIMIT 1").fetchone()
        return None if row is None else float(row[2])

    def relax(self) -> None:
        self.db.execute("PRAGMA shrink_memory")

    def ended(self, after: Ended | None, before: float, limit: int) -> list[Ended]:
        at, run = (after.at, after.id) if after is not None else (0.0, "")
        return [Ended(at, run, bool(stands)) for at, run, stands in self.db.execute(_ENDED, (at, run, before, limit))]

    def layers_of(self, runs: Sequence[str]) -> list[str]:
        marks = ",".join("?" * len(runs))
        rows = self.db.execute(_LAYERS_OF.format(runs=marks), (*runs, *runs))
        return [str(row[0]) for row in rows]

    def remove(self, runs: Sequence[str]) -> list[str]:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        with db:
            gone = [run for run in runs if db.execute(_REMOVE, (run,)).rowcount == 1]
            for table in ("journal", "run_layers"):
                db.executemany(f"DELETE FROM {table} WHERE run=?", [(run,) for run in gone])  # noqa: S608 - our own
            self._before_commit()
            return gone

    def layer_in_use(self, layer: str) -> bool:
        return self.db.execute("SELECT 1 FROM run_layers WHERE layer=?", (layer,)).fetchone() is not None

    def let_go(self, runs: Sequence[str]) -> list[str]:
        if self.db.in_transaction:
            return self._let_go(runs)
        self.db.execute("BEGIN IMMEDIATE")
        with self.db:
            return self._let_go(runs)

    def _let_go(self, runs: Sequence[str]) -> list[str]:
        free: list[str] = []
        for run in runs:
            layers = [str(row[0]) for row in self.db.execute("SELECT layer FROM run_layers WHERE run=?", (run,))]
            self.db.execute("DELETE FROM run_layers WHERE run=?", (run,))
            free += [layer for layer in layers if not self.layer_in_use(layer)]
        return free


def _below(root: str) -> str:
    """Where the runs below one are counted, among the numbers of scopes: no scope looks like this."""
    return f"/below/{root}"


def _new(at: float, order: Mapping[str, Any], *, awake: bool) -> Summary:
    """What is to be said of a run that nobody has looked at yet."""
    priority = f',"priority":{order["priority"]}' if order.get("priority") else ""
    return Summary("queued", None, None, None, at, 1, 0, awake, 0, f'{{"counts":{{}},"approvals":[]{priority}}}')


def _held(adopted: Write) -> Write:
    """What a run has adopted that may not begin yet; what was sent to the other one and not taken has not begun it."""
    return replace(adopted, summary=replace(adopted.summary, state="queued", started_at=None, awake=False))

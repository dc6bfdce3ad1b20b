"""Queues of runs in SQLite: rows of the journal's file, written in the journal's transactions."""

import sqlite3
from collections.abc import Sequence

from stepwell.store.queues import REMINDER, Arrival, Moves, Place, Rows, Standing

SCHEMA = """
CREATE TABLE IF NOT EXISTS queues(
    queue TEXT NOT NULL, rank INTEGER NOT NULL, run TEXT NOT NULL, number INTEGER NOT NULL, held INTEGER NOT NULL,
    PRIMARY KEY(queue, rank)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS queues_by_run ON queues(run);
CREATE TABLE IF NOT EXISTS rate_uses(
    queue TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL, run TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS rate_uses_by_queue ON rate_uses(queue, at);
CREATE INDEX IF NOT EXISTS rate_uses_by_end ON rate_uses(until);
"""
PRUNED = 100
"""Uses that no window reaches any more, deleted with each new one at most."""

SERIAL = "(SELECT serial FROM runs WHERE id=?)"
"""The number by which timers name a run: an id would be two thirds of a timer, twice."""
SET_TIMER = "INSERT OR REPLACE INTO timers SELECT serial, ?, ? FROM runs WHERE id=?"
_JOIN = (
    "INSERT INTO queues SELECT ?1, (SELECT COALESCE(MAX(rank), 0) + 1 FROM queues WHERE queue=?1), ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM queues WHERE run=?2 AND queue=?1)"
)
_USE = "INSERT INTO rate_uses VALUES(?,?,?,?)"
_AHEAD = "SELECT run, number, held FROM queues WHERE queue=? AND rank<? ORDER BY rank LIMIT ?"
_PRUNE = "DELETE FROM rate_uses WHERE rowid IN (SELECT rowid FROM rate_uses WHERE until<=? LIMIT ?)"


class SqliteQueues:
    """Queues over the journal's connection. Writing methods belong inside its transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def arrive(self, run: str, number: int, at: float, arrival: Arrival) -> tuple[bool, float | None]:
        """Take a new run in; say whether it is held, and when it is to be looked at, for `remind` when it has a row."""
        alone = True
        if arrival.joins:
            alone = self._db.execute("SELECT 1 FROM queues WHERE queue=? LIMIT 1", (arrival.joins,)).fetchone() is None
            held = not alone or arrival.look_at is not None
            self._db.execute(_JOIN, (arrival.joins, run, number, held))
        look_at = arrival.look_at if alone else at if arrival.eager else None
        return not alone or arrival.look_at is not None, look_at

    def remind(self, run: str, look_at: float) -> None:
        """Have the engine look at a held run at a time."""
        self._db.execute(SET_TIMER, (REMINDER, look_at, run))

    def move(self, run: str, number: int, moves: Moves) -> list[str]:
        """Do what a transaction does to a run; give the queues that it has left."""
        db = self._db
        for queue in moves.joins:
            db.execute(_JOIN, (queue, run, number, True))
        if moves.begins:
            db.execute("UPDATE queues SET held=0 WHERE run=?", (run,))
        if moves.uses is not None:
            db.execute(_PRUNE, (moves.uses[1], PRUNED))
            db.execute(_USE, (*moves.uses, run))
        if moves.ends:
            left = [row[0] for row in db.execute("SELECT queue FROM queues WHERE run=?", (run,))]
            db.execute("DELETE FROM queues WHERE run=?", (run,))
            return left
        if moves.leaves:
            db.execute("DELETE FROM queues WHERE run=? AND queue=?", (run, moves.leaves))
            return [moves.leaves]
        return []

    def release(self, left: Sequence[str]) -> tuple[str, ...]:
        """Have the held ones looked at that are now the first of these queues; give their ids.

        The last act of a transaction: a reminder that it sets must not be taken back by what the run itself wrote.
        """
        released = []
        for queue in dict.fromkeys(left):
            first = self._db.execute("SELECT run, held FROM queues WHERE queue=? ORDER BY rank LIMIT 1", (queue,))
            row = first.fetchone()
            if row is not None and row[1]:
                self.remind(row[0], 0.0)
                released.append(row[0])
        return tuple(released)

    def ahead(self, queue: str, run: str, limit: int) -> list[Standing] | None:
        row = self._db.execute("SELECT rank FROM queues WHERE run=? AND queue=?", (run, queue)).fetchone()
        if row is None:
            return None
        rows = self._db.execute(_AHEAD, (queue, row[0], limit))
        return [Standing(run, number, bool(held)) for run, number, held in rows]

    def used(self, queue: str, place: int, until: float) -> float | None:
        row = self._db.execute(
            "SELECT at FROM rate_uses WHERE queue=? AND at<=? ORDER BY at DESC LIMIT 1 OFFSET ?",
            (queue, until, place - 1),
        ).fetchone()
        return None if row is None else float(row[0])

    def rows(self) -> Rows:
        """Give all that is kept."""
        places = self._db.execute("SELECT queue, run, number, held FROM queues ORDER BY queue, rank")
        uses = self._db.execute("SELECT queue, at, until, run FROM rate_uses")
        reminders = self._db.execute("SELECT id, due FROM timers JOIN runs ON serial=run WHERE key=?", (REMINDER,))
        return Rows(
            [Place(queue, run, number, bool(held)) for queue, run, number, held in places],
            uses.fetchall(),
            dict(reminders.fetchall()),
        )

    def put(self, rows: Rows) -> None:
        """Write all anew, inside a transaction."""
        db = self._db
        db.execute("DELETE FROM queues")
        db.execute("DELETE FROM rate_uses")
        db.execute("DELETE FROM timers WHERE key=?", (REMINDER,))
        db.executemany(_JOIN, [(place.queue, place.run, place.number, place.held) for place in rows.places])
        db.executemany(_USE, rows.uses)
        db.executemany(SET_TIMER, [(REMINDER, due, run) for run, due in rows.reminders.items()])

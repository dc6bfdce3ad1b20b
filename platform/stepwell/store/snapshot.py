"""A copy of the database as of one moment, while others write: SQLite's own backup, inside one read transaction.

The moment may be shared with files: `at_one_moment` holds the write lock, so that nothing is committed between what its
block reads and the copy. It is held for as long as that takes, and the engine waits: keep the block short.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stepwell.errors import Unavailable

PAGES_AT_ONCE = 1_000
WAIT_SECONDS = 30.0


class Snapshot:
    """A moment of the database, kept by an open read transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def copy_to(self, target: Path, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Write it as a database file of its own; `progress` is told pages."""
        with closing(sqlite3.connect(target)) as copy:
            self._db.backup(
                copy, pages=PAGES_AT_ONCE, progress=lambda _status, rest, all_: progress(all_ - rest, all_), sleep=0
            )
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a WAL beside it


@contextmanager
def at_one_moment(database: Path, meanwhile: Callable[[], None]) -> Iterator[Snapshot]:
    """Call `meanwhile` while nobody can commit, and yield the snapshot of that moment. Raises Unavailable."""
    uri = f"{database.absolute().as_uri()}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)) as lock,
            closing(sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)) as db,
        ):
            lock.execute("BEGIN IMMEDIATE")
            try:
                db.execute("BEGIN")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment is that of the first read
                meanwhile()
            finally:
                lock.execute("ROLLBACK")
            yield Snapshot(db)
    except sqlite3.Error as error:
        raise Unavailable(
            f"The database {database} cannot be copied: {error}. Try again, or run: stepwell doctor"
        ) from error

"""The database: one SQLite file in WAL mode, shared with the journal.

Two kinds of transactions, because SQLite tells a reader that turns writer SQLITE_BUSY at once, whatever the timeout:
`read()` begins deferred and sees one moment; `write()` takes the write lock first and waits for it.
Never wait for the engine inside `write()`: the engine's journal needs the same lock.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Executable, event
from sqlmodel import Session, create_engine

from stepwell.store.migrate import migrate

BUSY_SECONDS = 30.0
CACHE_KIB = 256  # of each pooled connection: the operating system caches the file once for all of them


class Store:
    """Opens the database and brings its tables up to date."""

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self.database = database
        migrate(database)
        reading = create_engine(f"sqlite:///{database}", connect_args={"timeout": BUSY_SECONDS}, pool_size=20)
        event.listen(reading, "connect", _configure)
        event.listen(reading, "begin", _begin)
        self._reading = reading
        self._writing = reading.execution_options(begin="IMMEDIATE")
        self._looking = reading.execution_options(begin="")  # a statement by itself is a transaction

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees one moment of the database and keeps nothing."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that commits at the end of the block, or keeps nothing when the block raises."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read rows by one statement of SQL, which sees one moment: an eighth of the price of a session and objects.

        For what every page asks; whatever is not ours goes into `values`.
        """
        with closing(self._reading.raw_connection()) as pooled:
            connection: sqlite3.Connection = pooled.driver_connection  # type: ignore[assignment]
            return connection.execute(query, values).fetchall()

    def select(self, query: Executable) -> Sequence[Any]:
        """Read the rows of one query of columns, which sees one moment and needs no session."""
        with self._looking.connect() as connection:
            return connection.execute(query).all()

    def relax(self) -> None:
        """Close the pooled connections that nobody uses; each holds up to `CACHE_KIB` of pages and its statements.

        Those in use serve their sessions to the end and are closed by the next garbage collection.
        """
        self._reading.dispose()

    def close(self) -> None:
        """Close every pooled connection."""
        self._reading.dispose()


def _configure(connection: Any, _record: Any) -> None:
    """Make SQLite durable and strict; transactions are begun by `_begin`, not by the driver."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    if kind := connection.get_execution_options().get("begin", "DEFERRED"):
        connection.exec_driver_sql(f"BEGIN {kind}")

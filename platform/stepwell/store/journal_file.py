"""The journal's file in SQLite: its tables and indexes, the form it is kept in, and how it is opened.

Why the WAL is grown beforehand: a commit that makes the file longer has to write the inode too, which on common file
systems nearly doubles the price of an fsync. SQLite deletes the WAL when the last connection closes, so it is grown at
each open.
The same file holds the product's tables, written by other connections: hence BEGIN IMMEDIATE and a busy timeout.
"""

import sqlite3
from pathlib import Path

from stepwell.errors import Unavailable
from stepwell.store import queues_sqlite, told
from stepwell.store.derived import COLUMNS

FORM = 5
"""What a program must know to read the file: raised with the version of entries, and when they are kept otherwise.

1: plain JSON, entries of version 1; 2: data may be packed; 3: rows name what runs ask in brief (asked.py);
4: timers name a run by its row's serial number; 5: data may be packed with the second dictionary.
"""
WAL_BYTES = 8 * 1024 * 1024
BUSY_MS = 5_000
EXPLAINED = "reason IS NOT NULL AND state NOT IN ('passed', 'cancelled')"
"""Of runs of which something is said: why they do not go on, or have failed. An index is used by queries that have the
very same condition.
"""
EXPLAINED_INDEX = "runs_explained"

_RUNS = """
CREATE TABLE IF NOT EXISTS runs(
    serial INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, scope TEXT NOT NULL,
    number INTEGER NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, created_at REAL NOT NULL,
    started_at REAL, ended_at REAL, updated_at REAL NOT NULL, seq INTEGER NOT NULL, lease INTEGER NOT NULL,
    approvals INTEGER NOT NULL, awake INTEGER NOT NULL, played INTEGER NOT NULL, metadata TEXT NOT NULL,
    summary TEXT NOT NULL);
"""
_TIMERS = """
CREATE TABLE IF NOT EXISTS timers(
    run INTEGER NOT NULL, key TEXT NOT NULL, due REAL NOT NULL, PRIMARY KEY(run, key)) WITHOUT ROWID;
"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS journal(
    run TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,
    key TEXT NOT NULL, attempt INTEGER NOT NULL, turn INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY(run, seq)) WITHOUT ROWID;
{_RUNS}DROP INDEX IF EXISTS runs_by_scope;
CREATE UNIQUE INDEX IF NOT EXISTS runs_by_number ON runs(scope, number);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs(scope, state, number);
CREATE INDEX IF NOT EXISTS runs_by_tenant_state ON runs(tenant, state, created_at);
CREATE INDEX IF NOT EXISTS {EXPLAINED_INDEX} ON runs(tenant, created_at) WHERE {EXPLAINED};
DROP INDEX IF EXISTS runs_needing_people;
CREATE INDEX IF NOT EXISTS runs_asking_people ON runs(tenant, created_at, approvals) WHERE approvals > 0;
CREATE INDEX IF NOT EXISTS runs_awake ON runs(created_at) WHERE awake = 1;
CREATE INDEX IF NOT EXISTS runs_by_end ON runs(ended_at, id) WHERE ended_at IS NOT NULL;
{_TIMERS}CREATE INDEX IF NOT EXISTS timers_by_due ON timers(due);
CREATE TRIGGER IF NOT EXISTS runs_take_their_timers AFTER DELETE ON runs
    BEGIN DELETE FROM timers WHERE run = old.serial; END;
CREATE TABLE IF NOT EXISTS numbers(scope TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run_layers(
    layer TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY(layer, run)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS run_layers_by_run ON run_layers(run);
CREATE TABLE IF NOT EXISTS journal_padding(x);
"""  # noqa: S608 - our own names
_KEPT = ",".join(COLUMNS)
_GIVE_SERIALS = (
    "ALTER TABLE runs RENAME TO runs_old",
    "ALTER TABLE timers RENAME TO timers_old",
    _RUNS,
    _TIMERS,
    f"INSERT INTO runs({_KEPT}) SELECT {_KEPT} FROM runs_old",  # noqa: S608 - our own names
    "INSERT INTO timers SELECT serial, key, due FROM timers_old CROSS JOIN runs ON id = timers_old.run",
    "DROP TABLE runs_old",
    "DROP TABLE timers_old",
)
"""Their indexes, which go with the old tables, are made by the schema."""


def opened(path: Path, wal_bytes: int) -> sqlite3.Connection:
    """Open the file for the journal, made ready. Raises Unavailable with the remedy."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        _check_version(db)
        _widen_run_layers(db)
        _give_serials(db)
        db.executescript(_SCHEMA + told.SCHEMA + queues_sqlite.SCHEMA)
        _grow_wal(db, wal_bytes)
    except (sqlite3.Error, OSError, Unavailable) as error:
        raise Unavailable(f"The database {str(path)!r} cannot be opened: {error}.") from error
    return db


def _check_version(db: sqlite3.Connection) -> None:
    """Note the form of the journals in the file's head; refuse a file to which a newer Stepwell has written."""
    (newest,) = db.execute("PRAGMA user_version").fetchone()
    if newest > FORM:
        raise Unavailable(
            f"Its journals have form {newest}; this Stepwell reads forms up to {FORM}. "
            "Start the newer Stepwell again, or restore a backup made before it"
        )
    if newest < FORM:
        db.execute(f"PRAGMA user_version={FORM}")


def _widen_run_layers(db: sqlite3.Connection) -> None:
    """Let several runs stand on a layer, in a database in which only one could."""
    old = db.execute("SELECT sql FROM sqlite_master WHERE name='run_layers'").fetchone()
    if old is not None and "layer TEXT PRIMARY KEY" in old[0]:
        db.executescript(
            "BEGIN IMMEDIATE; ALTER TABLE run_layers RENAME TO run_layers_old;"
            "CREATE TABLE run_layers(layer TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY(layer, run)) WITHOUT ROWID;"
            "INSERT INTO run_layers SELECT layer, run FROM run_layers_old; DROP TABLE run_layers_old; COMMIT;"
        )


def _give_serials(db: sqlite3.Connection) -> None:
    """Number the rows of runs, and have timers name those numbers, in a database whose timers name ids.

    One transaction: whoever is killed meanwhile finds everything as it was.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        names = {row[1] for row in db.execute("PRAGMA table_info(runs)")}
        for statement in _GIVE_SERIALS if names and "serial" not in names else ():
            db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _grow_wal(db: sqlite3.Connection, size: int) -> None:
    """Make the WAL as long as it gets between two checkpoints, so that commits only overwrite."""
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO journal_padding VALUES(zeroblob(?))", (size,))
    db.execute("COMMIT")
    db.execute("DELETE FROM journal_padding")
    db.execute("PRAGMA wal_checkpoint(RESTART)")
    db.execute("PRAGMA wal_autocheckpoint=1000")

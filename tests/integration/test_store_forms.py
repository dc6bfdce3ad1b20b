"""Files that an older Stepwell kept otherwise: made new when they are opened, whole or not at all."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from engines import FakeExecutor, Workshop

from stepwell.engine.clock import TestClock
from stepwell.engine.rebuild import Rebuild
from stepwell.errors import Unavailable
from stepwell.store.derived import COLUMNS
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal import Due
from stepwell.store.journal_file import _GIVE_SERIALS, FORM
from stepwell.store.journal_sqlite import SqliteJournal

NAMES = ", ".join(COLUMNS)
AS_FORM_3 = f"""
CREATE TABLE old_timers(run TEXT NOT NULL, key TEXT NOT NULL, due REAL NOT NULL, PRIMARY KEY(run, key)) WITHOUT ROWID;
INSERT INTO old_timers SELECT id, key, due FROM timers JOIN runs ON serial = run;
INSERT INTO old_timers VALUES('nobody', 'x#1', 0.5);
CREATE TABLE old_runs(id TEXT PRIMARY KEY NOT NULL, {NAMES.partition(", ")[2]});
INSERT INTO old_runs SELECT {NAMES} FROM runs ORDER BY created_at DESC;
DROP TABLE timers; DROP TABLE runs;
ALTER TABLE old_timers RENAME TO timers; ALTER TABLE old_runs RENAME TO runs;
CREATE INDEX timers_by_due ON timers(due);
CREATE UNIQUE INDEX runs_by_number ON runs(scope, number);
PRAGMA user_version=3;
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from stepwell.store import journal_file

class Some(tuple):
    def __iter__(self):
        yield from self[:int(sys.argv[2])]
        os.kill(os.getpid(), signal.SIGKILL)

journal_file._GIVE_SERIALS = Some(journal_file._GIVE_SERIALS)
journal_file.opened(Path(sys.argv[1]), 4096)
"""


def schema(database: Path) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(database)) as db:
        return set(db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))


async def parked(tmp_path: Path, clock: TestClock) -> tuple[Workshop, list[Due]]:
    """A file of form 3 in which a run sleeps and another one asks, and its timers."""
    shop = Workshop(tmp_path)
    async with shop.running(clock=clock, executor=FakeExecutor()):
        await shop.create('await step.sleep("long", 60)\nreturn "slept"', "sleeps")
        await shop.hibernating("sleeps")
        await shop.create('return (await step.approval("ship", timeout=90)).by', "asks")
        await shop.hibernating("asks")
    journal = shop.journal()
    journal.open()
    with closing(journal):
        timers = journal.due(1e12, 10)
    assert [one.run for one in timers] == ["sleeps", "asks"]
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        db.executescript(AS_FORM_3)
    return shop, timers


def soundly_opened(journal: SqliteJournal, timers: list[Due], fresh: Path) -> None:
    journal.open()
    with closing(journal):
        assert journal.due(1e12, 10) == timers
        assert journal.next_due() == timers[0].due, "what belonged to no run is gone"
        assert journal.db.execute("PRAGMA user_version").fetchone() == (FORM,)
        assert Rebuild(SqliteTables(journal), mend=False).run().told == []
    new = SqliteJournal(fresh, wal_bytes=4096)
    new.open()
    new.close()
    assert schema(journal.path) == schema(fresh)


async def test_runs_of_a_file_whose_timers_named_ids_go_on(tmp_path: Path) -> None:
    clock = TestClock()
    shop, timers = await parked(tmp_path, clock)
    soundly_opened(shop.journal(), timers, tmp_path / "fresh.db")
    async with shop.running(clock=clock):
        clock.advance(60)
        assert (await shop.finished("sleeps")).result == "slept"
        await shop.engine.decide("asks", "ship#1", {"by": "ann", "approve": True}, lambda run, step: "approved")
        assert (await shop.finished("asks")).result == "ann"
    await shop.isolates.close()


async def test_whoever_is_killed_while_a_file_is_made_new_loses_nothing(tmp_path: Path) -> None:
    shop, timers = await parked(tmp_path, TestClock())
    await shop.isolates.close()
    for done in range(len(_GIVE_SERIALS) + 1):
        child = subprocess.run([sys.executable, "-c", KILLED, str(shop.database), str(done)], check=False)
        assert child.returncode == -signal.SIGKILL
        with closing(sqlite3.connect(shop.database)) as db:
            kept = db.execute("SELECT run, key, due FROM timers WHERE run <> 'nobody' ORDER BY due").fetchall()
            assert [Due(*row) for row in kept] == timers
            assert db.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    soundly_opened(shop.journal(), timers, tmp_path / "fresh.db")


async def test_timers_go_with_the_row_of_their_run(tmp_path: Path) -> None:
    shop, timers = await parked(tmp_path, TestClock())
    await shop.isolates.close()
    journal = shop.journal()
    journal.open()
    with closing(journal):
        journal.db.execute("DELETE FROM runs WHERE id = 'sleeps'")
        assert journal.due(1e12, 10) == timers[1:]
        assert journal.db.execute("SELECT count(*) FROM timers").fetchone() == (1,)


async def test_a_file_that_cannot_be_made_new_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, timers = await parked(tmp_path, TestClock())
    await shop.isolates.close()
    with (
        monkeypatch.context() as patched,
        pytest.raises(Unavailable, match="no such table: nowhere"),
    ):
        patched.setattr("stepwell.store.journal_file._GIVE_SERIALS", (*_GIVE_SERIALS, "SELECT 1 FROM nowhere"))
        shop.journal().open()
    soundly_opened(shop.journal(), timers, tmp_path / "fresh.db")

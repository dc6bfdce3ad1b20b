"""The journal on a real disk: what is committed is there, what is not never was."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine.entries import Entry, EntryType
from stepwell.errors import Unavailable
from stepwell.store.journal import NewRun, Summary, Write
from stepwell.store.journal_sqlite import SqliteJournal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "s.db", wal_bytes=4096)
    journal.open()
    yield journal
    journal.close()


def new(run: str, scope: str = "t/x") -> NewRun:
    data = {"tenant": "t", "scope": scope, "title": "", "metadata": {}, "code": "d", "entry": "", "params": {}}
    return NewRun(run, 1.0, data)


def write(run: str, seq: int, lease: int = 0, kind: EntryType = "event", **more: Any) -> Write:
    summary = Summary("running", None, 1.0, None, 2.0, seq, 0, more.pop("awake", True), 0, "{}")
    entry = Entry(run, seq, 2.0, kind, "", 0, 0, {"n": seq})
    return Write(run, lease, more.pop("next_lease", lease), summary, [(entry, f'{{"n":{seq}}}')], **more)


def test_numbers_count_per_scope_and_an_id_is_one_run(journal: SqliteJournal) -> None:
    first = journal.commit([], [new("a"), new("b"), new("c", "t/y"), new("a")]).created
    assert [(one.id, one.number, one.entry is not None) for one in first] == [
        ("a", 1, True), ("b", 2, True), ("c", 1, True), ("a", 1, False),
    ]  # fmt: skip
    assert [(entry.type, entry.data["number"]) for entry in journal.entries("b")] == [("created", 2)]


def test_a_stale_lease_writes_nothing_and_spoils_nothing(journal: SqliteJournal) -> None:
    journal.commit([], [new("a"), new("b")])
    assert journal.commit([write("a", 2, next_lease=1)]).stale == frozenset()
    late = journal.commit([write("a", 3, lease=0), write("b", 2)])
    assert late.stale == {"a"}
    assert [len(journal.entries(run)) for run in "ab"] == [2, 2]
    assert journal.commit([write("a", 3, lease=1)]).stale == frozenset()


def test_a_number_that_exists_fails_the_whole_transaction(journal: SqliteJournal) -> None:
    journal.commit([], [new("a"), new("b")])
    with pytest.raises(sqlite3.IntegrityError):
        journal.commit([write("b", 2), write("a", 1)])
    assert [len(journal.entries(run)) for run in "ab"] == [1, 1]
    journal.commit([write("b", 2)])


def test_timers_are_written_with_the_entries_that_set_them(journal: SqliteJournal) -> None:
    journal.commit([], [new("a")])
    journal.commit([write("a", 2, timers={"x": 10.0, "y": 5.0})])
    assert (journal.next_due(), [due.key for due in journal.due(10, 9)]) == (5.0, ["y", "x"])
    journal.commit([write("a", 3, timers={"y": None, "x": 20.0})])
    assert (journal.next_due(), journal.due(10, 9)) == (20.0, [])
    journal.commit([write("a", 4, ended=True)])
    assert journal.next_due() is None


def test_only_runs_that_need_attention_are_awake(journal: SqliteJournal) -> None:
    journal.commit([], [new("a"), new("b")])
    journal.commit([write("a", 2, awake=False)])
    assert [awake.run for awake in journal.awake()] == ["b"]


def test_commits_are_told_only_when_they_are_on_disk(journal: SqliteJournal) -> None:
    assert journal.db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.commit([], [new("a")])
    other = SqliteJournal(journal.path, wal_bytes=4096)
    other.open()
    assert len(other.entries("a")) == 1
    other.close()


def test_a_writer_of_other_tables_is_waited_for(journal: SqliteJournal) -> None:
    async def both() -> None:
        other = sqlite3.connect(journal.path, isolation_level=None, check_same_thread=False)
        other.execute("CREATE TABLE product(x)")
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.get_running_loop().run_in_executor(None, journal.commit, [], [new("a")])
        other.execute("INSERT INTO product VALUES(1)")
        other.execute("COMMIT")
        assert (await waiting).created[0].number == 1
        other.close()

    asyncio.run(both())


def test_a_database_that_cannot_be_opened_says_which(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("this is no database, and long enough to be seen as none at all" * 20)
    with pytest.raises(Unavailable, match=r"s\.db"):
        SqliteJournal(tmp_path / "s.db").open()

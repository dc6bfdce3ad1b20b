"""Looking through runs gives those that are meant, each once and in order, straight from indexes."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stepwell.engine.selection import Selection
from stepwell.store import scans_sqlite
from stepwell.store.derived import COLUMNS
from stepwell.store.journal import RunRow
from stepwell.store.journal_sqlite import SqliteJournal

STATES = ("passed", "failed", "cancelled", "diverged", "waiting", "paused")
RUNS = 60


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    """Runs of two tenants, in two scopes each; every third says why. Several were created in the same moment."""
    journal = SqliteJournal(tmp_path / "s.db", wal_bytes=4096)
    journal.open()
    for n in range(RUNS):
        tenant = ("acme", "evil")[n % 2]
        row = {
            **dict.fromkeys(COLUMNS), "id": f"r{n * 7 % RUNS:02}", "tenant": tenant, "scope": f"{tenant}/{n % 4 // 2}",
            "number": n, "title": "", "state": STATES[n % 5 if n % 11 else 5], "reason": None if n % 3 else "why",
            "created_at": float(n // 4), "updated_at": 1.0, "seq": 1, "lease": 0, "approvals": 0, "awake": 0,
            "played": 1, "metadata": json.dumps({"n": n}), "summary": "{}",
        }  # fmt: skip
        insert = f"INSERT INTO runs({','.join(COLUMNS)}) VALUES({','.join('?' * len(COLUMNS))})"
        journal.db.execute(insert, [row[name] for name in COLUMNS])
    yield journal
    journal.close()


SELECTIONS = [
    Selection(),
    Selection(states=frozenset({"failed", "paused"})),
    Selection("acme"),
    Selection("acme", states=frozenset({"waiting"})),
    Selection("acme", states=frozenset({"waiting", "failed", "cancelled"})),
    Selection("acme", created_after=2.0, created_until=9.0),
    Selection("acme", "acme/1"),
    Selection(scope="acme/1", states=frozenset({"passed", "failed", "waiting"})),
    Selection("evil", explained=True),
    Selection("acme", "acme/0", explained=True),
    Selection(explained=True),
]


@pytest.mark.parametrize("which", SELECTIONS)
@pytest.mark.parametrize("limit", [1, 4, RUNS])
def test_a_scan_gives_what_fits_each_once_and_in_order(journal: SqliteJournal, which: Selection, limit: int) -> None:
    found: list[RunRow] = []
    place = (-1.0, "")
    while page := journal.scan(which, place, limit):
        assert len(page) <= limit
        found += page
        place = which.place_of(page[-1])
    everyone = journal.scan(Selection(), (-1.0, ""), RUNS)
    assert len(everyone) == RUNS
    fitting = [row for row in everyone if which.fits(row)]
    assert {row.id for row in found} == {row.id for row in fitting} and len(found) == len(fitting)
    if which.by_number:
        assert [row.number for row in found] == sorted(row.number for row in found)
    elif which.tenant:
        assert [(row.created_at, row.id) for row in found] == sorted((row.created_at, row.id) for row in found)


ACME = Selection("acme")


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (Selection("acme", explained=True), "runs_explained (tenant=? AND created_at>?)"),
        (replace(ACME, states=frozenset({"paused"})), "runs_by_tenant_state (tenant=? AND state=? AND created_at>?)"),
        (Selection(scope="acme/1", states=frozenset({"failed"})), "runs_by_state (scope=? AND state=? AND number>?)"),
        (ACME, "runs_of_tenant (tenant=? AND created_at>?)"),
    ],
)  # fmt: skip
def test_a_scan_reads_the_runs_that_are_meant_only(journal: SqliteJournal, which: Selection, index: str) -> None:
    query, values = scans_sqlite._query(which, (-1.0, ""), 10)
    plan = [row[3] for row in journal.db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    assert f"SEARCH runs USING INDEX {index}" in plan, plan


def test_the_last_entry_of_each_run_is_told(journal: SqliteJournal) -> None:
    for run, seq, data in (("r01", 1, "{}"), ("r01", 2, '{"n":2}'), ("r02", 1, "{")):
        journal.db.execute("INSERT INTO journal VALUES(?,?,0.0,1,'event','',0,0,?)", (run, seq, data))
    found = journal.last_entries(["r02", "r01", "r03"])
    assert found.keys() == {"r01", "r02"} and found["r02"] is None
    assert found["r01"] is not None and found["r01"].data == {"n": 2}


def test_who_looks_through_runs_can_write_nothing(journal: SqliteJournal) -> None:
    db = scans_sqlite._connected(journal.path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM runs")
    db.close()

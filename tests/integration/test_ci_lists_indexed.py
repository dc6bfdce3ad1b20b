"""Lists of a repository's runs come straight from an index, whatever they are narrowed by; no plan reads all runs."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from stepwell.ci.history import Filter, History
from stepwell.repos.repositories import Repositories
from stepwell.store.derived import COLUMNS
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants.actors import Actor

ACTOR = Actor("p", "ann", {"acme": "owner"})
ROW = {
    "tenant": "acme", "scope": "acme/api", "title": "A change", "state": "passed", "created_at": 1.0, "updated_at": 1.0,
    "seq": 1, "lease": 0, "approvals": 0, "awake": 0, "played": 1, "summary": '{"counts":{},"approvals":[]}',
}  # fmt: skip
SHA = "5f" * 20


class Shelf:
    """A database with some runs, and the plans of what is asked of it."""

    def __init__(self, path: Path) -> None:
        Store(path).close()
        self.journal = SqliteJournal(path, wal_bytes=4096)
        self.journal.open()
        self.store = Store(path)
        self.history = History(self.store, Repositories(path.parent))

    def put(self, number: int, **metadata: str) -> None:
        self.put_row(number, json.dumps(metadata))

    def put_row(self, number: int, metadata: str) -> None:
        row = {**dict.fromkeys(COLUMNS), **ROW, "id": f"run{number}", "number": number, "metadata": metadata}
        marks = ",".join("?" * len(COLUMNS))
        insert = f"INSERT INTO runs({','.join(COLUMNS)}) VALUES({marks})"
        self.journal.db.execute(insert, [row[name] for name in COLUMNS])

    def plan(self, ask: Callable[[], object]) -> list[str]:
        asked: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            asked.append((statement, parameters))

        event.listen(self.store._reading, "before_cursor_execute", note)
        try:
            ask()
        finally:
            event.remove(self.store._reading, "before_cursor_execute", note)
        (query,) = [one for one in asked if "FROM runs" in one[0]]
        return [row[3] for row in self.journal.db.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "stepwell.db")
    shelf.put(1, pipeline="Ship", branch="main", commit="ab" * 20)
    shelf.put(2, pipeline="Nightly", branch="old", commit=SHA)
    shelf.put(3, pipeline="Ship", branch="old", commit=SHA[:-2] + "00")
    yield shelf
    shelf.journal.close()
    shelf.store.close()


@pytest.mark.parametrize(
    ("wanted", "index", "found"),
    [
        ({"pipeline": "Ship"}, "runs_by_pipeline", [3, 1]),
        ({"branch": "old"}, "runs_by_branch", [3, 2]),
        ({"branch": "old", "pipeline": "Ship"}, "runs_by_branch", [3]),
        ({"branch": "old", "state": "passed"}, "runs_by_branch", [3, 2]),
        ({"sha": SHA}, "runs_by_commit", [2]),
    ],
)
def test_runs_are_found_by_what_started_them(
    shelf: Shelf, wanted: dict[str, str], index: str, found: list[int]
) -> None:
    runs = []
    plan = shelf.plan(lambda: runs.extend(shelf.history.page(ACTOR, Filter("acme", "api", **wanted), None, 50)))
    assert [run.number for run in runs] == found
    assert len(plan) == 1 and f"SEARCH runs USING INDEX {index} (scope=? AND <expr>=?" in plan[0], plan


@pytest.mark.parametrize(
    ("wanted", "index", "found"),
    [
        ({"state": "passed"}, "runs_by_tenant_state (tenant=? AND state=?)", [3, 2, 1]),
        ({"pipeline": "Ship"}, "runs_of_tenant (tenant=?)", [3, 1]),
        ({"branch": "old", "by": "ann"}, "runs_of_tenant (tenant=?)", []),
        ({"kind": "plan"}, "runs_of_tenant (tenant=?)", []),
        ({"sha": SHA}, "runs_by_commit (scope=? AND <expr>=?)", [2]),
    ],
)
def test_a_tenants_runs_are_found_without_reading_all_their_rows(
    shelf: Shelf, wanted: dict[str, str], index: str, found: list[int]
) -> None:
    shelf.journal.db.execute("INSERT INTO numbers VALUES('acme/api', 3)")
    runs = []
    plan = shelf.plan(lambda: runs.extend(shelf.history.page(ACTOR, Filter("acme", **wanted), None, 50)))
    assert [run.number for run in runs] == found
    assert f"SEARCH runs USING INDEX {index}" in plan, plan


def test_a_token_for_one_repository_reads_its_list(shelf: Shelf) -> None:
    actor = replace(ACTOR, repository="acme/api")
    runs = []
    (plan,) = shelf.plan(lambda: runs.extend(shelf.history.page(actor, Filter("acme"), None, 50)))
    assert ([run.number for run in runs], "USING INDEX runs_by_number (scope=?)" in plan) == ([3, 2, 1], True)


def test_the_last_green_run_of_a_branch_is_not_looked_for_among_all_runs(shelf: Shelf) -> None:
    newest = shelf.history.numbered(ACTOR, "acme", "api", 3)
    (plan,) = shelf.plan(lambda: shelf.history.green_before(ACTOR, newest, "never"))
    assert "USING INDEX runs_by_branch (scope=? AND <expr>=? AND number<?" in plan


def test_the_last_runs_of_repositories_are_one_statement_that_reads_no_other_run(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: Repository(id=name, tenant="acme", name=name, created_at=0) for name in ("acme/api", "acme/none")}
    asked: list[tuple[str, Sequence[Any]]] = []
    read = shelf.store.rows

    def rows(query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        asked.append((query, values))
        return read(query, values)

    monkeypatch.setattr(shelf.store, "rows", rows)
    assert {scope: run.number for scope, run in shelf.history.latest(known).items()} == {"acme/api": 3}
    ((query, values),) = asked
    plan = [row[3] for row in shelf.journal.db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    assert "SEARCH runs USING INDEX runs_by_number (scope=?)" in plan
    assert [row for row in plan if row.startswith("SCAN") and "json_each" not in row] == []


def test_a_row_that_is_damaged_keeps_nobody_from_opening_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "stepwell.db"
    shelf = Shelf(path)
    shelf.put(1, branch="main")
    shelf.put_row(2, "{not json")
    shelf.journal.close()
    shelf.store.close()
    with closing(sqlite3.connect(path)) as older:
        for name in ("pipeline", "branch", "commit"):
            older.execute(f"DROP INDEX runs_by_{name}")
    shelf = Shelf(path)
    with closing(shelf.journal.db), closing(shelf.store):
        assert [run.number for run in shelf.history.page(ACTOR, Filter("acme", "api", branch="main"), None, 9)] == [1]

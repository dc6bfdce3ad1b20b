"""Runs that ended long ago go, with everything that is kept of them; a crash in the middle is made good."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest
from places import Clone, Place

from stepwell.ci import retention
from stepwell.ci.answers import answer_of
from stepwell.ci.retention import DAY_SECONDS, Aged, Policy, Retention
from stepwell.cli.retention import retention as show
from stepwell.errors import NotFound
from stepwell.store.journal_sqlite import SqliteJournal

SOURCE = """
from stepwell import *

class Quick(Pipeline):
    on = [manual(ask=False)]
    async def run(self, event, step):
        await step.run("work", "true")
        if event.inputs.get("ask"):
            await step.approval("Go on?")

class Fails(Pipeline):
    on = [manual()]
    async def run(self, event, step):
        raise ValueError("on purpose")
"""
TABLES = {"journal": "run", "runs": "id", "timers JOIN runs ON serial = run": "id", "run_layers": "run"}


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    clone.pipeline(SOURCE)
    clone.push()
    return clone


def start(clone: Clone, pipeline: str = "Quick", **inputs: Any) -> str:
    """Start a run and wait until it has ended or asks."""
    place = clone.place
    ref = place.services.runs.start(place.admin(), "acme", "api", pipeline=pipeline, inputs=inputs)
    place.until(ref.id, lambda view: view.summary.finished or view.approvals)
    return ref.id


def retain(place: Place, newest: int = 1, later: float = 100 * DAY_SECONDS, **parts: Any) -> Retention:
    """Retention as the server has it, at a later time."""

    def remove(runs: Sequence[str]) -> list[str]:
        return answer_of(place.thread, place.thread.engine.remove(runs))

    aged = Aged(place.base.store, Policy(90, newest))
    made: dict[str, Any] = {"audit": place.base.tenants.audit, "remove": remove, **parts}
    made.setdefault("files", [place.base.logs, place.base.blobs])
    return Retention(aged, **made, now=lambda: time.time() + later)


def rows_of(place: Place, run: str) -> dict[str, int]:
    with closing(sqlite3.connect(place.settings.database)) as db:
        return {
            table: db.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (run,)).fetchone()[0]
            for table, column in TABLES.items()
        }  # fmt: skip


def numbers(clone: Clone) -> list[int]:
    return [run.number for run in clone.runs()]


def audited(place: Place) -> list[list[int]]:
    entries = place.services.tenants.audit.list(place.admin(), "acme")
    return [entry.detail["numbers"] for entry in reversed(entries) if entry.action == "runs.remove"]


def test_old_runs_go_with_all_that_is_kept_of_them_and_their_numbers_stay_taken(clone: Clone) -> None:
    place = clone.place
    runs = [start(clone) for _ in range(4)]
    for run in runs:
        writer = place.base.blobs.writer(run)
        writer.write(b"large")
        blob = writer.keep()
    assert (place.settings.state / "logs" / runs[0]).exists() and rows_of(place, runs[0])["journal"] > 3
    assert retain(place, newest=2, later=0).remove_some() == 0, "they have only just ended"
    assert retain(place, newest=2).remove_some() == 2
    assert numbers(clone) == [4, 3]
    for run in runs[:2]:
        assert set(rows_of(place, run).values()) == {0}
        assert not (place.settings.state / "logs" / run).exists()
        assert not place.base.blobs.path(run, blob).exists()
        with pytest.raises(NotFound):
            place.services.runs.get(place.admin(), run)
    assert (place.settings.state / "logs" / runs[2]).exists() and place.base.blobs.path(runs[2], blob).exists()
    assert place.executor.erased == [runs[:2]]
    assert audited(place) == [[1, 2]]
    start(clone)
    assert numbers(clone) == [5, 4, 3]


def test_what_waits_and_the_last_passed_run_stay_however_old(clone: Clone) -> None:
    start(clone)  # 1: a later one has passed
    passed = start(clone)  # 2: the last that passed
    waiting = start(clone, ask=True)  # 3
    failed = [start(clone, "Fails") for _ in range(3)]  # 4, 5, 6
    assert retain(clone.place).remove_some() == 3
    assert [run.id for run in clone.runs()] == [failed[2], waiting, passed]
    place = clone.place
    (asked,) = place.services.runs.get(place.admin(), waiting).approvals
    place.services.runs.decide(place.admin(), waiting, asked.key, approve=True)
    assert place.finished(waiting).summary.state == "passed", "it goes on as if nothing had been removed"


def test_a_run_stays_while_one_that_created_it_goes_on(clone: Clone) -> None:
    place = clone.place
    parent, child = start(clone, ask=True), start(clone, "Fails")
    start(clone)
    with closing(sqlite3.connect(place.settings.database, isolation_level=None)) as db:
        created = SqliteJournal(place.settings.database, wal_bytes=4096)
        created.open()
        data = created.entries(child)[0].data
        created.close()
        told = json.dumps({**data, "parent": {"run": parent, "key": "call#1", "depth": 1}})
        db.execute("UPDATE journal SET data = ? WHERE run = ? AND seq = 1", (told, child))
    assert retain(place).remove_some() == 0
    place.services.runs.decide(place.admin(), parent, "Go on?#1", approve=True)
    place.finished(parent)
    assert retain(place).remove_some() == 2


class Stop(Exception):
    """The process is killed here."""


def stopping_at(number: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give wrappers that stop the world before the effect of this number."""
    done = iter(range(number))

    def wrap(effect: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(done, None) is None:
                raise Stop
            return effect(*args, **kwargs)

        return wrapped

    return wrap


@pytest.mark.parametrize("effects", range(7))
def test_a_crash_between_any_two_removals_is_made_good_by_the_next_minute(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, effects: int
) -> None:
    place = clone.place
    runs = [start(clone) for _ in range(3)]
    wrap = stopping_at(effects)
    with monkeypatch.context() as patched:
        patched.setattr(place.base.tenants.audit, "add", wrap(place.base.tenants.audit.add))
        patched.setattr(place.base.logs, "remove", wrap(place.base.logs.remove))
        patched.setattr(place.executor, "erase", wrap(place.executor.erase))
        patched.setattr(SqliteJournal, "remove", wrap(SqliteJournal.remove))
        patched.setattr(SqliteJournal, "_before_commit", wrap(SqliteJournal._before_commit))
        try:
            retain(place).remove_some()
        except Stop:
            assert effects < 6
        else:
            assert effects == 6, "after the last effect nothing is left to stop"
    place.stop()
    place.start()
    retain(place).remove_some()
    assert numbers(clone) == [3]
    for run in runs[:2]:
        assert set(rows_of(place, run).values()) == {0}
        assert not (place.settings.state / "logs" / run).exists()
    assert audited(place)[0] == [1, 2], "written down before anything goes"


def test_each_minute_goes_on_behind_what_the_last_one_looked_at(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOKED_AT", 2)
    waiting = [start(clone) for _ in range(5)]
    minutes = retain(clone.place, newest=3)
    assert [minutes.remove_some() for _ in range(4)] == [2, 0, 0, 0]
    newer = retain(clone.place, newest=1)
    assert [newer.remove_some() for _ in range(2)] == [2, 0]
    assert [run.id for run in clone.runs()] == waiting[4:]


def test_the_command_shows_what_would_go_and_removes_nothing(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(clone)
    second = start(clone)
    start(clone)
    with closing(sqlite3.connect(clone.place.settings.database, isolation_level=None)) as db:
        db.execute("UPDATE runs SET ended_at = ended_at - ? WHERE id = ?", (10 * DAY_SECONDS, second))
    monkeypatch.setenv("STEPWELL_STATE", str(clone.place.settings.state))
    show(days=9, keep=1, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [(run["id"], run["repository"], run["number"]) for run in shown["runs"]] == [(second, "acme/api", 2)]
    show(days=9, keep=1)
    told = capsys.readouterr()
    assert "acme/api" in told.out and "#2" in told.out and "would go: 1." in told.err
    show()
    assert "more than 90 days ago" in capsys.readouterr().err, "the settings' own"
    assert numbers(clone) == [3, 2, 1]

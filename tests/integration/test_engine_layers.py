"""Layers of ended runs: kept for restarts, let go of after a time, never under a run that stands on them."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from engines import FakeExecutor, Workshop, passed

from stepwell.dynamic import bind
from stepwell.engine import kept_layers
from stepwell.engine.clock import TestClock
from stepwell.engine.rebuild import Rebuild, Report
from stepwell.engine.specs import Limits
from stepwell.errors import Conflict
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal_sqlite import SqliteJournal

DAY = 86_400.0
LIMITS = Limits(linger=0.01)
BODY = 'await step.run("a", "a")\nawait step.run("b", "b")'


def layered() -> FakeExecutor:
    return FakeExecutor(a=passed("layer-a"), b=[passed("layer-b"), passed("layer-b2")])


def noted(shop: Workshop) -> list[tuple[str, str]]:
    """(run, layer) pairs of the database."""
    with closing(sqlite3.connect(shop.database)) as db:
        return sorted(db.execute("SELECT run, layer FROM run_layers").fetchall())


def look(shop: Workshop, *, mend: bool = False) -> Report:
    journal = shop.journal()
    journal.open()
    with closing(journal):
        return Rebuild(SqliteTables(journal), mend=mend).run()


async def test_layers_go_when_every_run_that_stands_on_them_ended_long_ago(shop: Workshop) -> None:
    executor, clock = layered(), TestClock()
    async with shop.running(executor=executor, clock=clock, limits=LIMITS) as engine:
        await shop.create(BODY)
        await shop.finished()
        clock.advance(5 * DAY)
        again = await bind(engine, {}, tenant="t", scope="t/x").restart("r", "b#1", id="again")
        await again.finished()
        await engine.let_go_of_layers(7 * DAY)
        assert executor.gone == set()
        clock.advance(3 * DAY)
        await engine.let_go_of_layers(7 * DAY)
        assert executor.gone == {"layer-b"}, "the younger run stands on layer-a"
        assert noted(shop) == [("again", "layer-a"), ("again", "layer-b2")]
        clock.advance(7 * DAY)
        await engine.let_go_of_layers(7 * DAY)
        assert (executor.gone, noted(shop)) == ({"layer-a", "layer-b", "layer-b2"}, [])


async def test_a_step_stands_on_layers_in_the_order_in_which_their_steps_were_asked_for(shop: Workshop) -> None:
    """Which of two parallel steps' files are seen does not depend on which of them was faster."""
    executor = FakeExecutor(gate=passed("layer-slow"), fast=passed("layer-fast"), more=passed("layer-more"))
    body = """
slow, fast = step.run("slow", "gate"), step.run("fast", "fast")
await fast
await step.run("early", "early")
await slow
await step.run("more", "more")
await step.run("late", "late")
"""
    async with shop.running(executor=executor, limits=LIMITS):
        await shop.create(body)
        await shop.until(lambda state: any(step.name == "early" for step in state.steps.values()))
        executor.gate.set()
        assert (await shop.finished()).state == "passed"
    bases = {attempt.name: attempt.base for attempt in executor.attempts}
    assert bases["early"] == ("layer-fast",)
    assert bases["late"] == ("layer-slow", "layer-fast", "layer-more")


async def test_runs_that_wait_keep_their_layers_however_long(shop: Workshop) -> None:
    executor, clock = layered(), TestClock()
    async with shop.running(executor=executor, clock=clock, limits=LIMITS) as engine:
        await shop.create('await step.run("a", "a")\nawait step.wait_for_event("w", type="go", timeout=None)')
        await shop.hibernating()
        clock.advance(1000 * DAY)
        await engine.let_go_of_layers(0)
        assert (executor.gone, noted(shop)) == (set(), [("r", "layer-a")])


async def test_a_restart_on_layers_that_were_let_go_of_is_refused_while_they_are_being_removed(shop: Workshop) -> None:
    removing = asyncio.Event()

    class Slow(FakeExecutor):
        async def drop(self, layers: Sequence[str]) -> None:
            removing.set()
            await asyncio.Event().wait()

    async with shop.running(executor=Slow(a=passed("layer-a")), limits=LIMITS) as engine:
        await shop.create(BODY)
        await shop.until(lambda state: state.finished and not engine.holds("r"))
        sweep = asyncio.ensure_future(engine.let_go_of_layers(-1))
        await removing.wait()
        with pytest.raises(Conflict, match="STEPWELL_KEEP_LAYERS_DAYS"):
            await bind(engine, {}, tenant="t").restart("r", "b#1", id="again")
        sweep.cancel()


async def test_a_restart_under_way_keeps_the_layers_that_it_will_stand_on(shop: Workshop) -> None:
    looking, look_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeExecutor):
        async def missing(self, layers: Sequence[str]) -> list[str]:
            looking.set()
            await look_on.wait()
            return []

    executor = Slow(a=passed("layer-a"), b=[passed("layer-b"), passed("layer-b2")])
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create(BODY)
        await shop.until(lambda state: state.finished and not engine.holds("r"))
        restarting = asyncio.ensure_future(bind(engine, {}, tenant="t", scope="t/x").restart("r", "b#1", id="again"))
        await looking.wait()
        sweep = asyncio.ensure_future(engine.let_go_of_layers(-1))
        await asyncio.sleep(0)
        look_on.set()
        await restarting
        await sweep
        assert "layer-a" not in executor.gone
        assert ("again", "layer-a") in noted(shop)


async def test_more_runs_than_are_looked_at_at_once_are_all_seen_to(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_layers, "RUNS_AT_ONCE", 2)
    executor = FakeExecutor(**{f"a{n}": passed(f"layer-{n}") for n in range(5)})
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        for n in range(5):
            await shop.create(f'await step.run("a", "a{n}")', f"r{n}")
            await shop.until(lambda state: state.finished and not engine.holds(state.id), f"r{n}")
        await engine.let_go_of_layers(-1)
        assert executor.gone == {f"layer-{n}" for n in range(5)}


async def test_a_crash_between_note_and_removal_leaves_layers_that_the_next_start_removes(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor(a=passed("layer-a")), limits=LIMITS):
        await shop.create('await step.run("a", "a")')
        await shop.finished()
    journal = shop.journal()
    journal.open()
    with closing(journal):
        assert journal.let_go(["r"]) == ["layer-a"]
    executor = FakeExecutor()
    async with shop.running(executor=executor):
        assert executor.in_use is not None and not executor.in_use("layer-a")


async def test_layers_that_were_let_go_of_are_no_difference_and_do_not_come_back(shop: Workshop) -> None:
    async with shop.running(executor=layered(), limits=LIMITS) as engine:
        await shop.create(BODY)
        await shop.until(lambda state: state.finished and not engine.holds("r"))
        await engine.let_go_of_layers(-1)
    report = look(shop, mend=True)
    assert (report.runs, report.told, report.damaged) == (1, [], [])
    assert noted(shop) == []


OLD_LAYERS = """
DROP TABLE run_layers;
DROP INDEX runs_by_end;
CREATE TABLE run_layers(layer TEXT PRIMARY KEY, run TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO run_layers VALUES('layer-a', 'waits');
INSERT INTO run_layers VALUES('layer-b', 'ended');
"""


async def test_a_database_in_which_one_run_stood_on_a_layer_is_widened_at_the_start(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor(a=passed("layer-a"), b=passed("layer-b")), limits=LIMITS) as engine:
        await shop.create('await step.run("a", "a")\nawait step.wait_for_event("w", type="go")', "waits")
        await shop.create('await step.run("b", "b")\nawait step.run("c", "c")', "ended")
        await shop.hibernating("waits")
        await shop.until(lambda state: state.finished and not engine.holds("ended"), "ended")
    make_old(shop.database)
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        assert executor.in_use is not None and executor.in_use("layer-a")
        await bind(engine, {}, tenant="t", scope="t/x").restart("ended", "c#1", id="again")
        await shop.until(lambda state: state.finished and not engine.holds("again"), "again")
        assert noted(shop) == [("again", "layer-b"), ("ended", "layer-b"), ("waits", "layer-a")]
        await engine.send_event("waits", "go", None)
        assert (await shop.finished("waits")).state == "passed"
    assert look(shop).told == []


def make_old(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.executescript(OLD_LAYERS)


async def test_a_widening_that_was_cut_short_is_done_at_the_next_start(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor(a=passed("layer-a")), limits=LIMITS):
        await shop.create('await step.run("a", "a")', "waits")
        await shop.finished("waits")
    make_old(shop.database)
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("ALTER TABLE run_layers RENAME TO run_layers_old")  # and then the process is gone
    journal = SqliteJournal(shop.database, wal_bytes=4096)
    journal.open()
    journal.close()
    assert noted(shop) == [("ended", "layer-b"), ("waits", "layer-a")]

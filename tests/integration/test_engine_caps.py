"""Room for runs in a real engine: caps, fairness between tenants, priorities, and starts with much to do."""

import asyncio
import os
from collections.abc import Callable

import pytest
from engines import FakeExecutor, Workshop, failed, passed

from stepwell.engine.clock import TestClock
from stepwell.engine.entries import Entry
from stepwell.engine.local import ProcessChannel, ProcessIsolates
from stepwell.engine.order import Order
from stepwell.engine.room import Caps, CapsOf
from stepwell.engine.seams import IsolateSpec
from stepwell.engine.specs import Note
from stepwell.engine.state import RunState
from stepwell.engine.timers import BATCH
from stepwell.errors import TryLater
from stepwell.store.journal_sqlite import SqliteJournal

HOLDS = 'await step.run("r", "gate")'
WAITS = 'await step.wait_for_event("w", type="go")'
MANY = 1_000 if os.environ.get("STEPWELL_SOAK") else 200


def capped(tenant: int | None = None, scope: int | None = None) -> CapsOf:
    return lambda *_: Caps(tenant, scope)


class CountedIsolates(ProcessIsolates):
    """Isolates that remember how many there were at once, and how many runs were in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.most_in_memory = 0
        self.in_memory: Callable[[], int] = lambda: 0

    async def open(self, spec: IsolateSpec) -> ProcessChannel:
        channel = await super().open(spec)
        self.most = max(self.most, self.alive)
        self.most_in_memory = max(self.most_in_memory, self.in_memory())
        return channel


def begun(shop: Workshop) -> list[str]:
    """Note the runs of an engine in the order in which their code is begun, from now on."""
    order: list[str] = []

    def heed(news: Entry | Note, state: RunState | None) -> None:
        if isinstance(news, Note) and (news.type, news.text) == ("turn", "begin"):
            order.append(news.run)

    shop.engine.subscribe(heed)
    return order


async def kept_waiting(shop: Workshop, run: str) -> str | None:
    """Wait until a run waits for room and costs no memory; give its reason."""

    def waits(state: RunState) -> bool:
        return (state.reason or "").startswith("waits for room") and not shop.engine.holds(run)

    return (await shop.until(waits, run)).reason


@pytest.mark.parametrize(("caps", "whose"), [(capped(tenant=1), "t"), (capped(scope=1), "t/x")])
async def test_a_cap_is_a_number_of_runs_that_go_on(shop: Workshop, caps: CapsOf, whose: str) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, caps=caps):
        await shop.create(HOLDS, "a")
        await shop.until(lambda state: state.counts.get("running"), "a")
        await shop.create(HOLDS, "b")
        await shop.create("return 1", "other", "u")
        assert (await shop.finished("other")).state == "passed"
        assert await kept_waiting(shop, "b") == f"waits for room: at most 1 run of {whose} may go on at a time"
        executor.gate.set()
        assert [(await shop.finished(run)).state for run in "ab"] == ["passed", "passed"]
        assert executor.most_at_once == 1


async def test_a_run_that_waits_for_people_or_events_takes_no_room(shop: Workshop) -> None:
    async with shop.running(caps=capped(tenant=1)) as engine:
        for run in "abc":
            await shop.create(WAITS, run)
            await shop.hibernating(run)
        for run in "abc":
            await engine.send_event(run, "go", None)
            assert (await shop.finished(run)).state == "passed"


async def test_a_run_that_waits_for_one_it_called_leaves_it_the_room(shop: Workshop) -> None:
    source = """
class Child(Pipeline):
    async def run(self, event, step):
        return await step.run("one", "true")

class W(Pipeline):
    async def run(self, event, step):
        await gather(step.call("c", Child), step.call("d", Child), step.run("two", "true"))
"""
    async with shop.running(caps=capped(scope=1), concurrent_turns=1, executor=FakeExecutor()):
        for run in "ab":
            await shop.create_source(source, run)
        assert [(await shop.finished(run)).state for run in "ab"] == ["passed", "passed"]


async def test_commands_tried_again_wait_for_room_as_code_does(shop: Workshop) -> None:
    clock, executor = TestClock(), FakeExecutor(later=[failed(), passed()])
    async with shop.running(executor=executor, caps=capped(tenant=1), clock=clock):
        await shop.create('await step.run("r", "later", retries=Retry(1, delay="1 hour"))', "a")
        await shop.until(lambda state: state.counts.get("retrying") and not shop.engine.holds("a"), "a")
        await shop.create(HOLDS, "b")
        await shop.until(lambda state: state.counts.get("running"), "b")
        clock.advance(3600)
        assert await kept_waiting(shop, "a") == "waits for room: at most 1 run of t may go on at a time"
        executor.gate.set()
        assert [(await shop.finished(run)).state for run in "ba"] == ["passed", "passed"]
        assert executor.most_at_once == 1


async def test_a_run_that_is_cancelled_while_it_waits_for_room_ends_at_once(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, caps=capped(tenant=1)) as engine:
        await shop.create(HOLDS, "a")
        await shop.until(lambda state: state.counts.get("running"), "a")
        await shop.create(HOLDS, "b")
        await shop.create(HOLDS, "c")
        await kept_waiting(shop, "c")
        await engine.cancel("b", "ann")
        assert (await shop.finished("b")).state == "cancelled"
        await engine.pause("c", "ann")
        executor.gate.set()
        assert (await shop.finished("a")).state == "passed"
        await engine.resume("c", "ann")
        assert (await shop.finished("c")).state == "passed"
        assert [attempt.run for attempt in executor.attempts] == ["a", "c"]


async def test_a_tenant_with_many_runs_does_not_hold_up_another_one(shop: Workshop) -> None:
    async with shop.running(concurrent_turns=1, executor=FakeExecutor()):
        order = begun(shop)
        await asyncio.gather(*(shop.create("return 1", f"big{n}", "big") for n in range(MANY)))
        before = len(order)
        await shop.create("return 1", "small", "small")
        await shop.finished("small")
        assert order.index("small") - before <= 2
        assert len(order) < MANY


async def test_within_a_tenant_the_larger_priority_begins_first(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, caps=capped(tenant=1)):
        await shop.create(HOLDS, "first")
        await shop.until(lambda state: state.counts.get("running"), "first")
        for run, priority in (("a", 0), ("low", -1), ("high", 1), ("b", 0)):
            await shop.create("return 1", run, order=Order(priority=priority))
            await kept_waiting(shop, run)
        order = begun(shop)
        executor.gate.set()
        await shop.finished("low")
        assert order == ["high", "a", "b", "low"]


async def test_a_run_that_was_waiting_goes_on_before_new_ones_begin(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, caps=capped(tenant=1)) as engine:
        await shop.create(WAITS, "old")
        await shop.hibernating("old")
        await shop.create(HOLDS, "first")
        await shop.until(lambda state: state.counts.get("running"), "first")
        await shop.create("return 1", "new")
        await engine.send_event("old", "go", None)
        order = begun(shop)
        executor.gate.set()
        await shop.finished("new")
        assert order[-2:] == ["old", "new"]


async def test_the_waiting_line_survives_a_restart_with_its_priorities(shop: Workshop) -> None:
    async with shop.running(caps=capped(tenant=0)):
        for run, priority in (("a", 0), ("low", -1), ("high", 1)):
            await shop.create("return 1", run, order=Order(priority=priority))
    async with shop.running(concurrent_turns=1):
        order = begun(shop)
        await shop.finished("low")
        assert order == ["a", "high", "low"]  # the first that is read finds the machine free


@pytest.mark.parametrize("how", ["awake", "due"])
async def test_a_start_with_much_to_do_boots_few_isolates_at_a_time(shop: Workshop, how: str) -> None:
    """Runs whose code has something to hear, or whose time has come while nothing ran."""
    clock = TestClock()
    order = Order(delay=60) if how == "due" else None
    async with shop.running(clock=clock, caps=capped(tenant=0)) as engine:
        await asyncio.gather(*(shop.create("return 1", f"r{n}", order=order) for n in range(MANY)))
        assert engine.in_memory == 0
    clock.advance(3600)
    isolates = CountedIsolates()
    async with shop.running(clock=clock, isolates=isolates, concurrent_turns=4) as engine:
        isolates.in_memory = lambda: engine.in_memory

        def tick(*_: object) -> None:  # time passes while something happens
            asyncio.get_running_loop().call_soon(clock.advance, 0.001)

        engine.subscribe(tick)
        tick()
        for n in range(MANY):
            assert (await shop.finished(f"r{n}", 60)).state == "passed"
        await shop.until(lambda _: not engine.in_memory, "r0")
        assert isolates.alive == 0
    assert 2 <= isolates.most <= 4
    assert isolates.most_in_memory <= 2 * BATCH
    await isolates.close()


async def test_a_run_whose_transaction_the_disk_refused_gives_its_room_back(shop: Workshop) -> None:
    class Refusing(SqliteJournal):
        refused = False

        def _before_commit(self) -> None:
            if self.refused:
                raise OSError("the disk is full")

    journal, clock = Refusing(shop.database, wal_bytes=4096), TestClock()
    async with shop.running(journal=journal, caps=capped(tenant=1), clock=clock) as engine:
        await shop.create('await step.wait_for_event("w", type="go")\nawait step.do("d", give, 1)', "a")
        await shop.hibernating("a")
        journal.refused = True
        with pytest.raises(TryLater):
            await engine.send_event("a", "go", None)
        journal.refused = False
        clock.advance(10)
        await shop.create("return 1", "b")
        assert (await shop.finished("b")).state == "passed"
        await engine.send_event("a", "go", None)
        assert (await shop.finished("a")).state == "passed"

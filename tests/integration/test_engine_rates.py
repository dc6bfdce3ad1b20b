"""Rates and delayed starts, with time moved: so many runs of a key begin in any so many seconds."""

import re
import time
from collections.abc import Sequence
from contextlib import closing

import pytest
from engines import Workshop

from stepwell.authoring.order import MOST_RUNS, Rate
from stepwell.engine.clock import TestClock
from stepwell.engine.order import Order
from stepwell.engine.rebuild import Rebuild
from stepwell.errors import Invalid
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

MINUTE = Order(rate=Rate("mails", 2, 60))


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


async def states(shop: Workshop, *runs: str) -> list[str]:
    """Give the states of runs once every one of them has ended or costs no memory."""
    found = [await shop.until(lambda state: state.finished or not shop.engine.holds(state.id), run) for run in runs]
    return [state.state for state in found]


async def test_so_many_runs_begin_in_any_window_and_the_others_wait_in_their_order(
    shop: Workshop, clock: TestClock
) -> None:
    async with shop.running(clock=clock) as engine:
        for run in "abcde":
            await shop.create("return 1", run, order=MINUTE)
        for run in "ab":
            await shop.finished(run)
        assert await states(shop, *"cde") == ["queued"] * 3
        state = await engine.get("c")
        assert state is not None and state.reason == "waits for its turn: at most 2 runs of mails in 1 minute"
        clock.advance(59.9)
        assert await states(shop, *"cde") == ["queued"] * 3
        clock.advance(0.2)
        for run in "cd":
            await shop.finished(run)
        assert await states(shop, "e") == ["queued"]
        clock.advance(61)
        await shop.finished("e")
        await shop.until(lambda _: not engine.in_memory, "e")


async def test_the_window_slides(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock):
        await shop.create("return 1", "a", order=MINUTE)
        await shop.finished("a")
        clock.advance(50)
        for run in "bcd":
            await shop.create("return 1", run, order=MINUTE)
        await shop.finished("b")
        clock.advance(11)  # a is out of the window, b is not
        await shop.finished("c")
        assert await states(shop, "d") == ["queued"]
        clock.advance(50)
        await shop.finished("d")


async def follows(shop: Workshop, clock: TestClock, run: str, seconds: float) -> bool:
    """Let time pass in small steps; say whether a run begins within so many seconds."""
    end = clock.elapsed() + seconds
    while clock.elapsed() < end:
        clock.advance(5)
        if await states(shop, run) == ["passed"]:
            return True
    return False


@pytest.mark.parametrize("jump", [-86_400.0, -30.0])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_rate_goes_on_within_two_windows_after_the_clock_was_set_back(
    shop: Workshop, clock: TestClock, jump: float, waits: bool
) -> None:
    once = Order(rate=Rate("k", 1, 60))
    async with shop.running(clock=clock) as engine:
        await shop.create("return 1", "a", order=once)
        await shop.finished("a")
        for run in "bcd" if waits else "":
            await shop.create("return 1", run, order=once)
        clock.jump(jump)
        for run in "" if waits else "bcd":
            await shop.create("return 1", run, order=once)
        assert await follows(shop, clock, "b", 120)
        assert not await follows(shop, clock, "c", 50), "it still holds"
        assert await follows(shop, clock, "c", 15) and await follows(shop, clock, "d", 65)
        await shop.until(lambda _: not engine.in_memory, "d")
    journal = shop.journal()
    journal.open()
    with closing(journal):
        report = Rebuild(SqliteTables(journal), mend=False).run()
        assert (report.told, report.damaged) == ([], [])


async def test_a_window_is_over_when_the_clock_was_set_forward(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock):
        for run in "ab":
            await shop.create("return 1", run, order=Order(rate=Rate("k", 1, 60)))
        await shop.finished("a")
        assert await states(shop, "b") == ["queued"]
        clock.jump(86_400)
        await shop.finished("b")


async def test_keys_tenants_and_scopes_have_rates_of_their_own(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock):
        once = Order(rate=Rate("k", 1, 3600))
        await shop.create("return 1", "a", order=once)
        await shop.create("return 1", "b", order=once)
        await shop.create("return 1", "c", "u", order=once)
        await shop.create("return 1", "d", order=Order(rate=Rate("l", 1, 3600)))
        for run in "acd":
            await shop.finished(run)
        assert await states(shop, "b") == ["queued"]


async def test_a_restart_forgets_no_use_of_a_rate(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock):
        for run in "abc":
            await shop.create("return 1", run, order=MINUTE)
        for run in "ab":
            await shop.finished(run)
    async with shop.running(clock=clock):
        clock.advance(30)
        await shop.create("return 1", "d", order=MINUTE)
        assert await states(shop, "c", "d") == ["queued", "queued"]
        clock.advance(31)
        for run in "cd":
            await shop.finished(run)


async def test_a_run_cancelled_before_its_turn_uses_nothing_up(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock) as engine:
        once = Order(rate=Rate("k", 1, 60))
        for run in "abc":
            await shop.create("return 1", run, order=once)
        await shop.finished("a")
        await engine.cancel("b", "ann")
        await shop.finished("b")
        clock.advance(61)
        assert (await shop.finished("c")).state == "passed"


async def test_a_run_arrives_when_its_start_has_come(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock) as engine:
        await shop.create("return 1", "a", order=Order(delay="1 hour"))
        state = await engine.get("a")
        assert state is not None
        assert (state.state, state.reason) == ("queued", "starts at 2001-09-09 02:46:40 UTC")
        assert engine.in_memory == 0
        clock.advance(3599)
        assert await states(shop, "a") == ["queued"]
        clock.advance(1)
        assert (await shop.finished("a")).started_at == clock.now()


class SlowJournal(SqliteJournal):
    """Takes longer to keep a new run than its start is away."""

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        committed = super().commit(writes, new)
        if any(run.id == "later" for run in new):
            time.sleep(0.05)  # the disk's; what is due meanwhile is due before this commit is answered
        return committed


async def test_runs_whose_starts_have_come_stand_in_the_order_of_their_starts(shop: Workshop) -> None:
    waits = 'return await step.wait_for_event("w", type="go")'
    async with shop.running(journal=SlowJournal(shop.database, wal_bytes=4096)):
        await shop.create(waits, "early", order=Order("g", delay=0.01))
        await shop.create(waits, "later", order=Order("g", delay=0.01))
        await shop.until(lambda state: "w#1" in state.steps, "early")
        later = await shop.until(lambda state: state.reason is not None and "group" in state.reason, "later")
        assert later.reason == "waits for run #1 in group g"


async def test_a_delayed_run_stands_behind_those_of_its_group_that_came_before_its_start(
    shop: Workshop, clock: TestClock
) -> None:
    waits = 'await step.wait_for_event("w", type="go")'
    async with shop.running(clock=clock) as engine:
        await shop.create(waits, "late", order=Order("g", delay=60))
        await shop.create(waits, "now", order=Order("g"))
        await shop.hibernating("now")
        clock.advance(60)
        state = await shop.until(lambda state: state.reason == "waits for run #2 in group g", "late")
        assert state.state == "queued"
        await engine.send_event("now", "go", None)
        await shop.hibernating("late")


async def test_the_same_id_twice_uses_a_rate_once(shop: Workshop, clock: TestClock) -> None:
    async with shop.running(clock=clock):
        for _ in "12":
            await shop.create("return 1", "a", order=MINUTE)
        await shop.finished("a")
        await shop.create("return 1", "a", order=MINUTE)
        await shop.create("return 1", "b", order=MINUTE)
        assert (await shop.finished("b")).number == 2


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("deploy", "order has value 'deploy'. Give an Order(…)"),
        ({"group": "deploy"}, "Give an Order(…), like Order(group='deploy')."),
        (Order(rate=5), "rate has value '5'. Give a Rate(key, runs=…, seconds=…)."),  # type: ignore[arg-type]
        (Order(rate=Rate("k", 0, 60)), "rate 'k' allows 0 runs. Use a whole number from 1 to 10,000."),
        (Order(rate=Rate("k", MOST_RUNS + 1, 60)), "rate 'k' allows 10001 runs"),
        (Order(rate=Rate("k", 1, 0)), "rate 'k' counts 0 seconds. Use a number above 0"),
        (Order(rate=Rate("k", 1, float("inf"))), "rate 'k' counts inf seconds"),
        (Order(start_at=1e12), "start_at has value 1000000000000.0. Use seconds since the epoch, within ten years"),
        (Order(start_at=1e9, delay=1), "A run has start_at and delay. Use one of them."),
        (Order(delay="soon"), "delay"),
    ],
)
async def test_what_is_no_rate_and_no_start_is_refused(
    shop: Workshop, clock: TestClock, order: Order, said: str
) -> None:
    async with shop.running(clock=clock) as engine:
        with pytest.raises(Invalid, match=re.escape(said)):
            await shop.create("return 1", order=order)
        assert await engine.get("r") is None

"""A run with a long journal wakes in an isolate that replays while the engine still reads: with the same outcome."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engines import FakeExecutor, Workshop

from stepwell.engine import head_start
from stepwell.engine.clock import TestClock
from stepwell.engine.entries import Entry
from stepwell.engine.local import ProcessChannel, ProcessIsolates
from stepwell.engine.seams import IsolateSpec
from stepwell.engine.specs import Limits
from stepwell.errors import TryLater, Unavailable

TWO_WAITS = """
numbers = [await step.do("n", give, n) for n in range(9)]
first = await step.wait_for_event("first", type="go")
await step.run("command", "gate")
second = await step.wait_for_event("second", type="go")
return [sum(numbers), first, second, await step.do("last", give, 7)]
"""

TWO_SLEEPS = """
numbers = [await step.do("n", give, n) for n in range(9)]
await gather(step.sleep("night", "1 hour"), step.sleep("the same night", "1 hour"))
return [sum(numbers), await step.do("last", give, 7)]
"""


class Watched(ProcessIsolates):
    """Notes when isolates are asked for, in `news`; refuses so many."""

    def __init__(self, news: list[str]) -> None:
        super().__init__()
        self.news = news
        self.refusals = 0

    async def open(self, spec: IsolateSpec) -> ProcessChannel:
        if self.refusals:
            self.refusals -= 1
            self.news.append("refused")
            raise TryLater("There is no room.", 0.01)
        self.news.append("open")
        return await super().open(spec)


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workshop]:
    monkeypatch.setattr(head_start, "LONG", 5)
    monkeypatch.setattr(head_start, "PART", 4)
    monkeypatch.setattr(head_start, "FIRST_PART", 3)
    shop = Workshop(tmp_path, Watched([]))
    yield shop
    await shop.isolates.close()


def watched(shop: Workshop) -> Watched:
    assert isinstance(shop.isolates, Watched)
    return shop.isolates


async def at_rest(shop: Workshop) -> None:
    """Wait until no isolate is left, and no turn is given away."""
    async with asyncio.timeout(60):
        while watched(shop).alive or shop.engine._parts.room.turns:
            await asyncio.sleep(0.001)


async def waiting(shop: Workshop, body: str = TWO_WAITS) -> list[str]:
    """Have a run wait at its first event or sleep; gives what happens from then on."""
    await shop.create(body)
    await shop.hibernating()
    news = watched(shop).news
    news.clear()
    shop.engine.subscribe(lambda one, _: news.append(one.type) if isinstance(one, Entry) else None)
    return news


async def test_the_isolate_boots_before_the_event_is_committed_and_is_the_only_one(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=Limits(linger=60)) as engine:
        news = await waiting(shop)
        await engine.send_event("r", "go", "a")
        assert news[:2] == ["open", "event"]
        executor.gate.set()
        await shop.hibernating()
        await engine.send_event("r", "go", "b")
        assert (await shop.finished()).result == [36, "a", "b", 7]
        assert news.count("open") == 2
        await at_rest(shop)


async def test_events_at_the_same_time_are_each_taken_once(shop: Workshop) -> None:
    executor = FakeExecutor()
    executor.gate.set()
    async with shop.running(executor=executor) as engine:
        await waiting(shop)
        await asyncio.gather(*(engine.send_event("r", "go", letter) for letter in "ab"))
        result = (await shop.finished()).result
        assert sorted(result[1:3]) == ["a", "b"]
        await at_rest(shop)
        assert [entry.type for entry in await engine.journal("r")].count("event") == 2


async def test_what_wakes_nobody_gives_everything_back(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor()) as engine:
        await shop.create(TWO_WAITS)
        await shop.hibernating()
        await engine.send_event("r", "other", None, id="once")
        await shop.hibernating()
        news = watched(shop).news
        news.clear()
        await engine.send_event("r", "other", None, id="once")
        assert news == ["open"]
        assert not engine.holds("r")
        await at_rest(shop)


async def test_an_isolate_that_is_not_to_be_had_is_asked_for_again(shop: Workshop) -> None:
    executor = FakeExecutor()
    executor.gate.set()
    async with shop.running(executor=executor) as engine:
        news = await waiting(shop)
        watched(shop).refusals = 1
        await asyncio.gather(*(engine.send_event("r", "go", letter) for letter in "ab"))
        assert (await shop.finished()).state == "passed"
        assert "refused" in news


@pytest.mark.parametrize("data", ["{", "[]", '{"inline":{}}'])
async def test_a_journal_that_cannot_be_read_leaves_no_isolate_behind(shop: Workshop, data: str) -> None:
    async with shop.running(executor=FakeExecutor()) as engine:
        await waiting(shop)
        damaged: Any = engine._journal
        damaged.db.execute("UPDATE journal SET data=? WHERE seq=8", (data,))
        with pytest.raises(Unavailable, match="Entry 8"):
            await engine.send_event("r", "go", "a")
        assert not engine.holds("r")
        await at_rest(shop)


async def test_the_isolate_boots_before_a_timer_is_fired_and_timers_due_together_share_it(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)):
        news = await waiting(shop, TWO_SLEEPS)
        clock.advance(3600)
        assert (await shop.finished()).result == [36, 7]
        assert (news[:3], news.count("open"), news.count("fired")) == (["open", "fired", "fired"], 1, 2)
        await at_rest(shop)


async def test_a_timer_fires_though_its_run_was_loaded_by_an_event_meanwhile(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)) as engine:
        news = await waiting(shop, TWO_SLEEPS)
        clock.advance(3600)
        await engine.send_event("r", "go", None)
        assert (await shop.finished()).result == [36, 7]
        assert news.count("fired") == 2
        await at_rest(shop)


async def test_timers_of_others_fire_while_one_is_set_aside(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)):
        await waiting(shop, TWO_SLEEPS)
        await shop.create('await step.sleep("short", "61 minutes")\nreturn 1', "other")
        await shop.hibernating("other")
        clock.advance(3660)
        assert (await shop.finished("other")).result == 1
        assert (await shop.finished()).result == [36, 7]
        await at_rest(shop)


async def test_what_is_due_in_a_journal_that_cannot_be_read_is_set_aside(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)) as engine:
        await waiting(shop, TWO_SLEEPS)
        damaged: Any = engine._journal
        damaged.db.execute("UPDATE journal SET data='{' WHERE seq=8")
        clock.advance(3600)
        async with asyncio.timeout(60):
            while damaged.next_due() is not None or engine.holds("r"):
                await asyncio.sleep(0.001)
        assert "Entry 8" in damaged.glance("r").reason
        await at_rest(shop)

"""Following a run: every entry once and in order, whatever the reader's pace and whenever it came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from engines import Workshop

from stepwell.dynamic import Handle, bind
from stepwell.dynamic.following import follow
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.errors import NotFound

BODY = """
class W(Pipeline):
    async def run(self, event, step):
        for n in range(20):
            await step.do("a", give, n)
        await step.wait_for_event("w", type="go")
        for n in range(20):
            await step.do("b", give, n)
"""


async def run_of(shop: Workshop) -> Handle:
    shop.sources["s"] = BODY
    return await bind(shop.engine, {"tenant": "t", "source": "s"}).create({"kind": "manual"})


async def whole(handle: Handle, entries: AsyncIterator[Entry], after: int = 0) -> list[Entry]:
    """Read to the end and claim that nothing was missed or given twice."""
    read = [entry async for entry in entries]
    assert read == await handle.journal(after)
    assert [entry.seq for entry in read] == list(range(after + 1, after + 1 + len(read)))
    return read


async def test_disk_and_what_comes_join_without_a_gap(shop: Workshop) -> None:
    async with shop.running():
        handle = await run_of(shop)
        early = asyncio.create_task(whole(handle, handle.subscribe()))
        state = await shop.until(lambda state: state.state == "waiting", handle.id)
        late = asyncio.create_task(whole(handle, handle.subscribe(state.seq - 5), state.seq - 5))
        await asyncio.sleep(0)
        await handle.send_event("go")
        entries = await asyncio.wait_for(early, 60)
        assert entries[-1].type == "ended" and len(entries) > 40
        assert (await asyncio.wait_for(late, 60))[-1] == entries[-1]


@pytest.mark.parametrize("ahead", [1, 3])
async def test_a_slow_reader_gets_from_disk_what_was_not_kept_for_it(shop: Workshop, ahead: int) -> None:
    async with shop.running() as engine:
        handle = await run_of(shop)
        read: list[Entry] = []
        async for entry in follow(engine, handle.id, 0, ahead):
            read.append(entry)
            if entry.seq in {1, 5}:
                await shop.until(lambda state: state.state == "waiting", handle.id)
            if entry.seq == 5:
                await handle.send_event("go")
                await handle.finished()
        assert read == await handle.journal()


async def test_a_run_that_is_over_is_read_and_nobody_waits(shop: Workshop) -> None:
    async with shop.running():
        handle = await run_of(shop)
        await handle.send_event("go")
        state = await asyncio.wait_for(handle.finished(), 60)
        for after in (0, state.seq - 1, state.seq, state.seq + 7):
            await asyncio.wait_for(whole(handle, handle.subscribe(after), after), 60)


async def test_following_begins_again_after_a_restart_where_it_was(shop: Workshop) -> None:
    async with shop.running():
        handle = await run_of(shop)
        first = []
        async with aclosing(handle.subscribe()) as entries:
            async for entry in entries:
                first.append(entry)
                if len(first) == 10:
                    break
        await shop.until(lambda state: state.state == "waiting", handle.id)
    async with shop.running() as engine:
        handle = await bind(engine, {"tenant": "t"}).get(handle.id)
        rest = asyncio.create_task(whole(handle, handle.subscribe(10), 10))
        await handle.send_event("go")
        assert first + await asyncio.wait_for(rest, 60) == await handle.journal()


async def test_a_reader_that_left_is_told_nothing_more(shop: Workshop) -> None:
    async with shop.running() as engine:
        handle = await run_of(shop)
        before = subscribers(engine)
        async with aclosing(handle.subscribe()) as entries:
            await anext(entries)
            assert subscribers(engine) == before + 1
        assert subscribers(engine) == before
        with pytest.raises(NotFound):
            await anext(follow(engine, "nobody's", 0))
        assert subscribers(engine) == before


def subscribers(engine: Engine) -> int:
    return len(engine._parts.subscribers)

"""What is on disk and what is not: a full one, another holder of a lease, transactions that are shared."""

import asyncio
import sqlite3
from collections.abc import Sequence

import pytest
from engines import FakeExecutor, Workshop

from stepwell.engine.clock import TestClock
from stepwell.errors import Conflict, TryLater
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal


class Full(SqliteJournal):
    """A disk that is full while `full` is set."""

    full = False

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        return super().commit(writes, new)


async def test_what_the_disk_refuses_is_never_acknowledged_and_nothing_is_lost(shop: Workshop) -> None:
    clock, journal = TestClock(), Full(shop.database)
    async with shop.running(journal=journal, clock=clock) as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        journal.full = True
        with pytest.raises(TryLater):
            await engine.send_event("r", "go", 1)
        with pytest.raises(TryLater):
            await shop.create("return 1", "other")
        assert "disk is full" in engine.trouble
        assert [entry.type for entry in await engine.journal("r")] == ["created", "asked"]
        journal.full = False
        await engine.send_event("r", "go", 2)
        assert (await shop.finished()).result == 2
        assert engine.trouble == ""


async def test_a_run_goes_on_when_the_disk_has_room_again(shop: Workshop) -> None:
    clock, journal = TestClock(), Full(shop.database)
    async with shop.running(journal=journal, clock=clock, executor=FakeExecutor()) as engine:
        told = asyncio.Event()
        engine.subscribe(lambda news, state: told.set() if news.type == "trouble" else None)
        await shop.create('await step.sleep("s", 2)\nreturn await step.do("d", give, 3)')
        await shop.hibernating()
        journal.full = True
        clock.advance(2)
        await asyncio.wait_for(told.wait(), 60)
        journal.full = False
        clock.advance(10)
        assert (await shop.finished()).result == 3


async def test_a_holder_whose_lease_was_taken_cannot_append(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        state_before = await engine.get("r")
        live = engine._memory.load("r")
        with sqlite3.connect(shop.database) as other:
            other.execute("UPDATE runs SET lease = lease + 1 WHERE id = 'r'")
        assert live is not None
        with pytest.raises(Conflict):
            await engine.send_event("r", "go", 1)
        assert state_before is not None and (await engine.journal("r"))[-1].seq == state_before.seq
        await engine.send_event("r", "go", 2)
        assert (await shop.finished()).result == 2


async def test_many_runs_share_transactions(shop: Workshop) -> None:
    journal = shop.journal()
    commits = 0
    original = journal.commit

    def counting(writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        nonlocal commits
        commits += 1
        return original(writes, new)

    journal.commit = counting  # type: ignore[method-assign]
    async with shop.running(journal=journal):
        await asyncio.gather(*(shop.create("return 1", f"r{n}") for n in range(20)))
        assert commits <= 3
        numbers = {(await shop.finished(f"r{n}")).number for n in range(20)}
        assert numbers == set(range(1, 21))

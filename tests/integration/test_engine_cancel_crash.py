"""A server that dies between a cancellation and the code's answer: the next one begins nothing that the code drops."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from engines import FakeExecutor, Workshop, failed

from stepwell.engine.children import child_id
from stepwell.engine.clock import TestClock
from stepwell.engine.seams import BindingCall
from stepwell.engine.state import RunState
from stepwell.errors import TryLater
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

CHILD = child_id("r", "c#1")


class Crashed(Exception):
    """The server is dead."""


class DyingJournal(SqliteJournal):
    """Keeps the transaction with a cancellation, or with this new run, and nothing after it; nobody hears of it."""

    def __init__(self, path: Path, last: str = "") -> None:
        super().__init__(path, wal_bytes=4096)
        self.last = last
        self.dead = asyncio.Event()

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.dead.is_set():
            raise Crashed
        committed = super().commit(writes, new)
        cancelled = any(entry.type == "cancel" for write in writes for entry, _ in write.entries)
        if any(run.id == self.last for run in new) if self.last else cancelled:
            self.dead.set()
            raise Crashed
        return committed


class Notebook:
    """A binding that answers never."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def call(self, call: BindingCall) -> None:
        self.calls.append(call.key)
        await asyncio.Event().wait()


async def cancelled(shop: Workshop) -> None:
    """Cancel the run; its server dies with the order."""
    with pytest.raises(TryLater):
        await shop.engine.cancel("r", "ann")


def states(state: RunState) -> dict[str, str]:
    return {step.name: step.state for step in state.steps.values()}


async def test_commands_of_a_cancelled_run_do_not_begin_again(shop: Workshop) -> None:
    clock, first, second = TestClock(), FakeExecutor(flaky=failed()), FakeExecutor()
    async with shop.running(journal=DyingJournal(shop.database), executor=first, clock=clock, concurrent_steps=1):
        await shop.create(
            """
try:
    await gather(step.run("again", "flaky", retries=3), step.run("under way", "forever"), step.run("behind", "echo"))
finally:
    await step.run("clean up", "echo")
"""
        )
        await shop.until(
            lambda state: states(state) == {"again": "retrying", "under way": "running", "behind": "queued"}
        )
        await cancelled(shop)
    clock.advance(3600)  # the time for another attempt has come
    async with shop.running(executor=second, clock=clock):
        state = await shop.finished()
    assert [attempt.name for attempt in second.attempts] == ["clean up"]
    assert (state.state, states(state)) == (
        "cancelled",
        {"again": "cancelled", "under way": "cancelled", "behind": "cancelled", "clean up": "passed"},
    )
    assert second.abandoned == [("r", "under way#1")], "what outlived the first server was left running"


async def test_commands_that_cancelled_code_still_wants_begin_again(shop: Workshop) -> None:
    first, second = FakeExecutor(), FakeExecutor()
    async with shop.running(journal=DyingJournal(shop.database), executor=first):
        await shop.create(
            """
kept = asyncio.ensure_future(step.run("kept", "gate"))
try:
    await step.wait_for_event("w", type="go")
finally:
    assert (await kept).exit_code == 0
"""
        )
        await shop.until(lambda state: states(state) == {"kept": "running", "w": "waiting"})
        await cancelled(shop)
    second.gate.set()
    async with shop.running(executor=second):
        state = await shop.finished()
    assert (state.state, states(state)) == ("cancelled", {"kept": "passed", "w": "cancelled"})


async def test_a_time_that_comes_before_the_code_has_heard_begins_nothing(shop: Workshop, tmp_path: Path) -> None:
    clock, executor = TestClock(), FakeExecutor(flaky=failed())
    (tmp_path / "stay").touch()
    async with shop.running(executor=executor, clock=clock, concurrent_turns=1) as engine:
        await shop.create('await step.run("again", "flaky", retries=3)')
        await shop.until(lambda state: states(state) == {"again": "retrying"} and not engine.holds("r"))
        await shop.create_source(
            f"""
import time
from pathlib import Path

def stay():
    while Path({str(tmp_path / "stay")!r}).exists():
        time.sleep(0.01)

class W(Pipeline):
    async def run(self, event, step):
        await step.do("stay", stay)
""",
            "other",
        )
        await shop.until(lambda state: state.inflight, "other")
        await engine.cancel("r", "ann")
        clock.advance(3600)
        await shop.until(lambda state: states(state) == {"again": "queued"})
        (tmp_path / "stay").unlink()
        state = await shop.finished()
        await shop.finished("other")
    assert (state.state, states(state), len(executor.attempts)) == ("cancelled", {"again": "cancelled"}, 1)


async def test_calls_of_bindings_are_not_made_again(shop: Workshop) -> None:
    notebooks = Notebook(), Notebook()
    async with shop.running(journal=DyingJournal(shop.database)) as engine:
        engine.offer("notebook", notebooks[0])
        await shop.create("await self.env.notebook.write('x')")
        await shop.until(lambda _: notebooks[0].calls)
        await cancelled(shop)
    async with shop.running() as engine:
        engine.offer("notebook", notebooks[1])
        assert (await shop.finished()).state == "cancelled"
    assert notebooks[1].calls == []


async def test_a_run_that_was_made_for_a_call_is_cancelled_with_it(shop: Workshop) -> None:
    journal = DyingJournal(shop.database, CHILD)
    async with shop.running(journal=journal) as engine:
        await shop.create_source(
            """
class Child(Pipeline):
    async def run(self, event, step):
        await step.wait_for_event("w", type="go")

class W(Pipeline):
    async def run(self, event, step):
        await step.wait_for_event("begin", type="begin")
        await step.call("c", Child)
"""
        )
        await shop.hibernating()
        await engine.send_event("r", "begin", None)
        await asyncio.wait_for(journal.dead.wait(), 60)
    async with shop.running() as engine:
        await engine.cancel("r", "ann")
        assert (await shop.finished()).state == "cancelled"
        assert (await shop.finished(CHILD)).state == "cancelled"

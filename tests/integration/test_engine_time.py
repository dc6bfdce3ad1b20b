"""Time is moved, set and stopped under the engine: what is due is met, and what takes its time is given it."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from engines import FakeExecutor, Workshop, failed, passed

from stepwell.engine.clock import RealClock, TestClock
from stepwell.engine.seams import Code
from stepwell.engine.specs import Limits, Note
from stepwell.engine.timers import BUSY_SECONDS
from stepwell.engine.turn import Turn
from stepwell.errors import TryLater
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

HOUR = 3600.0


async def test_many_days_of_sleep_pass_in_a_moment(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)):
        await shop.create(
            "begun = step.now()\n"
            'for _ in range(5): await step.sleep("night", "24 hours")\n'
            "return (step.now() - begun).total_seconds()"
        )
        for _ in range(5):
            await shop.hibernating()
            clock.advance(24 * HOUR)
        assert (await shop.finished()).result == 5 * 24 * HOUR


@pytest.mark.parametrize(
    "jumps", [(-2 * HOUR, 3 * HOUR), (2 * HOUR,), (0.5 * HOUR, -0.5 * HOUR, HOUR), (-HOUR, 2 * HOUR)]
)
async def test_a_due_time_is_met_by_the_clock_on_the_wall_however_it_is_set(
    shop: Workshop, jumps: tuple[float, ...]
) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("s", "1 hour")\nreturn "awake"')
        for jump in jumps:
            assert (await shop.hibernating()).state == "waiting"
            clock.jump(jump)
        assert (await shop.finished()).result == "awake"


async def test_journal_time_never_goes_back(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, executor=FakeExecutor()) as engine:
        await shop.create(
            "begun = step.now()\n"
            'await step.wait_for_event("a", type="go")\n'
            'await gather(step.do("d", give, 1), step.run("r", "ok"))\n'
            'await step.wait_for_event("b", type="go")\n'
            "return (step.now() - begun).total_seconds()"
        )
        for _ in range(2):
            await shop.hibernating()
            clock.jump(-HOUR)
            await engine.send_event("r", "go", None)
        state = await shop.finished()
        times = [entry.at for entry in await engine.journal("r")]
        assert times == sorted(times) and state.result == 0
        assert state.ended_at is not None and state.ended_at >= state.created_at


async def test_a_retry_is_not_put_off_by_a_clock_that_was_set_back(shop: Workshop) -> None:
    clock = TestClock()
    executor = FakeExecutor(flaky=[failed(), passed()])
    source = """
def fail(): raise ValueError
class W(Pipeline):
    async def run(self, event, step):
        await step.wait_for_event("a", type="go")
        await step.run("r", "flaky", retries=Retry(1, delay="1 minute"))
        try:
            await step.do("d", fail, retries=Retry(1, delay="1 minute"))
        except StepFailed:
            return "tried twice"
"""
    async with shop.running(clock=clock, executor=executor, limits=Limits(nap=0)) as engine:
        await shop.create_source(source)
        await shop.hibernating()
        clock.jump(-HOUR)
        await engine.send_event("r", "go", None)
        for key in ("r#1", "d#1"):
            await shop.until(lambda state, key=key: key in state.timers and not engine.holds("r"))  # type: ignore[misc]
            clock.advance(60)
        state = await shop.finished()
        assert state.result == "tried twice", state.reason


async def test_waits_asked_after_the_clock_was_set_back_count_from_then(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=Limits(nap=0)) as engine:
        await shop.create(
            "import datetime\n"
            "minute = datetime.timedelta(minutes=1)\n"
            "begun = step.now()\n"
            'await step.wait_for_event("a", type="go")\n'
            "await gather(\n"
            '    asyncio.sleep(60), step.sleep("s", 60), step.sleep_until("u", begun + minute),\n'
            '    step.wait_for_event("e", type="never", timeout=60), step.approval("p", timeout=60),\n'
            "    return_exceptions=True)\n"
            'return "all over"'
        )
        await shop.hibernating()
        clock.jump(-HOUR)
        await engine.send_event("r", "go", None)
        state = await shop.until(lambda state: "s#1" in state.timers and not engine.holds("r"))
        waits = {key: due - clock.now() for key, due in state.timers.items()}
        assert waits == {"~1": 60, "s#1": 60, "e#1": 60, "p#1": 60, "u#1": HOUR + 60}
        clock.advance(60)
        state = await shop.until(lambda state: set(state.timers) == {"u#1"} and not engine.holds("r"))
        clock.advance(HOUR)
        assert (await shop.finished()).result == "all over"


@pytest.mark.parametrize("jump", [-HOUR, 2 * HOUR])
async def test_an_attempt_has_its_time_whatever_the_clock_is_set_to(shop: Workshop, jump: float) -> None:
    clock, executor = TestClock(), FakeExecutor()
    async with shop.running(clock=clock, executor=executor):
        await shop.create('await step.run("s", "forever", timeout="1 hour")')
        await shop.until(lambda _: executor.attempts)
        clock.jump(jump)
        clock.advance(3 * HOUR - 1)  # its own, as much for its setup, and one for all else
        await asyncio.sleep(0)
        assert executor.killed == []
        clock.advance(1)
        assert "not over after 10800 s" in str((await shop.finished()).reason)


@pytest.mark.parametrize("jump", [-HOUR, 2 * HOUR])
async def test_cancelled_code_has_its_grace_whatever_the_clock_is_set_to(shop: Workshop, jump: float) -> None:
    clock = TestClock()
    async with shop.running(clock=clock) as engine:
        await shop.create(
            'try:\n    await step.sleep("s", "1 day")\nfinally:\n    await step.wait_for_event("never", type="never")'
        )
        await shop.hibernating()
        await engine.cancel("r", "ann")
        await shop.until(lambda state: "never#1" in state.steps)
        clock.jump(jump)
        clock.advance(29)
        assert not (await shop.until(lambda _: True)).finished
        clock.advance(1)
        assert "did not end within 30 s" in str((await shop.finished()).reason)


@pytest.mark.parametrize("jump", [-HOUR, 2 * HOUR])
async def test_a_cancelled_run_does_not_wait_for_its_code_longer_because_the_clock_was_set(
    shop: Workshop, jump: float
) -> None:
    clock, gone = TestClock(), False

    async def load(metadata: Mapping[str, Any]) -> Code:
        if gone:
            raise TryLater("The code is not to be had.", 5)
        return await shop.load(metadata)

    async with shop.running(clock=clock, loader=load) as engine:
        await shop.create('await step.sleep("s", "1 day")')
        await shop.hibernating()
        gone = True
        await engine.cancel("r", "ann")
        await shop.until(lambda state: state.reason == "The code is not to be had.")
        clock.jump(jump)
        clock.advance(31)
        assert (await shop.finished()).state == "cancelled"


SLOW = """
import time

while not os.path.exists({gate!r}):
    time.sleep(0.01)

class W(Pipeline):
    async def run(self, event, step):
        return "there"
"""


async def attached(shop: Workshop, gate: Path) -> Turn:
    """Have a run whose code is being loaded until there is a file at the gate; its turn."""
    await shop.create_source(SLOW.format(gate=str(gate)))

    def turn() -> Turn | None:
        live = shop.engine._memory.known("r")
        return live.turn if live is not None and live.turn is not None and live.turn.attached else None

    await shop.until(lambda _: turn())
    found = turn()
    assert found is not None
    return found


@pytest.mark.parametrize("move", ["set", "frozen"])
async def test_code_is_not_called_stuck_because_the_clock_was_set_or_the_machine_frozen(
    shop: Workshop, tmp_path: Path, move: str
) -> None:
    clock, gate = TestClock(), tmp_path / "gate"
    async with shop.running(clock=clock):
        await attached(shop, gate)
        if move == "set":
            clock.jump(HOUR)
        else:
            clock.stand_still(HOUR)
        gate.touch()
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", "there"), state.reason


async def test_what_a_watchdog_says_of_a_machine_that_was_frozen_is_not_held_against_the_code(
    shop: Workshop, tmp_path: Path
) -> None:
    clock, gate = TestClock(), tmp_path / "gate"
    async with shop.running(clock=clock) as engine:
        told: list[str] = []
        engine.subscribe(lambda news, _: told.append(news.text) if isinstance(news, Note) else None)
        turn = await attached(shop, gate)
        clock.stand_still(HOUR)
        turn._on_line(b'[["stalled","pipeline.py:1"]]')
        gate.touch()
        assert (await shop.finished()).result == "there"
        assert told.count("begin") == 2


async def test_code_that_is_silent_is_still_called_stuck(shop: Workshop, tmp_path: Path) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await attached(shop, tmp_path / "never")
        clock.advance(60)
        state = await shop.finished()
        assert "did not yield" in str(state.reason)


async def test_a_set_wall_clock_is_noticed_by_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop's own timers would sleep the hour; the clock looks again and again."""
    now = 1000.0
    monkeypatch.setattr("stepwell.engine.clock.CHECK_SECONDS", 0.01)
    monkeypatch.setattr("stepwell.engine.clock.time.time", lambda: now)
    clock, rung = RealClock(), asyncio.Event()
    clock.call_at(1000.0 + HOUR, rung.set)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rung.wait(), 0.05)
    now += HOUR
    await asyncio.wait_for(rung.wait(), 60)


async def test_what_is_due_at_once_is_dealt_with_a_moment_at_a_time(shop: Workshop) -> None:
    """However long the journals are that must be read for it, the loop is free in between."""

    class Slow(TestClock):
        """Reading a run's journal takes longer than what is due may keep the loop."""

        looks = 0

        def elapsed(self) -> float:
            self.looks += 1
            return self.looks * 2 * BUSY_SECONDS

    class Counting(SqliteJournal):
        most = 0

        def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
            self.most = max(self.most, sum(entry.type == "fired" for write in writes for entry, _ in write.entries))
            return super().commit(writes, new)

    clock, journal = Slow(), Counting(shop.database, wal_bytes=4096)
    async with shop.running(clock=clock, journal=journal, limits=Limits(nap=0)):
        for n in range(4):
            await shop.create('await step.sleep("s", "1 hour")', f"r{n}")
            await shop.hibernating(f"r{n}")
        before = clock.now()
        clock.advance(HOUR)
        assert clock.now() == before + HOUR, "none had to wait for a pause"
        for n in range(4):
            assert (await shop.finished(f"r{n}")).state == "passed"
    assert journal.most == 1

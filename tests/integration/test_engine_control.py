"""Pause and resume: what begins, what may finish, and what the code never notices."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from engines import FakeExecutor, Workshop, failed, passed

from stepwell.engine.clock import TestClock
from stepwell.engine.specs import Limits
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, Invalid, NotFound

LIMITS = Limits(linger=0.01, nap=0.5, grace=2)


def yes(run: RunState, step: StepState) -> Literal["approved"]:
    return "approved"


async def test_a_paused_run_keeps_what_arrives_and_acts_on_it_in_its_order_after_resume(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock) as engine:
        await shop.create(
            """
seen = []
async def note(name, what):
    await what
    seen.append([name, step.now().timestamp()])
await gather(note("sleep", step.sleep("s", 100)), note("yes", step.approval("a", reviewers=["ann"])),
             note("event", step.wait_for_event("w", type="go")))
return [[name, at - 1_000_000_000] for name, at in seen]
"""
        )
        await shop.hibernating()
        await engine.pause("r", "ann", "lunch")
        state = await shop.standing()
        assert (state.reason, shop.isolates.alive) == ("paused by ann: lunch", 0)
        clock.advance(50)
        await engine.send_event("r", "go", 1)
        clock.advance(100)
        await engine.decide("r", "a#1", {"by": "ann", "approve": True}, yes)
        state = await shop.standing()
        assert [entry.type for entry in await engine.journal("r")][-4:] == ["event", "fired", "decision", "done"]
        assert (state.reason, shop.isolates.alive) == ("paused by ann: lunch", 0)
        clock.advance(1000)
        await engine.resume("r", "bob")
        state = await shop.finished()
        assert state.result == [["event", 50.0], ["sleep", 100.0], ["yes", 150.0]]
        assert state.reason is None


async def test_a_run_paused_before_its_first_turn_begins_after_resume(shop: Workshop) -> None:
    async with shop.running(concurrent_turns=1) as engine:
        await shop.create("await step.do('long', __import__('time').sleep, 0.2)", "other")
        await shop.create('return "ran"')
        await engine.pause("r", "ann")
        assert (await shop.until(lambda state: state.state == "paused")).started_at is None
        await shop.finished("other")
        assert (await shop.standing()).seq == 2
        await engine.resume("r", "ann")
        assert (await shop.finished()).result == "ran"


async def test_functions_under_way_come_home_and_none_begins(shop: Workshop, tmp_path: Path) -> None:
    async with shop.running() as engine:
        (tmp_path / "stay").touch()
        await shop.create_source(
            f"""
import time
from pathlib import Path

def stay(name):
    with open({str(tmp_path / "effects")!r}, "a") as file:
        file.write(name)
    while Path({str(tmp_path / "stay")!r}).exists():
        time.sleep(0.01)
    return name

async def waits(name):
    while Path({str(tmp_path / "stay")!r}).exists():
        await asyncio.sleep(0.01)
    return name

class W(Pipeline):
    async def run(self, event, step):
        a, b = await gather(step.do("a", stay, "a"), step.do("b", waits, "b"))
        return a + b + await step.do("c", stay, "c")
"""
        )
        await shop.until(lambda state: len(state.inflight) == 2)
        await engine.pause("r", "ann")
        state = await shop.until(lambda state: state.state == "paused")
        assert set(state.inflight) == {"a#1", "b#1"}
        (tmp_path / "stay").unlink()
        state = await shop.standing()
        assert {key: step.state for key, step in state.steps.items()} == {"a#1": "passed", "b#1": "passed"}
        await engine.resume("r", "ann")
        assert (await shop.finished()).result == "abc"
        assert (tmp_path / "effects").read_text() == "ac"


async def test_an_isolate_still_busy_at_resume_goes_on(shop: Workshop, tmp_path: Path) -> None:
    async with shop.running() as engine:
        (tmp_path / "stay").touch()
        await shop.create_source(
            f"""
import time
from pathlib import Path

def stay():
    while Path({str(tmp_path / "stay")!r}).exists():
        time.sleep(0.01)
    return os.getpid()

class W(Pipeline):
    async def run(self, event, step):
        first, got = await gather(step.do("a", stay), step.wait_for_event("w", type="go"))
        return [first, await step.do("b", os.getpid), got]
"""
        )
        await shop.until(lambda state: state.inflight)
        await engine.pause("r", "ann")
        await engine.send_event("r", "go", 7)
        await engine.resume("r", "ann")
        await engine.pause("r", "ann")
        await engine.resume("r", "ann")
        await asyncio.sleep(0)
        (tmp_path / "stay").unlink()
        state = await shop.finished()
        assert state.result[2] == 7
        assert state.result[0] == state.result[1]


async def test_attempts_under_way_finish_and_queued_ones_wait(shop: Workshop) -> None:
    executor = FakeExecutor(fail=[failed(), passed()])
    clock = TestClock()
    async with shop.running(executor=executor, concurrent_steps=1, clock=clock, limits=LIMITS) as engine:
        await shop.create(
            """
await gather(step.run("a", "gate"), step.run("b", "ok"), step.run("c", "fail", retries=Retry(3, delay=10)))
"""
        )
        await shop.until(lambda state: len(state.steps) == 3 and state.steps["a#1"].state == "running")
        await engine.pause("r", "ann")
        executor.gate.set()
        state = await shop.standing()
        assert {key: step.state for key, step in state.steps.items()} == {
            "a#1": "passed", "b#1": "queued", "c#1": "queued"
        }  # fmt: skip
        await engine.resume("r", "ann")
        await shop.until(lambda state: state.counts.get("retrying"))
        await engine.pause("r", "ann")
        clock.advance(11)
        assert (await shop.standing()).steps["c#1"].state == "queued"
        await engine.resume("r", "ann")
        assert (await shop.finished()).state == "passed"
        assert Counter(attempt.key for attempt in executor.attempts) == {"a#1": 1, "b#1": 1, "c#1": 2}


async def test_what_cannot_be_paused_or_resumed_says_why(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('await step.wait_for_event("w", type="go")')
        with pytest.raises(Conflict, match="not paused: it is"):
            await engine.resume("r", "ann")
        await engine.pause("r", "ann")
        with pytest.raises(Conflict, match="paused already, by ann"):
            await engine.pause("r", "bob")
        await engine.resume("r", "ann")
        await engine.send_event("r", "go", None)
        await shop.finished()
        with pytest.raises(Conflict, match="Run #1 has ended: it is passed"):
            await engine.pause("r", "ann")
        with pytest.raises(Conflict, match="Run #1 has ended: it is passed"):
            await engine.resume("r", "ann")
        with pytest.raises(NotFound):
            await engine.pause("other", "ann")
        with pytest.raises(NotFound):
            await engine.terminate("other", "ann")
        await shop.until(lambda _: not engine.in_memory)


@pytest.mark.parametrize("power", ["pause", "resume", "cancel", "terminate"])
async def test_whoever_stops_a_run_says_who_it_is(shop: Workshop, power: str) -> None:
    async with shop.running() as engine:
        await shop.create('await step.wait_for_event("w", type="go")')
        with pytest.raises(Invalid, match=r"by has value ''\. Say who does it"):
            await getattr(engine, power)("r", "")


async def test_a_run_being_cancelled_is_not_paused(shop: Workshop) -> None:
    async with shop.running(limits=Limits(grace=30)) as engine:
        await shop.create(
            """
try:
    await step.wait_for_event("w", type="go")
finally:
    await step.wait_for_event("x", type="clean")
"""
        )
        await shop.hibernating()
        await engine.cancel("r", "ann")
        with pytest.raises(Conflict, match="Run #1 is being cancelled by ann"):
            await engine.pause("r", "bob")
        await shop.until(lambda state: "x#1" in state.steps)
        await engine.terminate("r", "bob", "no time")
        state = await shop.finished()
        assert (state.state, state.reason) == ("cancelled", "terminated by bob: no time")


async def test_cancelling_a_paused_run_lets_it_clean_up_and_starts_nothing_else(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create(
            """
try:
    await step.sleep("nap", 0.05)
    await step.run("deploy", "ok")
finally:
    await step.run("clean up", "ok")
"""
        )
        await engine.pause("r", "ann")
        await shop.standing()
        await engine.resume("r", "ann")
        await shop.until(lambda state: "nap#1" in state.steps)
        await engine.pause("r", "ann")
        await shop.until(lambda state: not state.timers)
        await engine.cancel("r", "bob", "not today")
        state = await shop.finished()
        assert (state.state, state.reason) == ("cancelled", "cancelled by bob: not today")
        assert state.steps["clean up#1"].state == "passed"

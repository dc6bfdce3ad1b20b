"""Pause, resume and terminate: what begins, what may finish, and what the code never notices."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from engines import FakeExecutor, Workshop, failed, passed

from stepwell.engine.clock import TestClock
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.specs import Limits, Note
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, NotFound

LIMITS = Limits(linger=0.01, nap=0.5, grace=2)


async def at_rest(shop: Workshop) -> RunState:
    """Wait until a run is paused and nothing of it is left in memory."""
    return await shop.until(lambda state: state.state == "paused" and not shop.engine.holds("r"))


def yes(run: RunState, step: StepState) -> Literal["approved"]:
    return "approved"


# -- what a pause is --------------------------------------------------------------------------------------------------


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
        state = await at_rest(shop)
        assert (state.reason, shop.isolates.alive) == ("paused by ann: lunch", 0)
        clock.advance(50)
        await engine.send_event("r", "go", 1)
        clock.advance(100)
        await engine.decide("r", "a#1", {"by": "ann", "approve": True}, yes)
        state = await at_rest(shop)
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
        assert (await at_rest(shop)).seq == 2
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
        state = await at_rest(shop)
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
        state = await at_rest(shop)
        assert {key: step.state for key, step in state.steps.items()} == {
            "a#1": "passed", "b#1": "queued", "c#1": "queued"
        }  # fmt: skip
        await engine.resume("r", "ann")
        await shop.until(lambda state: state.counts.get("retrying"))
        await engine.pause("r", "ann")
        clock.advance(11)
        assert (await at_rest(shop)).steps["c#1"].state == "queued"
        await engine.resume("r", "ann")
        assert (await shop.finished()).state == "passed"
        assert Counter(attempt.key for attempt in executor.attempts) == {"a#1": 1, "b#1": 1, "c#1": 2}


# -- a pause at any moment changes nothing ----------------------------------------------------------------------------

MIXED = """
import time

def effect(path, name):
    with open(path, "a") as file:
        file.write(name + "\\n")
    return name

def flaky(path, name):
    effect(path, name)
    if open(path).read().splitlines().count(name) < 2:
        raise ValueError("the first time")
    return name

class W(Pipeline):
    async def run(self, event, step):
        path, got = event.payload, []
        got += await gather(*(step.do(f"p{n}", effect, path, f"p{n}") for n in range(3)), step.do("f", flaky, path, "f",
            retries=Retry(3, delay=0.01)))
        got.append((await step.run("r", "ok")).exit_code)
        try:
            async with asyncio.timeout(0.03):
                await step.wait_for_event("never", type="never")
        except TimeoutError:
            got.append(await step.do("late", effect, path, "late"))
        await step.sleep("nap", 0.02)
        got.append(await step.wait_for_event("w", type="go"))
        try:
            await gather(step.run("bad", "bad"), step.sleep("long", 3600))
        except StepFailed:
            got.append(await step.do("after", effect, path, "after"))
        return got
"""


async def play(shop: Workshop, engine: Engine, effects: Path, pause_at: int) -> tuple[RunState, list[Entry]]:
    """Play the run, paused at one entry; what may not begin in a pause is checked on the way."""
    await shop.create_source(MIXED, payload=str(effects))
    news: asyncio.Queue[Entry] = asyncio.Queue()
    stop = engine.subscribe(lambda entry, _: None if isinstance(entry, Note) else news.put_nowait(entry))
    await engine.send_event("r", "go", "went")
    try:
        while True:
            state = await engine.get("r")
            assert state is not None
            if state.finished:
                return state, await engine.journal("r")
            if state.seq >= pause_at and not any(e.type == "paused" for e in await engine.journal("r")):
                await engine.pause("r", "ann")
                await shop.until(lambda state: state.finished or (state.paused and not engine.holds("r")))
                await engine.resume("r", "ann")
            await asyncio.wait_for(news.get(), 10)
    except Conflict:  # its code had come to its end when it was to be paused
        return await shop.finished(), await engine.journal("r")
    finally:
        stop()


async def test_a_pause_at_any_entry_changes_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    shops = Workshop(tmp_path)
    try:
        count, seen = 0, None
        while True:
            place = tmp_path / str(count)
            place.mkdir()
            shop = Workshop(place)
            shop.isolates = shops.isolates
            executor = FakeExecutor(bad=failed())
            async with shop.running(executor=executor, limits=LIMITS) as engine:
                state, entries = await play(shop, engine, place / "effects", count or 10_000)
            effects = Counter((place / "effects").read_text().split())
            got = (state.state, state.result, effects, Counter(attempt.key for attempt in executor.attempts))
            seen = seen or got
            assert got == seen, f"paused at entry {count}: {state.error}"
            types = [entry.type for entry in entries]
            if "paused" in types:
                between = types[types.index("paused") :]
                between = between[: between.index("resumed") if "resumed" in between else None]
                assert "started" not in between, f"paused at entry {count}"
            elif count:
                break
            count += 1
        assert seen is not None and seen[0] == "passed" and count > 20
    finally:
        await shops.isolates.close()


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_a_paused_run_is_paused_after_a_restart(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor) as engine:
        await shop.create('await step.run("a", "forever")\nreturn "done"')
        await shop.until(lambda state: state.counts.get("running"))
        await engine.pause("r", "ann")
    executor = FakeExecutor()
    async with shop.running(executor=executor) as engine:
        state = await at_rest(shop)
        assert (state.steps["a#1"].state, state.steps["a#1"].losses, executor.attempts) == ("queued", 1, [])
    async with shop.running(executor=executor) as engine:
        await asyncio.sleep(0)
        assert engine.in_memory == 0
        await engine.resume("r", "ann")
        await shop.until(lambda state: state.counts.get("running"))
        assert (await shop.until(lambda state: executor.attempts)).state == "running"


async def test_a_resumed_run_goes_on_after_a_crash_before_its_turn(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        await engine.pause("r", "ann")
        await engine.send_event("r", "go", 1)
        await at_rest(shop)
    async with shop.running() as engine:
        await asyncio.sleep(0)
        assert engine.in_memory == 0
        await engine.resume("r", "ann")
    async with shop.running():
        assert (await shop.finished()).result == 1


# -- clear answers ----------------------------------------------------------------------------------------------------


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
        await at_rest(shop)
        await engine.resume("r", "ann")
        await shop.until(lambda state: "nap#1" in state.steps)
        await engine.pause("r", "ann")
        await shop.until(lambda state: not state.timers)
        await engine.cancel("r", "bob", "not today")
        state = await shop.finished()
        assert (state.state, state.reason) == ("cancelled", "cancelled by bob: not today")
        assert state.steps["clean up#1"].state == "passed"


# -- terminate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
async def test_termination_ends_a_run_at_once_and_tells_its_code_nothing(
    shop: Workshop, tmp_path: Path, paused: bool
) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=Limits(grace=3600)) as engine:
        await shop.create(
            f"""
try:
    await gather(step.run("a", "forever"), step.do("b", __import__("time").sleep, 3600), step.sleep("c", 3600))
finally:
    open({str(tmp_path / "effects")!r}, "w")
"""
        )
        await shop.until(lambda state: state.inflight and state.steps["a#1"].state == "running")
        if paused:
            await engine.pause("r", "ann")
        await engine.terminate("r", "ann")
        state = await shop.finished()
        assert (state.state, state.reason, state.counts["cancelled"]) == ("cancelled", "terminated by ann", 2)
        await shop.until(lambda _: not engine.holds("r"))
        assert (executor.killed, shop.isolates.alive) == (["a#1"], 0)
        await engine.terminate("r", "ann")
        assert (await engine.journal("r"))[-1].type == "ended"
    assert not (tmp_path / "effects").exists()


# -- killing the process ----------------------------------------------------------------------------------------------


async def test_a_run_whose_process_is_killed_goes_on_in_another_one(shop: Workshop, tmp_path: Path) -> None:
    mark, done = tmp_path / "begun", tmp_path / "done"
    async with shop.running() as engine:
        await shop.create(
            f"""
def before():
    with open({str(done)!r}, "a") as file:
        file.write("x")
def slow():
    if os.path.exists({str(mark)!r}):
        return "again"
    open({str(mark)!r}, "w").close()
    import time
    time.sleep(60)
await step.do("before", before)
return await step.do("slow", slow)
"""
        )
        await shop.until(lambda state: "slow#1" in state.inflight)
        while not mark.exists():
            await asyncio.sleep(0.01)
        assert await engine.in_process("r")
        await engine.kill_isolate("r")
        state = await shop.finished()
        assert (state.state, state.result, done.read_text()) == ("passed", "again", "x")
        assert [attempt.state for attempt in state.steps["slow#1"].attempts] == ["lost", "passed"]
        assert not await engine.in_process("r")
        with pytest.raises(Conflict, match="has ended"):
            await engine.kill_isolate("r")


async def test_a_run_that_waits_has_no_process_to_kill(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        assert not await engine.in_process("r")
        with pytest.raises(Conflict, match="in no process now"):
            await engine.kill_isolate("r")

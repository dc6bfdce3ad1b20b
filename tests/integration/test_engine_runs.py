"""What becomes of runs: creation, hibernation, time, events, decisions, cancellation."""

import asyncio
import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from engines import FakeExecutor, Workshop
from gates import Gatekeeper

from stepwell.engine.clock import TestClock
from stepwell.engine.seams import Code
from stepwell.engine.specs import Limits, RunSpec
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, Invalid, NotFound

QUICK = Limits(stall=0.3, silence=3, grace=0.3, linger=0.05, again=0.05, loading=1)


def yes(run: RunState, step: StepState) -> Literal["approved", "rejected"] | None:
    return "approved" if step.decisions[-1]["approve"] else "rejected"


DECISION = {"by": "ann", "approve": True, "comment": "", "fields": {}}


async def test_a_waiting_run_has_no_isolate_and_no_memory(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        await engine.send_event("r", "go", {"n": 1})
        assert (await shop.finished()).result == {"n": 1}


async def test_parked_runs_take_no_memory(shop: Workshop) -> None:
    async def loader(metadata: Mapping[str, Any]) -> Code:
        return await shop.load({"source": "warm0"})

    async with shop.running(concurrent_turns=8, loader=loader) as engine:
        body = 'return await step.approval("ship", environment="production")'
        for n in range(10):
            await shop.create(body, f"warm{n}")
        for n in range(10):
            await shop.hibernating(f"warm{n}")
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n in range(150):
            await shop.create(body, f"r{n}")
        for n in range(150):
            await shop.hibernating(f"r{n}")
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        assert grown / 150 < 2000


async def test_a_day_passes_in_a_moment(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("night", "24 hours")\nreturn (await step.do("d", give, 3))')
        await shop.hibernating()
        clock.advance(86_400 - 1)
        assert (await shop.hibernating()).state == "waiting"
        clock.advance(1)
        assert (await shop.finished()).result == 3


async def test_a_clock_that_jumps_loses_no_timer(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("s", "1 hour")\nreturn "awake"')
        await shop.hibernating()
        clock.jump(-7200)
        assert (await shop.hibernating()).state == "waiting"
        clock.jump(3 * 3600)
        assert (await shop.finished()).result == "awake"


async def test_timers_due_while_the_engine_was_down_fire_at_its_start(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("s", "1 hour")\nreturn "awake"')
        await shop.hibernating()
    clock.advance(7200)
    async with shop.running(clock=clock):
        clock.advance(0)
        assert (await shop.finished()).result == "awake"


async def test_a_restart_wakes_no_run_that_only_waits(shop: Workshop) -> None:
    async with shop.running():
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
    async with shop.running() as engine:
        await asyncio.sleep(0)
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        await engine.send_event("r", "go", 1)
        assert (await shop.finished()).result == 1


async def test_events_before_the_wait_are_kept_in_order_and_ids_count_once(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create(
            'await step.wait_for_event("first", type="start")\n'
            'return [await step.wait_for_event("w", type="go") for _ in range(2)]'
        )
        for payload, name in ((1, "a"), (1, "a"), (2, "b")):
            await engine.send_event("r", "go", payload, id=name)
        await engine.send_event("r", "start", None)
        assert (await shop.finished()).result == [1, 2]


async def test_an_approval_ends_with_its_verdict_and_takes_no_second_one(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return (await step.approval("ship", environment="p")).by')
        state = await shop.hibernating()
        assert list(state.approvals) == ["ship#1"]
        assert await engine.decide("r", "ship#1", DECISION, lambda run, step: None) is None
        assert await engine.decide("r", "ship#1", DECISION, yes) == "approved"
        with pytest.raises(Conflict):
            await engine.decide("r", "ship#1", DECISION, yes)
        assert (await shop.finished()).result == "ann"


async def test_a_held_step_starts_only_after_its_release(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, gate=Gatekeeper()) as engine:
        await shop.create('return (await step.run("deploy", "ok", environment="p")).exit_code')
        await shop.hibernating()
        assert executor.attempts == []
        await engine.decide("r", "deploy#1", DECISION, yes)
        state = await shop.finished()
        assert (state.result, state.steps["deploy#1"].released_by) == (0, "ann")


async def test_a_rejected_step_never_runs(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, gate=Gatekeeper()) as engine:
        await shop.create('await step.run("deploy", "ok", environment="p")')
        await shop.hibernating()
        await engine.decide("r", "deploy#1", {**DECISION, "approve": False}, yes)
        state = await shop.finished()
        assert (state.state, executor.attempts) == ("failed", [])
        assert state.steps["deploy#1"].error is not None
        assert state.steps["deploy#1"].error["type"] == "Rejected"


async def test_cancel_runs_finally_and_says_by_whom(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n    await step.do("clean", give, 1)'
        )
        await shop.hibernating()
        await engine.cancel("r", "ann", "enough")
        state = await shop.finished()
        assert (state.state, state.reason) == ("cancelled", "cancelled by ann: enough")
        assert (state.steps["clean#1"].state, state.steps["w#1"].state) == ("passed", "cancelled")
        await engine.cancel("r", "ben")


async def test_code_that_outlives_its_grace_is_killed(shop: Workshop) -> None:
    async with shop.running(limits=QUICK) as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n'
            '    await step.wait_for_event("x", type="never")'
        )
        await shop.hibernating()
        await engine.cancel("r", "ann")
        state = await shop.finished()
        assert state.state == "cancelled" and "grace" not in str(state.result)


async def test_a_run_cancelled_before_its_first_turn_never_starts(shop: Workshop) -> None:
    async with shop.running(concurrent_turns=1, executor=FakeExecutor()) as engine:
        await shop.create('await step.run("x", "forever")', "first")
        await shop.until(lambda state: "x#1" in state.steps, "first")
        await shop.create("return 1", "second")
        await engine.cancel("second", "ann")
        state = await shop.finished("second")
        assert (state.state, state.steps) == ("cancelled", {})
        await engine.cancel("first", "ann")


async def test_the_same_id_twice_is_one_run(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create("return 1")
        await shop.finished()
        spec = RunSpec("r", "t", "t/x", "W", {"source": "r"}, {}, "d")
        ref = await engine.create(spec)
        assert (ref.number, ref.created) == (1, False)
        first, second = await asyncio.gather(*(engine.create(RunSpec("n", "t", "t/x", "", {}, {}, "d")) for _ in "ab"))
        assert (first.number, first.created, second.number, second.created) == (2, True, 2, False)


@pytest.mark.parametrize("change", [{"id": "x" * 600}, {"params": {"a": object()}}, {"params": {"a": "x" * 2_000_000}}])
async def test_what_cannot_be_kept_is_refused(shop: Workshop, change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"id": "r", "params": {}} | change
    async with shop.running() as engine:
        with pytest.raises(Invalid):
            await engine.create(RunSpec(given["id"], "t", "t/x", "", {}, given["params"], "d"))
        with pytest.raises(NotFound):
            await engine.send_event("none", "go", 1)


async def test_events_are_refused_when_the_journal_is_full(shop: Workshop) -> None:
    async with shop.running(limits=Limits(journal_bytes=10_000)) as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        await engine.send_event("r", "other", "x" * 20_000)
        with pytest.raises(Conflict, match=r"has a journal of [0-9,]+ bytes; no more are allowed"):
            await engine.send_event("r", "other", 1)

"""Steps of an environment that makes them wait: for a time, for people, for both."""

from typing import Literal

import pytest
from engines import FakeExecutor, Workshop
from gates import Gatekeeper

from stepwell.engine.clock import TestClock
from stepwell.engine.state import RunState, StepState

CODE = 'return (await step.run("deploy", "ok", environment="p")).exit_code'
DECISION = {"by": "ann", "at": 1.0, "approve": True, "comment": "", "fields": {}}


def verdict(run: RunState, step: StepState) -> Literal["approved", "rejected"]:
    return "approved" if step.decisions[-1]["approve"] else "rejected"


async def test_a_step_begins_when_its_time_has_come_and_nobody_is_asked(shop: Workshop) -> None:
    clock, executor = TestClock(), FakeExecutor()
    async with shop.running(clock=clock, executor=executor, gate=Gatekeeper(people=False, wait=60)):
        await shop.create(CODE)
        state = await shop.hibernating()
        assert (state.steps["deploy#1"].state, list(state.approvals), executor.attempts) == ("waiting", [], [])
        clock.advance(59)
        assert (await shop.hibernating()).steps["deploy#1"].state == "waiting"
        clock.advance(1)
        state = await shop.finished()
        assert (state.result, len(executor.attempts)) == (0, 1)


async def test_people_who_agree_early_do_not_shorten_the_time(shop: Workshop) -> None:
    clock, executor = TestClock(), FakeExecutor()
    async with shop.running(clock=clock, executor=executor, gate=Gatekeeper(wait=60)) as engine:
        await shop.create(CODE)
        await shop.hibernating()
        assert await engine.decide("r", "deploy#1", DECISION, verdict) == "approved"
        state = await shop.hibernating()
        assert (state.steps["deploy#1"].state, list(state.approvals), executor.attempts) == ("waiting", [], [])
        clock.advance(60)
        state = await shop.finished()
        assert (state.result, state.steps["deploy#1"].released_by) == (0, "ann")


async def test_time_alone_does_not_release_what_people_hold(shop: Workshop) -> None:
    clock, executor = TestClock(), FakeExecutor()
    async with shop.running(clock=clock, executor=executor, gate=Gatekeeper(wait=60)) as engine:
        await shop.create(CODE)
        await shop.hibernating()
        clock.advance(60)
        await shop.until(lambda state: not state.timers)
        state = await shop.hibernating()
        assert (list(state.approvals), executor.attempts) == (["deploy#1"], [])
        await engine.decide("r", "deploy#1", DECISION, verdict)
        assert (await shop.finished()).result == 0


@pytest.mark.parametrize("decided", [True, False])
async def test_what_is_rejected_or_cancelled_while_it_waits_never_runs(shop: Workshop, decided: bool) -> None:
    clock, executor = TestClock(), FakeExecutor()
    async with shop.running(clock=clock, executor=executor, gate=Gatekeeper(people=decided, wait=60)) as engine:
        await shop.create(CODE)
        await shop.hibernating()
        if decided:
            await engine.decide("r", "deploy#1", {**DECISION, "approve": False}, verdict)
        else:
            await engine.terminate("r", "ann")
        state = await shop.finished()
        clock.advance(60)
        assert (state.state, executor.attempts, state.timers) == ("failed" if decided else "cancelled", [], {})


async def test_the_time_passes_while_the_server_is_down(shop: Workshop) -> None:
    clock, executor = TestClock(), FakeExecutor()
    gate = Gatekeeper(wait=60)
    async with shop.running(clock=clock, executor=executor, gate=gate) as engine:
        await shop.create(CODE)
        await shop.hibernating()
        await engine.decide("r", "deploy#1", DECISION, verdict)
    clock.advance(60)
    async with shop.running(clock=clock, executor=executor, gate=gate):
        clock.advance(0)
        state = await shop.finished()
        assert (state.result, len(executor.attempts)) == (0, 1)


async def test_a_shorter_time_counts_at_once(shop: Workshop) -> None:
    clock, executor, gate = TestClock(), FakeExecutor(), Gatekeeper(people=False, wait=3600)
    async with shop.running(clock=clock, executor=executor, gate=gate) as engine:
        await shop.create(CODE)
        await shop.hibernating()
        clock.advance(10)
        gate.wait = 20
        await engine.recheck("r")
        assert (await shop.hibernating()).steps["deploy#1"].state == "waiting"
        gate.wait = 5
        await engine.recheck("r")
        assert (await shop.finished()).result == 0

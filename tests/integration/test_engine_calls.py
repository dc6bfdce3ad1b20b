"""Runs that call runs: results, failures, cancellation both ways, bounds, and what a stranger's code may not claim."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engines import FakeExecutor, Workshop, passed

from stepwell.authoring.order import Rate
from stepwell.engine.children import child_id
from stepwell.engine.clock import TestClock
from stepwell.engine.order import Order
from stepwell.engine.specs import Limits, Restart, RunSpec
from stepwell.engine.state import RunState

QUICK = Limits(grace=0.3)
CHILD = child_id("r", "c#1")
PAIR = """
class Child(Pipeline):
    async def run(self, event, step):
        {child}

class W(Pipeline):
    async def run(self, event, step):
        {caller}
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


def pair(child: str, caller: str = 'return await step.call("c", Child)') -> str:
    return PAIR.format(child=child.replace("\n", "\n        "), caller=caller.replace("\n", "\n        "))


async def test_a_call_returns_what_the_other_run_returned(shop: Workshop) -> None:
    async with shop.running() as engine:
        child = "return [event.kind, event.payload, event.number, event.actor]"
        caller = 'return await step.call("c", Child, {"a": 1})'
        await shop.create_source(pair(child, caller), order=Order("deploy", rate=Rate("k", 1, 60), priority=3))
        state = await shop.finished()
        assert state.result == ["call", {"a": 1}, 2, None]
        assert state.steps["c#1"].child == {"run": CHILD, "number": 2}
        child_state = await engine.get(CHILD)
        assert child_state is not None
        assert (child_state.scope, child_state.metadata, child_state.code) == (state.scope, state.metadata, state.code)
        assert child_state.order == Order(priority=3), "neither group nor rate of its caller, which would wait for it"
        assert child_state.parent == {"run": "r", "number": 1, "key": "c#1", "root": "r", "depth": 1, "waits": True}


async def test_an_event_is_handed_on_as_it_came_or_with_other_fields(shop: Workshop) -> None:
    async with shop.running():
        caller = """
event.payload["changed"] = "here only"
same = await step.call("c", Child, event)
other = await step.call("c", Child, event.replace(inputs={"target": "eu"}))
return [same, other]
"""
        await shop.create_source(
            pair("return [event.kind, event.payload, event.inputs]", caller.strip()), payload={"a": 1}
        )
        changed = {"a": 1, "changed": "here only"}
        assert (await shop.finished()).result == [
            ["manual", changed, {}], ["manual", changed, {"target": "eu"}],
        ]  # fmt: skip


async def test_the_caller_costs_nothing_while_the_other_run_waits(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create_source(pair('return await step.wait_for_event("w", type="go")'))
        await shop.hibernating(CHILD)
        assert (await shop.hibernating()).state == "waiting"
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
    async with shop.running() as engine:
        await asyncio.sleep(0)
        assert engine.in_memory == 0
        await engine.send_event(CHILD, "go", 7)
        assert (await shop.finished()).result == 7


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ('raise ValueError("no luck")', "step 'c' failed: run #2 (Child) failed: ValueError: no luck"),
        ("await asyncio.Event().wait()", "step 'c' failed: run #2 (Child) failed: run() waits at"),
    ],
)
async def test_a_failure_names_the_run_and_why(shop: Workshop, child: str, said: str) -> None:
    async with shop.running():
        await shop.create_source(pair(child))
        state = await shop.finished()
        assert state.state == "failed" and str(state.reason).startswith(said)
        assert state.steps["c#1"].error is not None and state.steps["c#1"].error["type"] == "CallFailed"


async def test_a_run_that_people_cancel_fails_its_callers_step(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create_source(pair('await step.wait_for_event("w", type="go")'))
        await shop.hibernating(CHILD)
        await engine.cancel(CHILD, "ann", "enough")
        assert (await shop.finished()).reason == "step 'c' failed: run #2 (Child) was cancelled by ann: enough."


async def test_cancelling_and_undoing_reach_down_to_the_last_run(shop: Workshop) -> None:
    source = """
class Last(Pipeline):
    async def run(self, event, step):
        await step.do("a", give, 1, undo=give)
        await step.wait_for_event("w", type="go")

class Child(Pipeline):
    async def run(self, event, step):
        await step.call("d", Last)

class W(Pipeline):
    async def run(self, event, step):
        await step.call("c", Child)
"""
    last = child_id(CHILD, "d#1")
    async with shop.running() as engine:
        await shop.create_source(source)
        await shop.hibernating(last)
        await engine.cancel("r", "ann", undo=True)
        states = [await shop.finished(run) for run in ("r", CHILD, last)]
        assert [state.state for state in states] == ["cancelled"] * 3
        assert "undo a#1" in states[2].steps
        assert states[2].reason == "cancelled by stepwell: run #2, which called it, waits for it no more"


async def test_terminating_ends_the_called_run_at_once(shop: Workshop) -> None:
    async with shop.running() as engine:
        child = 'try: await step.wait_for_event("w", type="go")\nfinally: await step.sleep("s", 100)'
        await shop.create_source(pair(child))
        await shop.hibernating(CHILD)
        await engine.terminate("r", "ann")
        assert (await shop.finished(CHILD)).state == "cancelled"


async def test_a_step_that_is_given_up_cancels_its_run(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        caller = 'try: await asyncio.wait_for(step.call("c", Child), 60)\nexcept TimeoutError: return "late"'
        await shop.create_source(pair('await step.wait_for_event("w", type="go", timeout=None)', caller))
        await shop.hibernating(CHILD)
        await shop.hibernating()
        clock.advance(60)
        assert (await shop.finished()).result == "late"
        assert (await shop.finished(CHILD)).state == "cancelled"


async def test_calls_side_by_side_are_runs_of_their_own(shop: Workshop) -> None:
    async with shop.running():
        caller = 'return await gather(*(step.call("c", Child, n) for n in range(5)))'
        await shop.create_source(pair("return event.payload", caller))
        state = await shop.finished()
        assert state.result == [0, 1, 2, 3, 4]
        assert {step.child["number"] for step in state.steps.values() if step.child} == {2, 3, 4, 5, 6}


async def test_a_called_run_stands_on_the_tree_of_the_commit(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"), b=passed("layer-b"))
    async with shop.running(executor=executor):
        caller = 'await step.run("a", "a")\nawait step.call("c", Child)'
        await shop.create_source(pair('await step.run("b", "b")', caller))
        await shop.finished()
        assert [(attempt.key, attempt.base) for attempt in executor.attempts] == [("a#1", ()), ("b#1", ())]


async def test_a_pause_lets_no_run_begin(shop: Workshop) -> None:
    async with shop.running() as engine:
        caller = 'await step.wait_for_event("w", type="go")\nreturn await step.call("c", Child)'
        await shop.create_source(pair("return 3", caller))
        await shop.hibernating()
        await engine.pause("r", "ann")
        await engine.send_event("r", "go", None)
        assert await engine.get(CHILD) is None
        await engine.resume("r", "ann")
        assert (await shop.finished()).result == 3


async def test_a_restarted_run_keeps_results_of_calls_and_calls_again_what_was_in_flight(shop: Workshop) -> None:
    source = """
class Child(Pipeline):
    async def run(self, event, step):
        if event.payload == "slow": await step.wait_for_event("w", type="go")
        return event.number

class W(Pipeline):
    async def run(self, event, step):
        first = await step.call("first", Child)
        slow = step.call("slow", Child, "slow")
        await step.sleep("s", 0)
        if not os.path.exists(event.payload): await step.do("boom", boom, retries=0)
        return [first, await slow]

def boom(): raise ValueError("boom")
"""
    async with shop.running() as engine:
        await shop.create_source(source, payload=str(shop.database.parent / "mended"))
        assert (await shop.finished()).state == "failed"
        source_run = await engine.get("r")
        assert source_run is not None
        spec = RunSpec(
            "again", "t", "t/x", "W", source_run.metadata, source_run.params, source_run.code, "pipeline.py:W",
            restart=Restart("r", "s#1"),
        )  # fmt: skip
        (shop.database.parent / "mended").touch()
        await engine.create(spec)
        child = child_id("again", "slow#1")
        await shop.hibernating(child)
        await engine.send_event(child, "go", None)
        state = await shop.finished("again")
        assert (state.state, state.result) == ("passed", [2, 5])
        assert (await shop.finished(child_id("r", "slow#1"))).state == "cancelled"


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_calls_have_a_depth(shop: Workshop) -> None:
    async with shop.running(limits=Limits(child_depth=2)) as engine:
        await shop.create_source("""
class W(Pipeline):
    async def run(self, event, step):
        await step.call("c", W)
""")
        assert "This run is 2 deep below one that nobody made; at most 2 are allowed." in str(
            (await shop.finished()).reason
        )
        assert len(await engine.numbered("t/x", None, 10)) == 3


async def test_calls_have_a_number_in_the_whole_tree(shop: Workshop) -> None:
    source = """
class W(Pipeline):
    async def run(self, event, step):
        if event.payload: await gather(*(step.call("c", W, event.payload - 1) for _ in range(4)))
"""
    async with shop.running(limits=Limits(children=10)) as engine:
        await shop.create_source(source, payload=3)
        assert "There are 10 runs below the first one already; no more are allowed." in str(
            (await shop.finished()).reason
        )
        assert len(await engine.numbered("t/x", None, 50)) == 11


async def test_an_event_too_large_to_hand_on_is_refused_where_it_is_written(shop: Workshop) -> None:
    async with shop.running():
        await shop.create_source(pair("return 1", 'await step.call("c", Child, "ü" * 60_000)'))
        state = await shop.finished()
        assert str(state.reason).startswith("ValueError: The settings of step 'c' are 360,") and not state.steps


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("step.call('c', 'Child')", "was given 'Child'. Give it a pipeline class."),
        ("step.call('c', Pipeline)", "Give it a pipeline class."),
        ("step.call('c', type('Local', (Child,), {}))", "was given Local, which no other run could find."),
        ("step.call('c', Child, object())", "is not JSON: it contains an object of type object."),
        ("step.call('c', Child, event.replace(number=3))", "An event has no field 'number' to replace."),
    ],
)
async def test_what_cannot_be_called_is_refused_where_it_is_written(shop: Workshop, call: str, said: str) -> None:
    async with shop.running():
        await shop.create_source(pair("return 1", f"await {call}"))
        state = await shop.finished()
        assert said in str(state.reason) and state.error is not None and "pipeline.py" in state.error["traceback"]


# -- who belongs to whom ----------------------------------------------------------------------------------------------


async def test_a_run_that_took_the_id_before_is_no_child(shop: Workshop) -> None:
    async with shop.running() as engine:
        shop.sources["other"] = "class W(Pipeline):\n    async def run(self, event, step): return 'mine'"
        code = await shop.load({"source": "other"})
        await engine.create(RunSpec(CHILD, "t", "t/x", "", {"source": "other"}, {}, code.digest))
        await shop.finished(CHILD)
        await shop.create_source(pair("return 1"))
        state = await shop.finished()
        assert "is taken by another run" in str(state.reason) and state.steps["c#1"].child is None


async def test_a_run_that_claims_a_caller_tells_it_nothing(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create_source(pair('return await step.wait_for_event("w", type="go")'))
        await shop.hibernating(CHILD)
        shop.sources["other"] = "class W(Pipeline):\n    async def run(self, event, step): return 'mine'"
        code = await shop.load({"source": "other"})
        parent = {"run": "r", "number": 1, "key": "c#1", "root": "r", "depth": 1, "waits": True}
        await engine.create(RunSpec("liar", "t", "t/x", "", {"source": "other"}, {}, code.digest, "", parent))
        await shop.finished("liar")
        assert (await shop.hibernating()).steps["c#1"].state == "waiting"


async def test_a_called_run_carries_what_the_heritage_says(shop: Workshop) -> None:
    def heritage(caller: RunState, entry: str) -> Mapping[str, Any]:
        return {"pipeline": entry}

    async with shop.running(heritage=heritage) as engine:
        await shop.create_source(pair("return 1"))
        await shop.finished()
        state = await engine.get(CHILD)
        assert state is not None and state.metadata == {"source": "r", "pipeline": "pipeline.py:Child"}

"""`self.env`: calls of code that the host makes, each a step that is journaled before and after."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop

from stepwell.engine.seams import BindingCall
from stepwell.engine.specs import Limits
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, TryLater


class Desk:
    """A binding that does what the test says and remembers who called."""

    def __init__(self, answer: Callable[[BindingCall], Awaitable[Any]] | None = None) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    async def call(self, call: BindingCall) -> Any:
        self.calls.append((call.run.id, call.run.tenant, call.key, call.name, call.args, dict(call.kwargs)))
        return await self.answer(call) if self.answer is not None else [*call.args]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


async def end_of(shop: Workshop, body: str, desk: Desk, **options: Any) -> RunState:
    """Play a run to its end, with the desk as `self.env.desk`."""
    async with shop.running(**options) as engine:
        engine.offer("desk", desk)
        await shop.create(body)
        return await shop.finished()


async def test_a_call_is_a_step_that_the_host_makes_for_the_runs_tenant(shop: Workshop) -> None:
    desk = Desk()
    state = await end_of(shop, 'return await self.env.desk.take("a pen", 2, [1, (2,)], by={"x": None})', desk)
    assert state.result == ["a pen", 2, [1, [2]]]
    assert desk.calls == [("r", "t", "desk.take a pen#1", "take", ("a pen", 2, [1, [2]]), {"by": {"x": None}})]
    step = state.steps["desk.take a pen#1"]
    assert (step.kind, step.state, step.value, step.where.partition(":")[0]) == (
        "binding", "passed", state.result, ".stepwell/pipeline.py",
    )  # fmt: skip


async def test_a_call_that_was_answered_is_never_made_again(shop: Workshop) -> None:
    desk = Desk()
    async with shop.running() as engine:
        engine.offer("desk", desk)
        await shop.create(
            'a = await self.env.desk.take("a")\nb = await step.wait_for_event("w", type="go")\n'
            'return a + b + await self.env.desk.take("a")'
        )
        await shop.hibernating()
    async with shop.running() as engine:
        engine.offer("desk", desk)
        await engine.send_event("r", "go", ["b"])
        assert (await shop.finished()).result == ["a", "b", "a"]
    assert [call[2] for call in desk.calls] == ["desk.take a#1", "desk.take a#2"]


async def test_an_answered_call_needs_no_binding_any_more(shop: Workshop) -> None:
    body = 'a = await self.env.desk.take("a")\nawait step.wait_for_event("w", type="go")\nreturn a'
    async with shop.running() as engine:
        engine.offer("desk", Desk())
        await shop.create(body)
        await shop.hibernating()
    async with shop.running() as engine:
        await engine.send_event("r", "go", None)
        assert (await shop.finished()).result == ["a"]


async def raises_conflict(call: BindingCall) -> Any:
    raise Conflict("The pen is taken.")


async def makes_a_mistake(call: BindingCall) -> Any:
    raise KeyError("/var/lib/stepwell/key")


async def times_out_by_itself(call: BindingCall) -> Any:
    raise TimeoutError("of its own")


async def never_answers(call: BindingCall) -> Any:
    await asyncio.Event().wait()


async def gives_an_object(call: BindingCall) -> Any:
    return object()


async def gives_too_much(call: BindingCall) -> Any:
    return "x" * 1_100_000


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (raises_conflict, "Conflict", "The pen is taken."),
        (makes_a_mistake, "Bug", "self.env.desk.take failed (KeyError). Please report this."),
        (times_out_by_itself, "Bug", "self.env.desk.take failed (TimeoutError). Please report this."),
        (never_answers, "Timeout", "self.env.desk.take was not answered within 0.05 s."),
        (gives_an_object, "Invalid", "is not JSON"),
        (gives_too_much, "Invalid", "At most 1048576 are allowed"),
    ],
)
async def test_what_goes_wrong_fails_the_step_and_says_so(
    shop: Workshop, answer: Callable[[BindingCall], Awaitable[Any]], kind: str, says: str
) -> None:
    body = "try: await self.env.desk.take(1)\nexcept StepFailed as error: return error.type, error.message"
    state = await end_of(shop, body, Desk(answer), limits=Limits(calling=0.05))
    assert state.result[0] == kind and says in state.result[1]


async def test_a_binding_that_is_not_offered_is_named(shop: Workshop) -> None:
    body = "try: await self.env.safe.open()\nexcept StepFailed as error: return str(error)"
    state = await end_of(shop, body, Desk())
    assert state.result == ("step 'safe.open' failed: NoBinding: There is no self.env.safe here. There are: desk.")


async def test_try_later_has_the_call_made_again(shop: Workshop) -> None:
    desk = Desk()

    async def answer(call: BindingCall) -> Any:
        if len(desk.calls) < 3:
            raise TryLater("busy", 0.01)
        return len(desk.calls)

    desk.answer = answer
    assert (await end_of(shop, "return await self.env.desk.take()", desk)).result == 3
    assert len({str(call) for call in desk.calls}) == 1


async def test_a_call_cut_short_by_a_stop_is_made_again_as_the_same_call(shop: Workshop) -> None:
    asked: list[float] = []
    reached = asyncio.Event()

    async def hangs(call: BindingCall) -> Any:
        asked.append(call.asked_at)
        reached.set()
        await asyncio.Event().wait()

    async def answers(call: BindingCall) -> Any:
        asked.append(call.asked_at)
        return "done"

    desk = Desk(hangs)
    async with shop.running() as engine:
        engine.offer("desk", desk)
        await shop.create('return await self.env.desk.take("a")')
        await asyncio.wait_for(reached.wait(), 60)
    desk.answer = answers
    async with shop.running() as engine:
        engine.offer("desk", desk)
        assert (await shop.finished()).result == "done"
    assert desk.calls[0] == desk.calls[1] and asked[0] == asked[1]


async def test_a_call_that_the_code_gives_up_is_given_up(shop: Workshop) -> None:
    given_up = asyncio.Event()

    async def hangs(call: BindingCall) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    body = """
try: await asyncio.wait_for(self.env.desk.take("a"), 0.05)
except TimeoutError: return "gave up"
"""
    state = await end_of(shop, body, Desk(hangs))
    assert (state.result, state.steps["desk.take a#1"].state) == ("gave up", "cancelled")
    await asyncio.wait_for(given_up.wait(), 60)


async def test_a_paused_run_calls_nothing_until_it_is_resumed(shop: Workshop) -> None:
    desk, reached, go = Desk(), asyncio.Event(), asyncio.Event()

    async def answer(call: BindingCall) -> Any:
        if call.args == ("first",):
            reached.set()
            await go.wait()
        return call.args[0]

    desk.answer = answer
    body = """
async def next():
    await step.do("x", asyncio.sleep, 0.1)
    return await self.env.desk.take("second")
return await gather(self.env.desk.take("first"), next())
"""
    async with shop.running() as engine:
        engine.offer("desk", desk)
        await shop.create(body)
        await asyncio.wait_for(reached.wait(), 60)
        await engine.pause("r", "ann")
        go.set()
        await shop.until(lambda state: state.steps["desk.take first#1"].state == "passed")
        await shop.until(lambda state: not engine.holds("r"))
        assert [call[4] for call in desk.calls] == [("first",)]
        await engine.resume("r", "ann")
        assert (await shop.finished()).result == ["first", "second"]


async def test_long_calls_of_one_run_hold_no_place_of_commands(shop: Workshop) -> None:
    go = asyncio.Event()

    async def waits(call: BindingCall) -> Any:
        await go.wait()

    async with shop.running(concurrent_steps=1) as engine:
        engine.offer("desk", Desk(waits))
        await shop.create("await gather(*(self.env.desk.take(n) for n in range(20)))\nreturn 1")
        await shop.until(lambda state: state.counts.get("running") == 20)
        assert engine._parts.step_slots.free == 1
        go.set()
        assert (await shop.finished()).result == 1


HOSTILE = [
    {"binding": "desk"},
    {"binding": "../desk", "call": "take"},
    {"binding": "desk", "call": "__class__"},
    {"binding": "desk", "call": "take", "args": {"0": 1}},
    {"binding": "desk", "call": "take", "kwargs": [["a", 1]]},
    {"binding": "desk", "call": 7},
    {"binding": "d" * 65, "call": "take"},
]


@pytest.mark.parametrize("options", HOSTILE)
async def test_an_ask_of_the_wrong_shape_ends_the_turn_and_calls_nothing(
    shop: Workshop, options: dict[str, Any]
) -> None:
    desk = Desk()
    body = f"step._turn.ask('binding', 'a', 'f', {options!r})\nawait step.sleep('s', 60)"
    state = await end_of(shop, body, desk)
    assert state.state == "failed" and "broke the protocol" in str(state.reason)
    assert desk.calls == []

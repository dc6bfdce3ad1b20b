"""The loop alone, in this process: what is delivered decides, nothing else."""

import asyncio
from typing import Any

import pytest

from stepwell import NotDurable
from stepwell.authoring.loop import Loop, LoopTimer
from stepwell.authoring.step_future import Leaving, StepFuture
from stepwell.authoring.version import REPLAY


class Notes:
    """An owner that writes down what the loop tells it."""

    rules = REPLAY

    def __init__(self) -> None:
        self.told: list[str] = []

    def timer_made(self, timer: LoopTimer) -> None:
        self.told.append(f"made {timer.key} {timer.when():g}")

    def timer_cancelled(self, timer: LoopTimer) -> None:
        self.told.append(f"cancelled {timer.key}")

    def step_dropped(self, step: StepFuture) -> None:
        self.told.append(f"dropped {step.key}")

    def leaves(self, leaving: Leaving) -> None:
        self.told.append("left")

    def foresee(self, step: StepFuture) -> None:
        """Nothing is replayed here."""

    def complain(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def loop(notes: Notes) -> Loop:
    loop = Loop(notes)  # type: ignore[abstract]
    loop.now = 100.0
    return loop


def test_time_passes_only_by_timers_that_are_fired(loop: Loop, notes: Notes) -> None:
    async def nap() -> float:
        await asyncio.sleep(5)
        return loop.time()

    task = loop.create_task(nap())
    loop.drain()
    assert notes.told == ["made ~1 105"]
    loop.now = 107.0
    assert loop.fire("~1")
    loop.drain()
    assert task.result() == 107.0
    assert not loop.fire("~1")


def test_a_timeout_is_a_timer_that_is_cancelled_when_not_needed(loop: Loop, notes: Notes) -> None:
    async def quick() -> None:
        async with asyncio.timeout(9):
            await asyncio.sleep(0)

    loop.create_task(quick())
    loop.drain()
    assert notes.told == ["made ~1 109", "cancelled ~1"]
    assert not loop.timers


def test_tasks_and_futures_hash_by_creation_number(loop: Loop) -> None:
    async def nothing() -> None: ...

    hashes = [hash(loop.create_future()), hash(loop.create_task(nothing())), hash(loop.create_future())]
    assert hashes == [1, 2, 3]
    loop.drain()


def test_a_step_is_used_once_it_is_awaited_handed_on_or_cancelled(loop: Loop, notes: Notes) -> None:
    def step(key: str) -> StepFuture:
        return StepFuture.made(loop, key, key, "do", None)

    steps = [step(key) for key in "abcd"]

    async def use() -> None:
        steps[2].cancel()
        await asyncio.gather(steps[1], loop.create_task(steps[3]))

    loop.create_task(use())
    loop.drain()
    assert [one.used for one in steps] == [False, True, True, True]
    assert notes.told == ["dropped c"]
    for one in (steps[1], steps[3]):
        one.set_result(None)
    loop.drain()
    assert not loop.alive


@pytest.mark.parametrize(
    "call", ["run_in_executor", "create_connection", "subprocess_exec", "add_reader", "getaddrinfo"]
)
def test_what_needs_a_real_loop_is_refused_with_the_step_to_use(loop: Loop, call: str) -> None:
    with pytest.raises(NotDurable, match=r"step\.(do|run)"):
        getattr(loop, call)(None, print)


def test_a_failing_callback_is_told_and_stops_nothing(loop: Loop, notes: Notes) -> None:
    seen: list[Any] = []
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, 1)
    loop.drain()
    assert seen == [1]
    assert notes.told == ["A callback failed: ZeroDivisionError('division by zero')"]


def test_a_callback_from_outside_a_drain_is_refused(loop: Loop) -> None:
    with pytest.raises(NotDurable, match=r"step\.do"):
        loop.call_soon_threadsafe(print)

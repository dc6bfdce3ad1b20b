"""A replay resolves what run() awaits in place, and only where the loop could have done nothing else in between."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from stepwell import Pipeline, StepFailed
from stepwell.authoring.code import Files
from stepwell.authoring.event import Event
from stepwell.authoring.prints import Prints
from stepwell.authoring.rehearsal import in_short
from stepwell.authoring.results import canonical
from stepwell.authoring.step import Step, fingerprint_of
from stepwell.authoring.turn import Turn
from stepwell.authoring.wire import Wire

HEAD = {"run": "r", "number": 1, "params": {"kind": "manual", "payload": None}}
Body = Callable[[Step, list[object]], Coroutine[Any, Any, None]]
Replay = Callable[..., tuple[Turn, list[object]]]


def work(value: object) -> object:
    return value


def done(key: str, value: object, *, ok: bool = True) -> tuple[str, str, Any]:
    fingerprint = fingerprint_of("do", f"work{canonical((value,))}")
    inline = {"kind": "do", "name": key.partition("#")[0], "fingerprint": fingerprint}
    result = {"value": value} if ok else {"error": {"type": "ValueError", "message": str(value), "traceback": ""}}
    return "done", key, {"ok": ok, **result, "seconds": 0.0, "inline": inline}


@pytest.fixture(params=[list, in_short])
def replay(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Replay a journal in this process: gives the turn and what its code has said."""
    ours, theirs = socket.socketpair()
    outer = asyncio.new_event_loop()

    def replayed(body: Body, *journal: tuple[str, str, Any]) -> tuple[Turn, list[object]]:
        said: list[object] = []

        class Ship(Pipeline):
            async def run(self, event: Event, step: Step) -> None:
                await body(step, said)

        wire = Wire(theirs)
        turn = Turn(HEAD, Files(".stepwell", {}), wire, Prints(wire, outer), outer=outer)
        turn.pipeline = Ship
        turn.flush = lambda: None  # type: ignore[method-assign]  # what it begins at the end is not of interest
        entries = [[1, 1.0, "created", "", 0, None]]
        entries += [[n, float(n), type_, key, 1, data] for n, (type_, key, data) in enumerate(journal, 2)]
        turn.replay([json.loads(json.dumps(list(map(request.param, entries))))])
        return turn, said

    yield replayed
    outer.close()
    ours.close()
    theirs.close()


def test_one_step_after_the_other_takes_one_drain(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        for n in range(3):
            said.append((await step.do("one", work, n), step.now().timestamp()))
        try:
            await step.do("bad", work, 3, retries=0)
        except StepFailed as error:
            said.append(error.message)

    turn, said = replay(body, done("one#1", 0), done("one#2", 1), done("one#3", 2), done("bad#1", 3, ok=False))
    assert said == [(0, 2.0), (1, 3.0), (2, 4.0), "3"]
    assert turn.ended
    assert turn.seq == 5


def test_another_task_that_is_ready_goes_first(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        async def beside() -> None:
            said.append("begins")
            said.append(await step.do("beside", work, 1))

        task = asyncio.create_task(beside())
        said.append(await step.do("one", work, 0))
        await task

    assert replay(body, done("one#1", 0), done("beside#1", 1))[1] == ["begins", 0, 1]


def test_who_awaited_the_step_before_hears_first(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        async def hear() -> None:
            said.append(f"heard {await both}")

        both = asyncio.ensure_future(step.do("both", work, 0))
        task = asyncio.create_task(hear())
        await asyncio.sleep(0)
        said.append(await both)
        await task

    assert replay(body, done("both#1", 0))[1] == ["heard 0", 0]


def test_a_task_that_was_told_to_stop_is_not_given_a_result(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        late = step.do("late", work, 0)
        said.append(await step.do("one", work, 1))
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            said.append(await late)
        except asyncio.CancelledError:
            said.append(f"cancelled, {task.uncancel()} left")
        said.append(await step.do("one", work, 2))

    journal = done("one#1", 1), ("dropped", "late#1", None), done("late#1", 0), done("one#2", 2)
    assert replay(body, *journal)[1] == [1, "cancelled, 0 left", 2]


def test_a_task_beside_run_takes_the_long_way(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        async def beside() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            said.append(await late)

        late = step.do("late", work, 0)
        said.append(await step.do("one", work, 1))
        await asyncio.wait([asyncio.create_task(beside())])
        said.append(await step.do("one", work, 2))

    journal = done("one#1", 1), ("dropped", "late#1", None), done("late#1", 0), done("one#2", 2)
    assert replay(body, *journal)[1] == [1, 2]


def test_a_result_for_another_task_is_heard_before_the_next(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        async def beside() -> None:
            said.append(await step.do("beside", work, 0))

        task = asyncio.create_task(beside())
        await asyncio.sleep(0)
        said.append(await step.do("one", work, 1))
        await task

    assert replay(body, done("beside#1", 0), done("one#1", 1))[1] == [0, 1]


def test_what_comes_before_its_result_comes_before(replay: Replay) -> None:
    async def body(step: Step, said: list[object]) -> None:
        first, second = asyncio.ensure_future(step.do("first", work, 0)), step.do("second", work, 1)
        said.append(await second)
        said.append(first.done())
        said.append(await first)

    assert replay(body, done("first#1", 0), done("second#1", 1))[1] == [1, True, 0]
    assert replay(body, done("second#1", 1), done("first#1", 0))[1] == [1, False, 0]


def test_a_result_too_large_for_the_journal_is_fetched_between_two_drains(replay: Replay) -> None:
    fetched: list[str] = []

    async def body(step: Step, said: list[object]) -> None:
        said.append(await step.do("large", work, 0))

    def fetch(self: Wire, id: str) -> str:
        fetched.append(id)
        assert asyncio.current_task() is None  # the code is not running: its guard refuses sockets
        return "[1,2]"

    kind, key, data = done("large#1", 0)
    del data["value"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wire, "fetch", fetch)
        _, said = replay(body, (kind, key, {**data, "blob": {"id": "b1", "size": 5}}))
    assert (fetched, said) == (["b1"], [[1, 2]])

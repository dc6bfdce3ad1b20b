"""A journal that comes in parts: what the code asks is compared with what is not here yet, too."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from stepwell import Pipeline
from stepwell.authoring.code import Files
from stepwell.authoring.event import Event
from stepwell.authoring.prints import Prints
from stepwell.authoring.results import canonical
from stepwell.authoring.step import Step, fingerprint_of
from stepwell.authoring.turn import Turn
from stepwell.authoring.wire import Wire

HEAD = {"run": "r", "number": 1, "params": {"kind": "manual", "payload": None}, "played": 99}
Body = Callable[[Step, list[object]], Coroutine[Any, Any, None]]
Row = tuple[str, str, Any]
Said = tuple[list[object], list[Any]]
Replay = Callable[..., Said]


def work(value: object) -> object:
    return value


def inline(key: str, value: object) -> dict[str, str]:
    fingerprint = fingerprint_of("do", f"work{canonical((value,))}")
    return {"kind": "do", "name": key.partition("#")[0], "fingerprint": fingerprint}


def done(key: str, value: object) -> Row:
    return "done", key, {"ok": True, "value": value, "seconds": 0.0, "inline": inline(key, value)}


def asked(key: str, kind: str, fingerprint: str, **options: object) -> Row:
    name = key.partition("#")[0]
    return "asked", key, {"kind": kind, "name": name, "fingerprint": fingerprint, "options": options, "where": ""}


class _Left(BaseException):
    """Stands for the end of the process; raised in a task, it is kept there, and the first word counts."""


@pytest.fixture
def replay() -> Iterator[Replay]:
    """Replay a journal that comes entry by entry: gives what the code noted, and the commands that it left with."""
    ours, theirs = socket.socketpair()
    outer = asyncio.new_event_loop()

    def replayed(body: Body, *journal: Row) -> Said:
        noted: list[object] = []
        left: list[int] = []

        def leave(code: int) -> None:
            left.append(code)
            raise _Left

        class Ship(Pipeline):
            async def run(self, event: Event, step: Step) -> None:
                await body(step, noted)

        wire = Wire(theirs)
        turn = Turn(HEAD, Files(".stepwell", {}), wire, Prints(wire, outer), outer=outer, leave=leave)
        turn.pipeline = Ship
        rows: list[Row] = [("created", "", None), *journal]
        entries = [[n, float(n), type_, key, 1, data] for n, (type_, key, data) in enumerate(rows, 1)]
        with suppress(_Left):
            turn.replay(iter([[entry] for entry in json.loads(json.dumps(entries))]), held=True)
        if left:
            return noted, json.loads(ours.recv(65_536).splitlines()[0])
        return noted, [json.loads(command) for command in wire._out]

    yield replayed
    outer.close()
    ours.close()
    theirs.close()


def test_what_stands_in_a_later_part_is_not_asked_again(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        noted.append(await step.do("one", work, 1))
        noted.append(await step.wait_for_event("gate", type="go", timeout=None))
        await step.wait_for_event("gate", type="go", timeout=None)

    options = {"type": "go", "timeout": None}
    fingerprint = fingerprint_of("event", canonical(options))
    journal = [
        done("one#1", 1), asked("gate#1", "event", fingerprint, **options),
        ("event", "", {"type": "go", "payload": "a"}), ("took", "gate#1", {"event": 4}),
    ]  # fmt: skip
    noted, commands = replay(body, *journal)
    assert (noted, [command[:2] for command in commands]) == ([1, "a"], [["ask", "gate#2"]])


def test_a_function_with_other_arguments_is_found_before_it_gets_its_result(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        noted.append(await step.do("one", work, 1))
        noted.append(await step.do("two", work, 3))

    noted, commands = replay(body, done("one#1", 1), done("two#1", 2))
    assert noted == [1]
    ((kind, message, key),) = commands
    assert (kind, key) == ("diverged", "two#1")
    assert "the journal has it as a do step; it is now another function, or has other arguments" in message


def test_steps_of_one_name_that_changed_places_are_found_though_each_is_there(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        noted.extend(await asyncio.gather(*(step.do("one", work, n) for n in (2, 1))))

    noted, commands = replay(body, done("one#1", 1), done("one#2", 2))
    assert (noted, commands[0][0], commands[0][2]) == ([], "diverged", "one#1")


def test_a_function_that_became_something_else_is_found_when_it_is_asked(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        await step.do("one", work, 1)
        await step.sleep("two", 5)

    _, commands = replay(body, done("one#1", 1), done("two#1", 2), done("three#1", 3))
    ((kind, message, key),) = commands
    assert (kind, key) == ("diverged", "two#1")
    assert "the journal has it as a do step; it is now a sleep step" in message


def test_a_result_that_came_first_is_compared_when_its_step_is_asked(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        await step.do("one", work, 1)
        noted.append(await step.do("early", work, "other"))

    noted, commands = replay(body, done("early#1", 0), done("one#1", 1))
    assert (noted, commands[0][0], commands[0][2]) == ([], "diverged", "early#1")


def test_what_became_a_function_is_found_at_the_end_at_the_latest(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        await step.do("nap", work, 1)

    _, commands = replay(body, asked("nap#1", "sleep", "f", seconds=5))
    ((kind, message, key),) = commands
    assert (kind, key) == ("diverged", "nap#1")
    assert "the journal has it as a sleep step; it is now a do step" in message


def test_of_all_that_is_not_asked_again_the_first_one_is_named(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        await step.wait_for_event("never", type="go")

    nap = asked("nap#1", "sleep", "f", seconds=5)
    for journal, first in (((done("one#1", 1), nap), "one#1"), ((nap, done("one#1", 1)), "nap#1")):
        _, commands = replay(body, *journal)
        assert commands[-1][0] == "diverged"
        assert commands[-1][2] == first
        assert "run() has not asked it again" in commands[-1][1]


def test_a_step_that_was_given_up_is_undone_when_its_result_is_in_a_later_part(replay: Replay) -> None:
    async def body(step: Step, noted: list[object]) -> None:
        late = step.do("late", work, 1, undo=noted.append)
        await step.do("one", work, 0)
        late.cancel()  # type: ignore[attr-defined]
        raise ValueError

    journal = [done("one#1", 0), ("dropped", "late#1", None), done("late#1", 1)]
    _, commands = replay(body, *journal)
    assert [command[0] for command in commands] == ["undoing"], "it waits for its undoing, so it has not ended"

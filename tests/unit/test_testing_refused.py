"""What `play` refuses or names: what is missing, what no replay could repeat, a step where its result belongs."""

import asyncio
import builtins
import datetime
import random
import threading
import time
from asyncio import gather
from collections.abc import Callable
from datetime import datetime as moment
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from played import PUSH, Ship, next_version, pipeline

from stepwell import Event, Result, Step
from stepwell.testing import NotPlayed, play


def test_names_that_no_step_asked_for_are_told() -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        await step.do("next", next_version, "1.0")
        await step.run("test", "pytest")

    played = play(pipeline(run), results={"nxet": "2.0", "test*": 0, "late *": 0}, decisions={"ok?": True})
    assert (played.state, played.unused) == ("passed", ("nxet", "late *", "ok?"))


@pytest.mark.parametrize(
    ("what", "event", "says"),
    [
        (5, None, "play\\(\\) was given 5. Give a class"),
        (Ship, "push", "The event has value 'push'. Write names and values"),
        (Ship, {"brnch": "main"}, "An event has no field 'brnch'. Known are: kind, sha"),
    ],
)
def test_what_cannot_be_played_is_refused(what: Any, event: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        play(what, event)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"Step 'lint' at .*played.py:\d+ has no answer. Give results={'lint': Result\(\)}, or default="),
        ({"default": Result()}, r"Step 'Ship 1.0.7\?' at .* Give decisions={'Ship 1.0.7\?': True}"),
        ({"results": {"lnit": 0}}, r"Step 'lint' .* Given are: 'lnit'"),
        ({"default": True}, r"Step 'lint' is given True. Give a command a Result"),
        ({"default": AsyncMock()}, r"is async. Only step.do functions may be"),
        ({"results": {"lint": {"v": 1}, "test *": 0, "version": "1"}, "decisions": {"Ship*": "yes"}}, "given 'yes'"),
    ],
)
def test_what_is_not_given_is_asked_for(given: dict[str, Any], says: str) -> None:
    with pytest.raises(NotPlayed, match=says):
        play(Ship, PUSH, **given)


def test_files_and_events_must_be_given() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        return await step.read("VERSION") + await step.wait_for_event("w", type="tested")

    with pytest.raises(NotPlayed, match=r"results=\{'read VERSION': 'the text of the file'\}"):
        play(pipeline(run), default=Result())
    with pytest.raises(NotPlayed, match=r"events=\{'tested': payload\}"):
        play(pipeline(run), results={"read VERSION": "1"})
    with pytest.raises(NotPlayed, match="is not JSON"):
        play(pipeline(run), results={"read VERSION": "1"}, events={"tested": object()})
    assert play(pipeline(run), results={"read VERSION": "1"}, events={"tested": ".0"}).result == "1.0"


NUMBERS = count()


@pytest.mark.parametrize("way", ["name", "settings", "result", "end"])
def test_a_run_that_is_not_deterministic_is_diverged(way: str) -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        number = next(NUMBERS)
        if way == "name":
            await step.run(f"step {number}", "x")
        elif way == "settings":
            await step.run("step", f"x {number}")
        elif way == "end" and number % 2:
            raise ValueError("odd")
        return number if way == "result" else None

    if way == "end" and next(NUMBERS) % 2 == 1:
        next(NUMBERS)
    played = play(pipeline(run), default=Result())
    assert played.state == "diverged" and played.error is not None
    assert {
        "name": "the first time, run() did not ask it", "settings": "other settings", "result": "run() returned",
        "end": "it ended as",
    }[way] in played.error.message  # fmt: skip
    assert play(pipeline(run), default=Result(), replay=False).state in {"passed", "failed"}


def test_what_no_replay_could_repeat_is_refused_and_the_process_is_as_before() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        said = []
        for use in (
            time.time,
            random.random,
            moment.now,
            lambda: list(Path("/").iterdir()),
            threading.Thread(target=id).start,
        ):
            try:
                use()
            except RuntimeError as error:
                said.append(type(error).__name__)
        return said

    before = (time.time, random.random, datetime.datetime, asyncio.as_completed, builtins.__build_class__)
    assert play(pipeline(run)).result == ["NotDurable"] * 5
    after = (time.time, random.random, moment, asyncio.as_completed, builtins.__build_class__)
    assert after == before and moment.now() and random.random() >= 0


def test_a_pipeline_without_end_is_told_apart() -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        while True:
            await step.sleep("a day", "1 day")

    with pytest.raises(NotPlayed, match="has not ended after 20,000 entries"):
        play(pipeline(run))


def test_nothing_is_left_when_a_test_cannot_go_on() -> None:
    threads, cleaned = threading.active_count(), []

    async def run(self: Any, event: Event, step: Step) -> None:
        try:
            await gather(step.do("slow", asyncio.sleep, 60), step.do("thread", next_version, 1))
            await step.run("x", "x")
        finally:
            cleaned.append(True)
            await step.run("y", "y")

    with pytest.raises(NotPlayed, match="'x'"):
        play(pipeline(run), results={"slow": None})
    assert cleaned == [True]
    for thread in threading.enumerate():
        if thread.name == "step.do":
            thread.join(5)
    assert threading.active_count() == threads


def test_unknown_steps_are_named() -> None:
    with pytest.raises(KeyError, match=r"no step 'lnit#1'. There are: lint#1"):
        play(Ship, {}, default=Result()).step("lnit")


Mistake = Callable[[Any, Step], Any]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda one, step: step.do("use", print, one),
        lambda one, step: step.do("use", print, {"deep": [one]}),
        lambda one, step: step.do("use", print, f"{one}"),
        lambda one, step: step.run("use", f"echo {one}"),
        lambda one, step: step.run("use", "echo %s" % one),  # noqa: UP031 - as an author may write it
        lambda one, step: step.run("use", "echo " + str(one)),
        lambda one, step: one["key"],
        lambda one, step: one.outputs,
        lambda one, step: step.do("use", print) if one else None,
        lambda one, step: not one or step.do("use", print),
        lambda one, step: one == "yes" and step.do("use", print),
        lambda one, step: one != 3 and step.do("use", print),
        lambda one, step: one > 3 and step.do("use", print),
        lambda one, step: "yes" in one and step.do("use", print),
        lambda one, step: one + 1 and step.do("use", print),
        lambda one, step: len(one) and step.do("use", print),
        lambda one, step: gather(*[step.do("use", print, item) for item in one]),
        lambda one, step: gather(*one, step.do("use", print)),
    ],
)
def test_a_step_where_its_result_belongs_is_refused_before_anything_is_done_with_it(mistake: Mistake) -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        one = step.do("one", dict)
        return await mistake(one, step)

    played = play(pipeline(run), default=Result())
    assert played.state == "failed" and "use" not in played.steps
    assert played.error is not None and "Write `result = await step.do(…)`" in played.error.message
    assert f"step 'one' at {__file__}:" in played.error.message


def test_a_condition_says_how_to_ask_whether_there_is_a_step() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        late = step.do("late", dict)
        if late:
            await late

    assert "`is not None`" in str(play(pipeline(run)).error)


def test_asyncio_and_collections_take_steps_as_they_take_any_future() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        def ask(name: str) -> Any:
            return step.do(name, next_version, name)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask("grouped"))
        got = [task.result(), *await gather(ask("a"), ask("b"))]
        got += [await one for one in asyncio.as_completed([ask("c"), ask("d")])]
        got += [await asyncio.wait_for(ask("e"), 10), await asyncio.shield(ask("f"))]
        first, second = ask("g"), ask("h")
        left = [first, second]
        while left:
            done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for one in [one for one in left if one in done]:
                left.remove(one)
                got.append(one.result())
        assert first != second and first == first and first in {first: 1} and first not in (None, second)
        assert first is not None and [second].count(first) == 0 and {first, second} == {second, first}
        async with asyncio.timeout(10):
            got.append(await ask("i"))
        return got

    played = play(pipeline(run))
    assert played.state == "passed", played.error
    assert played.result == [f"1.0.{name}" for name in ("grouped", *"abcdefghi")]


def test_a_function_that_uses_a_step_as_its_result_is_not_tried_again() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        one = step.do("one", dict)
        return await step.do("use", lambda: f"{one}")

    played = play(pipeline(run))
    assert played.state == "failed" and played.seconds < 10  # the delay before a second try


@pytest.mark.parametrize("name", ["results", "decisions", "events"])
def test_what_is_given_has_names(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} has value \[1\]\. Write names and values"):
        play(Ship, PUSH, **{name: [1]})  # type: ignore[arg-type]

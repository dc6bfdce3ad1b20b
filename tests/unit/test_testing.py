"""`play`: a pipeline in a test, with the clock moved."""

import asyncio
import datetime
import time
from asyncio import gather
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from played import PUSH, Ship, next_version, pipeline

from stepwell import Approval, ApprovalTimeout, Event, EventTimeout, Pipeline, Rejected, Result, Step, StepFailed
from stepwell.testing import NotPlayed, Played, play

CANCELLED = asyncio.CancelledError


def test_a_pipeline_is_played_without_anything_around_it() -> None:
    played = play(Ship, PUSH, default=Result(), decisions={"Ship 1.0.7?": True})
    assert (played.state, played.result, played.error) == ("passed", ["tester", {"where": "eu"}], None)
    assert played.steps == ["lint", "test 3.11", "test 3.12", "version", "Ship 1.0.7?", "deploy"]
    assert played.step("deploy").options == {"command": "./deploy.sh 1.0.7", "environment": "production"}
    assert (played.step("version").args, played.step("version").result) == ((7,), "1.0.7")
    assert isinstance(played.step("lint").result, Result) and isinstance(played.step("Ship 1.0.7?").result, Approval)


def test_an_event_may_be_an_event() -> None:
    played = play(Ship, Event({"kind": "push", "branch": "topic", "number": 3}), default=Result())
    assert (played.result, played.steps[-1]) == ("1.0.3", "version")


@pytest.mark.parametrize("given", [1, Result(exit_code=1), StepFailed("CommandFailed", "exit code 1")])
def test_a_command_that_fails_fails_its_step(given: object) -> None:
    played = play(Ship, PUSH, results={"test *": None, "lint": given})
    assert played.state == "failed" and played.error is not None
    assert played.error.message == "step 'lint' failed: exit code 1"
    assert (played.step("lint").state, played.step("test 3.11").state) == ("failed", "cancelled")


def test_names_keys_and_patterns_name_steps_in_this_order() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        results = await gather(*(step.run(name, "x") for name in ("a", "a", "ab", "b*")))
        return [result.outputs for result in results]

    given = {"*": {"by": "any"}, "a*": {"by": "pattern"}, "a": {"by": "name"}, "a#2": {"by": "key"}}
    ways = [way["by"] for way in play(pipeline(run), results=given).result]
    assert ways == ["name", "key", "any", "any"]
    del given["*"]
    assert play(pipeline(run), results={**given, "b*": {"by": "itself"}}).result[2:] == [
        {"by": "pattern"}, {"by": "itself"},
    ]  # fmt: skip


def test_callables_are_asked_once_for_each_attempt() -> None:
    command, function = Mock(side_effect=[1, Result()]), Mock(side_effect=[OSError("no"), "1.0"])
    played = play(Ship, {"number": 7}, default=Result(), results={"test 3.11": command, "version": function})
    assert (played.state, played.result) == ("passed", "1.0")
    assert [call.args for call in command.call_args_list] == [("pytest",)] * 2
    assert [call.args for call in function.call_args_list] == [(7,)] * 2
    assert played.seconds > 10, "the second try of a function comes after its delay"


def test_async_functions_and_exceptions_stand_for_functions() -> None:
    given = AsyncMock(return_value="2.0")
    assert play(Ship, {}, default=Result(), results={"version": given}).result == "2.0"
    played = play(Ship, {}, default=Result(), results={"version": ValueError("no tag")})
    assert played.error is not None and played.error.message == "step 'version' failed: ValueError: no tag"


def test_functions_run_for_real_where_nothing_is_given() -> None:
    here: list[int] = []

    async def run(self: Any, event: Event, step: Step) -> Any:
        return [await step.do("thread", here.append, 1), await step.do("loop", asyncio.sleep, 0, "slept")]

    played = play(pipeline(run))
    assert (played.result, here) == ([None, "slept"], [1])


def test_weeks_pass_at_once() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        before = step.now()
        await step.sleep("a while", "3 weeks")
        await asyncio.sleep(60)
        await step.sleep_until("new year", datetime.datetime(2031, 1, 1, tzinfo=datetime.UTC))
        return before.isoformat()[:10], step.now().isoformat()[:10]

    began = time.monotonic()
    played = play(pipeline(run), start=datetime.datetime(2030, 5, 1, tzinfo=datetime.UTC))
    assert (played.result, round(played.seconds / 86400)) == (["2030-05-01", "2031-01-01"], 245)
    assert time.monotonic() - began < 50


def test_events_arrive_when_they_are_waited_for() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        first = await step.wait_for_event("first", type="go")
        second = await step.wait_for_event("second", type="go")
        try:
            await step.wait_for_event("never", type="stop", timeout="2 days")
        except EventTimeout as error:
            return [first, second, str(error)]

    played = play(pipeline(run), events={"go": Mock(side_effect=[{"n": 1}, {"n": 2}]), "stop": EventTimeout})
    assert played.result == [{"n": 1}, {"n": 2}, "step 'never' failed: the event did not come in time"]
    assert [played.step(name).state for name in played.steps] == ["passed", "passed", "failed"]
    assert played.seconds > 2 * 86400


@pytest.mark.parametrize(
    ("decision", "state", "says"),
    [
        (False, "failed", "step 'Ship 1.0.7?' failed: tester rejected 'Ship 1.0.7?'."),
        (Rejected("Rejected", "too early"), "failed", "step 'Ship 1.0.7?' failed: too early"),
        (ApprovalTimeout, "failed", "step 'Ship 1.0.7?' failed: nobody decided in time"),
        (CANCELLED, "cancelled", None),
    ],
)
def test_people_may_say_no_or_nothing(decision: object, state: str, says: str | None) -> None:
    played = play(Ship, PUSH, default=Result(), decisions={"Ship*": decision})
    assert (played.state, played.error.message if played.error else None) == (state, says)
    assert "deploy" not in played.steps


def test_people_fill_in_fields() -> None:
    yes = Approval(by="ada", comment="go", fields={"where": "us"})
    assert play(Ship, PUSH, default=Result(), decisions={"Ship*": yes}).result == ["ada", {"where": "us"}]
    with pytest.raises(NotPlayed, match="'whre'"):
        play(Ship, PUSH, default=Result(), decisions={"Ship*": Approval(fields={"whre": "us"})})


def test_a_run_that_waits_for_ever_is_waiting() -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        await step.approval("ok?")

    played = play(pipeline(run), decisions={"ok?": ApprovalTimeout})
    assert (played.state, played.error, played.step("ok?").state) == ("waiting", None, "waiting")


@pytest.mark.parametrize("where", ["command", "function"])
def test_a_run_can_be_cancelled_while_a_step_is_in_flight(where: str) -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        try:
            await gather(step.run("command", "x"), step.do("function", next_version, 1))
        finally:
            await step.run("clean up", "y")

    played = play(pipeline(run), results={where: CANCELLED}, default=Result())
    assert (played.state, played.step(where).state, played.step("clean up").state) == (
        "cancelled", "cancelled", "passed",
    )  # fmt: skip


def test_a_run_can_be_cancelled_while_it_sleeps() -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        try:
            await step.sleep("a week", "7 days")
        finally:
            await step.run("clean up", "y")

    played = play(pipeline(run), results={"a week": CANCELLED}, default=Result())
    assert (played.state, played.step("a week").state, played.step("clean up").state) == (
        "cancelled", "cancelled", "passed",
    )  # fmt: skip
    assert played.seconds < 1 and play(pipeline(run), results={"*": Result()}).seconds >= 7 * 86400


def test_calls_of_bindings_are_given_like_any_step() -> None:
    class Family(Pipeline):
        async def run(self, event: Event, step: Step) -> Any:
            made = await self.env.workflows.create("child", {"n": 1}, pipeline="Child")
            return await self.env.workflows.status(made["id"])

    create = Mock(return_value={"id": "r7", "number": 7})
    given = {"workflows.create child": create, "workflows.status *": {"state": "passed"}}
    played = play(Family, results=given)
    assert (played.result, played.steps) == (
        {"state": "passed"}, ["workflows.create child", "workflows.status r7"],
    )  # fmt: skip
    create.assert_called_once_with("child", {"n": 1}, pipeline="Child")
    with pytest.raises(NotPlayed, match=r"'workflows\.create child'"):
        play(Family)


class Part(Pipeline):
    async def run(self, event: Event, step: Step) -> Any:
        return event.payload


def test_called_pipelines_are_given_their_results() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        return [await step.call("one", Part, 1), await step.call("two", Part, event)]

    class PartFailed(Exception):
        pass

    one = Mock(return_value="first")
    played = play(pipeline(run), PUSH, results={"one": one, "two": PartFailed("no")})
    failure = played.step("two").error
    assert played.state == "failed" and failure is not None and failure.message == "no"
    assert one.call_args.kwargs["event"] == {"kind": "call", "payload": 1}
    assert one.call_args.kwargs["entry"].endswith("test_testing.py:Part")
    assert play(pipeline(run), PUSH, results={"one": 1, "two": 2}).result == [1, 2]
    with pytest.raises(NotPlayed, match="Step 'one'"):
        play(pipeline(run), PUSH)


class Whole(Pipeline):
    """Call parts, side by side."""

    async def run(self, event: Event, step: Step) -> Any:
        parts = await gather(*(step.call(f"part {one}", Nap, one) for one in event.payload))
        return [step.uuid(), *parts]


class Nap(Pipeline):
    """Sleep for days, ask for a yes, and draw."""

    async def run(self, event: Event, step: Step) -> Any:
        await step.sleep("nap", f"{event.payload} days")
        yes = await step.approval("yes?")
        got = await step.run("build", f"make {event.payload}")
        return [event.branch, event.payload, yes.by, got.outputs["v"], step.uuid()]


def test_called_pipelines_are_played_where_they_are_given() -> None:
    event = {**PUSH, "payload": [1, 3, 2]}
    given: dict[str, Any] = {"part *": Nap, "build": lambda command, **_: {"v": command[-1]}}
    played = play(Whole, event, results=given, decisions={"yes?": True})
    assert played.state == "passed", played.error
    assert [part[:-1] for part in played.result[1:]] == [["main", n, "tester", str(n)] for n in (1, 3, 2)]
    assert len({played.result[0], *(part[-1] for part in played.result[1:])}) == 4
    assert round(played.seconds / 86400) == 3 and played.unused == ()
    assert played.called["part 3#1"].steps == ["nap", "yes?", "build"]
    assert round(played.called["part 3#1"].seconds / 86400) == 3


@pytest.mark.parametrize(
    ("decision", "state", "says"),
    [
        (False, "failed", "step 'part 1' failed: the run of Nap failed: Rejected: step 'yes?' failed: tester rejected"),
        (CANCELLED, "failed", "step 'part 1' failed: the run of Nap was cancelled"),
    ],
)
def test_a_called_run_that_does_not_pass_fails_its_step(decision: Any, state: str, says: str) -> None:
    played = play(Whole, {"payload": [1]}, results={"part *": Nap}, decisions={"yes?": decision})
    assert played.state == state
    assert says in (played.error.message if played.error else "")


def test_a_called_run_that_waits_for_ever_keeps_its_caller_waiting() -> None:
    async def run(self: Any, event: Event, step: Step) -> None:
        await step.wait_for_event("never", type="never", timeout=None)

    async def calls(self: Any, event: Event, step: Step) -> None:
        await step.call("part", Part)

    assert play(pipeline(calls), results={"part": pipeline(run)}, events={"never": EventTimeout}).state == "waiting"


async def round_and_round(self: Any, event: Event, step: Step) -> None:
    """Go on as another round."""
    await step.continue_as(1)


class Endless(Pipeline):
    async def run(self, event: Event, step: Step) -> None:
        await step.call("again", Endless)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"results=\{'again': Endless\} to have that played"),
        ({"again": Endless}, "9 deep. Does a pipeline call itself"),
        ({"again": pipeline(round_and_round)}, "goes on as another round"),
    ],
)
def test_a_call_that_cannot_be_played_says_why(given: dict[str, Any], says: str) -> None:
    with pytest.raises(NotPlayed, match=says):
        play(Endless, results=given)
    assert datetime.datetime.now(datetime.UTC).year >= 2025  # nothing is left patched


def test_sleeping_until_a_moment_knows_zones_and_a_moment_that_is_over_is_no_wait() -> None:
    east = datetime.timezone(datetime.timedelta(hours=2))

    async def run(self: Any, event: Event, step: Step) -> Any:
        begun = step.now()
        await step.sleep_until("noon", (begun + datetime.timedelta(hours=3)).astimezone(east))
        noon = step.now()
        await step.sleep_until("over", begun)
        return [(noon - begun).total_seconds(), (step.now() - noon).total_seconds()]

    played = play(pipeline(run))
    slept, over = played.result
    assert (round(slept), round(over), round(played.seconds)) == (10_800, 0, 10_800)


def test_a_round_that_continues_gives_the_event_of_the_next() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        await step.sleep("pause", "1 hour")
        if event.payload == 2:
            return event.branch
        await step.continue_as((event.payload or 0) + 1)

    played = play(pipeline(run), PUSH)
    assert (played.state, played.result["payload"]) == ("continued", 1)
    played = play(pipeline(run), played.result)
    assert (played.state, play(pipeline(run), played.result).result) == ("continued", PUSH["branch"])


def test_the_code_sees_the_journaled_form() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        try:
            await step.do("fails", Mock(side_effect=KeyError("k")), retries=0)
        except StepFailed as error:
            return error.type, await step.do("pair", lambda: (1, 2))

    assert play(pipeline(run)).result == ["KeyError", [1, 2]]


async def test_an_async_test_may_play() -> None:
    loop = asyncio.get_running_loop()
    assert play(Ship, {"number": 1}, default=Result()).state == "passed"
    assert asyncio.get_running_loop() is loop


def test_the_same_story_on_every_play() -> None:
    def story() -> Played:
        return play(Ship, PUSH, default=Result(), decisions={"Ship*": True})

    assert len({str(story()) for _ in range(5)}) == 1


def test_what_functions_draw_takes_nothing_from_the_sequence_of_run() -> None:
    """A replay does not call them again: run() would draw something else then."""

    async def run(self: Any, event: Event, step: Step) -> Any:
        sync = await step.do("sync", lambda: [step.random(), step.uuid()])

        async def draw() -> list[Any]:
            return [step.random(), step.uuid()]

        drawn = [step.random(), step.uuid()]
        await step.do("use", print, *drawn)
        return [sync, await step.do("async", draw), drawn, [step.random(), step.uuid()]]

    played = play(pipeline(run))
    assert played.state == "passed", played.error
    assert len({number for number, _ in played.result}) == len({text for _, text in played.result}) == 4


def test_a_step_has_what_every_object_has() -> None:
    async def run(self: Any, event: Event, step: Step) -> Any:
        one = step.do("one", dict)
        assert not hasattr(one, "__deepcopy__") and f"{one!r}" == repr(one) and one is not None
        return await one

    assert play(pipeline(run)).state == "passed"

from dataclasses import replace
from typing import Any

import pytest
from fixture_runs import approval, broken_run, busy_run, diverged_run, failed_run, passed_run, step, summary

from stepwell.ci.views import ApprovalView, RunView, StepView
from stepwell_web import times
from stepwell_web.reasons import Reason, brief, reason

ASKED = step("Ship it?", "waiting", 1, None, kind="approval", reason="0 of 1 approved for production")
ORDER = step("order", "waiting", 0, None, kind="event", reason="waits for the event 'order'")
NIGHT = step("night", "waiting", 0, None, kind="sleep", due=5000.0)


def view(state: str, *steps: StepView, asked: tuple[ApprovalView, ...] = (), **changes: Any) -> RunView:
    run = summary(state=state, **changes)
    return RunView(run, {}, "pipeline.py:Ship", "c0de", None, None, steps, asked, True, 0)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((ASKED,), Reason("0 of 1 approved for production")),
        ((ORDER,), Reason("waits for the event 'order'")),
        ((NIGHT,), Reason("sleeps until", 5000.0)),
        ((ORDER, ASKED), Reason("0 of 1 approved for production, and 1 more")),  # people first
        ((NIGHT, replace(NIGHT, key="x#1", name="x")), Reason("night and 1 more, until", 5000.0)),
        ((), None),
    ],
)
def test_a_waiting_run_says_for_what(steps: tuple[StepView, ...], said: Reason | None) -> None:
    asked = (approval(summary(), key=ASKED.key),) if ASKED in steps else ()
    assert reason(view("waiting", *steps, asked=asked)) == said


def test_a_failed_run_names_the_step_that_it_ended_with() -> None:
    broken = broken_run()
    caught = step("try", "failed", 0, 1, exit_code=9, error={"type": "CommandFailed", "message": "9.", "traceback": ""})
    assert reason(replace(broken, steps=(caught, *broken.steps))) == Reason("deploy: exit code 4")


def test_a_failing_run_counts_what_has_failed() -> None:
    lost = {"type": "StepTimeout", "message": "took longer than 5 s\nTraceback …", "traceback": ""}
    steps = (step("a", "failed", 0, 1, error=lost), step("b", "failed", 0, 1, exit_code=2))
    assert reason(view("running", *steps, counts={"failed": 2})) == Reason("a: took longer than 5 s, and 1 more")


def test_what_is_told_below_the_head_is_not_said_twice() -> None:
    told = [reason(one) for one in (failed_run(), diverged_run(), passed_run())]
    assert told == [Reason("AttributeError"), None, None]  # without the message
    said = reason(busy_run())
    assert said is not None
    assert said.words == "unit 3.13: exit code 1"


def test_a_run_that_is_held_says_what_holds_it() -> None:
    assert reason(view("queued", reason="waits for run #3")) == Reason("waits for run #3")


@pytest.mark.parametrize(("hours", "said"), [(1, "15:13:20 UTC"), (30, "16 Nov 2023, 20:13 UTC")])
def test_a_moment_to_come_has_its_day_when_that_is_not_plain(hours: int, said: str) -> None:
    assert times.until(1_700_057_600.0 + 3600 * hours, 1_700_057_600.0) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("step 'unit 3.13' failed: exit code 1", "unit 3.13: exit code 1"),
        ('Step "it\'s" failed: it ended.\nmore', "it's: it ended."),
        ("ValueError: no step here", "ValueError: no step here"),
        ("x" * 121, "x" * 120 + "…"),
    ],
)
def test_a_run_in_a_list_says_shortly_why_it_failed(words: str, said: str) -> None:
    assert brief(words) == said

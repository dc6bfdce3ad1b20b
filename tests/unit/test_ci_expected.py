"""What is expected of a run that goes on, from the steps of the last green one."""

from dataclasses import replace

from fixture_runs import NOW, passed_run, summary
from fixture_runs import step as one

from stepwell.ci.expected import Expected, ExpectedStep, expected
from stepwell.ci.views import RunLink, StepView

LINK = RunLink("green", 7, "/acme/payments-api/runs/7")
GREEN = (
    ExpectedStep("lint#1", "lint", "run", (), 10.0),
    ExpectedStep("test#1", "test", "run", (), 60.0),
    ExpectedStep("ok?#1", "ok?", "approval", ("lint#1", "test#1"), 0.0),
    ExpectedStep("deploy#1", "deploy", "run", ("ok?#1",), 30.0),
)


def told(*steps: StepView) -> Expected:
    return expected(replace(passed_run(), summary=summary(8), steps=steps), GREEN, LINK, NOW)


def running(key: str, since: float) -> StepView:
    return replace(one(key.partition("#")[0], "running", 0, None), key=key, started_at=NOW - since, ended_at=None)


def ended(key: str) -> StepView:
    return replace(one(key.partition("#")[0], "passed", 0, 1), key=key, started_at=NOW - 90, ended_at=NOW - 80)


def test_before_the_first_step_everything_is_to_come() -> None:
    found = told()
    assert [step.key for step in found.steps] == ["lint#1", "test#1", "ok?#1", "deploy#1"]
    assert (found.seconds, found.green) == (90.0, LINK)


def test_what_runs_counts_for_what_it_has_left_along_the_longest_way() -> None:
    found = told(running("lint#1", since=2), running("test#1", since=45))
    assert [step.key for step in found.steps] == ["ok?#1", "deploy#1"]
    assert found.seconds == 15.0 + 30.0


def test_what_takes_longer_than_it_did_has_nothing_left() -> None:
    assert told(ended("lint#1"), running("test#1", since=500)).seconds == 30.0


def test_a_step_whose_name_has_the_number_of_its_run_in_it_is_not_expected_again() -> None:
    place = ".stepwell/pipeline.py:9"
    green = tuple(replace(step, where=place) if step.name == "ok?" else step for step in GREEN)
    asks = one("ship 9?", "waiting", 0, None, kind="approval", where=place)
    view = replace(passed_run(), summary=summary(8), steps=(ended("lint#1"), ended("test#1"), asks))
    found = expected(view, green, LINK, NOW)
    assert [(step.key, step.needs) for step in found.steps] == [("deploy#1", ("ship 9?#1",))]


def test_what_has_ended_and_what_is_new_add_nothing() -> None:
    found = told(ended("lint#1"), ended("test#1"), ended("ok?#1"), ended("deploy#1"), running("more#1", since=1))
    assert (found.steps, found.seconds) == ((), 0.0)

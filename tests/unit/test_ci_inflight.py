"""What an isolate is executing is shown among the steps, before any entry tells of it."""

from stepwell.ci.inflight import with_inflight
from stepwell.ci.rules import Rules
from stepwell.ci.steps import step_views
from stepwell.engine.state import AttemptState, Inflight, RunState, StepState


def test_a_step_that_nothing_was_written_of_is_running() -> None:
    run = RunState("r", counts={"passed": 1})
    run.steps["a#1"] = StepState("a#1", "a", "do", "passed", 1.0, started_at=1.0, ended_at=2.0)
    run.inflight["b#1"] = Inflight("b#1", "b", 1, since=3.0)
    with_inflight(run)
    first, second = step_views(run, lambda _key, _attempt: 7, lambda _step: Rules(), {})
    assert first.state == "passed"
    assert (second.name, second.kind, second.state, second.attempt) == ("b", "do", "running", 1)
    assert (second.started_at, second.needs, second.log_size) == (3.0, ("a#1",), 7)
    assert run.counts == {"passed": 1, "running": 1}


def test_a_next_attempt_takes_the_place_of_the_one_that_failed() -> None:
    run = RunState("r", counts={"retrying": 1})
    failed = AttemptState(1, "failed", 1.0, 2.0)
    run.steps["a#1"] = StepState("a#1", "a", "do", "retrying", 1.0, attempt=1, attempts=[failed], started_at=1.0)
    run.inflight["a#1"] = Inflight("a#1", "a", 2, since=5.0)
    with_inflight(run)
    (view,) = step_views(run, lambda _key, _attempt: 0, lambda _step: Rules(), {})
    assert (view.state, view.attempt, [one.state for one in view.attempts]) == ("running", 2, ["failed", "running"])
    assert run.counts == {"retrying": 0, "running": 1}

"""Inline steps that an isolate is executing right now: no entry tells of them yet, and people want to see them."""

from stepwell.engine.state import AttemptState, Inflight, RunState, StepState


def with_inflight(run: RunState) -> RunState:
    """Add what is in flight to a run's steps. Changes and returns the copy of a state that the engine gave."""
    for one in run.inflight.values():
        _count(run, "running", 1)
        step = run.steps.get(one.key)
        if step is None:
            step = run.steps[one.key] = StepState(one.key, one.name, "do", "running", one.since, started_at=one.since)
        else:
            _count(run, step.state, -1)
            step.state = "running"
        step.attempt = one.attempt
        if all(attempt.number != one.attempt for attempt in step.attempts):
            step.attempts.append(_attempt(one))
    return run


def _attempt(one: Inflight) -> AttemptState:
    return AttemptState(one.attempt, "running", one.since)


def _count(run: RunState, state: str, by: int) -> None:
    run.counts[state] = run.counts.get(state, 0) + by

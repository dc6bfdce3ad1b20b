"""Where the steps of a list stand on their run's time: the axis of the timeline, with long waits folded.

Read off the steps alone, for a page has them and no journal: what is between two attempts is a wait for the next try,
what an environment holds back waits for people. Steps that a restarted run adopted stand right before the restart: the
time between is nobody's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stepwell.ci.timeline import Kind, Span, stretches
from stepwell.ci.views import RunView, StepView
from stepwell_web.timeaxis import Axis

FULL = 1000
SLIVER = 8
"""Thousandths that a bar is wide at least, so that short ones are seen."""
_WAITS: Mapping[str, Kind] = {"approval": "person", "event": "wait", "sleep": "wait"}


def joined(view: RunView) -> RunView:
    """Move what a restarted run adopted up to the restart, and what it was asked for before but ran itself, too."""
    restart = view.summary.created_at
    before: dict[str, list[StepView]] = {}
    for step in view.steps:
        if _adopted(step, restart):
            before.setdefault(step.origin.id if step.origin else "", []).append(step)
    if not before and all(step.asked_at >= restart for step in view.steps):
        return view
    moved: dict[str, StepView] = {}
    upto = restart
    for steps in sorted(before.values(), key=_ended, reverse=True):
        begin = min(step.started_at or step.asked_at for step in steps)
        by = upto - _ended(steps)
        moved.update((step.key, _moved(step, begin, by)) for step in steps)
        upto = begin + by
    own = (moved.get(step.key) or replace(step, asked_at=max(restart, step.asked_at)) for step in view.steps)
    return replace(view, steps=tuple(own))


def _adopted(step: StepView, restart: float) -> bool:
    return step.ended_at is not None and step.ended_at < restart


def _ended(steps: Sequence[StepView]) -> float:
    return max(step.ended_at or step.asked_at for step in steps)


def _moved(step: StepView, begin: float, by: float) -> StepView:
    """Move a step; it was asked for at `begin` at the earliest, though an earlier run may have asked for it."""

    def later(at: float | None) -> float | None:
        return None if at is None else at + by

    attempts = tuple(
        replace(one, started_at=later(one.started_at), ended_at=later(one.ended_at)) for one in step.attempts
    )
    return replace(
        step, asked_at=max(begin, step.asked_at) + by, started_at=later(step.started_at), ended_at=later(step.ended_at),
        attempts=attempts,
    )  # fmt: skip


def axis_of(view: RunView, now: float) -> Axis:
    """Lay out a run's time, up to now if it goes on; its steps have been joined."""
    begin = min((s.asked_at for s in view.steps), default=view.summary.created_at)
    begin = min([begin, *(s.started_at for s in view.steps if s.started_at)])
    end = max(view.summary.ended_at or now, begin + 0.001)
    return Axis(_stretches(view, begin, end, now))


def bar(step: StepView, axis: Axis, now: float) -> tuple[int, int]:
    """Place a step: beginning and width in thousandths, (0, 0) for one that has not begun."""
    if step.state in ("skipped", "queued"):
        return 0, 0
    start = round(axis.place(step.started_at or step.asked_at) * FULL / 100)
    wide = max(SLIVER, round(axis.place(step.ended_at or now) * FULL / 100) - start)
    return max(0, min(start, FULL - wide)), wide


def waited(steps: Sequence[StepView], begin: float, end: float) -> float:
    """Seconds between two moments in which steps did nothing but wait for people and events."""
    spans = [span for step in steps for span in _spans(step, end)]
    return sum(one.end - one.start for one in stretches(begin, end, spans) if one.kind in ("person", "wait"))


def _stretches(view: RunView, begin: float, end: float, now: float) -> tuple[Span, ...]:
    if not any(map(_may_wait, view.steps)):
        return (Span("work", begin, end),)
    return stretches(begin, end, (span for step in view.steps for span in _spans(step, now)))


def _may_wait(step: StepView) -> bool:
    return step.kind in _WAITS or bool(step.environment) or step.attempt > 1 or step.state == "retrying"


def _spans(step: StepView, now: float) -> Iterator[Span]:
    if step.state == "skipped":
        return
    over = now if step.ended_at is None else step.ended_at
    if kind := _WAITS.get(step.kind):
        yield Span(kind, step.asked_at, over)
        return
    gap: Kind = "person" if step.environment else "queued"
    before = step.asked_at
    for attempt in step.attempts:
        begun = before if attempt.started_at is None else attempt.started_at
        yield Span(gap, before, begun)
        before = over if attempt.ended_at is None else attempt.ended_at
        yield Span("work", begun, before)
        gap = "retry"
    yield Span(gap if step.attempts or step.environment else "work", before, over)

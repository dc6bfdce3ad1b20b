"""Where the steps of a list stand on their run's time: the axis of the timeline, with long waits folded.

Read off the steps alone, for a page has them and no journal: what is between two attempts is a wait for the next try,
what an environment holds back waits for people.
"""

from collections.abc import Iterator, Mapping, Sequence

from stepwell.ci.timeline import Kind, Span, stretches
from stepwell.ci.views import RunView, StepView
from stepwell_web.timeaxis import Axis

FULL = 1000
SLIVER = 8
"""Thousandths that a bar is wide at least, so that short ones are seen."""
_WAITS: Mapping[str, Kind] = {"approval": "person", "event": "wait", "sleep": "wait"}


def axis_of(view: RunView, now: float) -> Axis:
    """Lay out a run's time, up to now if it goes on."""
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
    early = begin < view.summary.created_at  # a restarted run has steps of an earlier one, of long ago
    if not early and not any(map(_may_wait, view.steps)):
        return (Span("work", begin, end),)
    spans = [span for step in view.steps for span in _spans(step, now)]
    if early:
        spans.append(Span("wait", begin, view.summary.created_at))
    return stretches(begin, end, spans)


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

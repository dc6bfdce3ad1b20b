"""What is still to come in a run that goes on: the steps that the last green run had, and the time that they took.

A guess, and shown as one. The code decides anew each time, so steps may stay away or others come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from stepwell.ci.green import last_green
from stepwell.ci.history import History
from stepwell.ci.remembered import Remembered
from stepwell.ci.views import RunLink, RunSummary, RunView, StepView
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope

REMEMBERED = 64
"""Green runs whose steps are kept for the next page."""
_FOR_PEOPLE = frozenset({"approval", "event"})


class _Runs(Protocol):
    def get(self, actor: Actor, run_id: str) -> RunView: ...


@dataclass(frozen=True)
class ExpectedStep:
    """A step of the green run; `seconds` is how long it took, 0 for one that waits for somebody."""

    key: str
    name: str
    kind: str
    needs: tuple[str, ...]
    seconds: float
    where: str = ""


@dataclass(frozen=True)
class Expected:
    """What is to come, as `green` had it. `seconds` are along the longest way, without waits for people."""

    green: RunLink
    steps: tuple[ExpectedStep, ...]
    seconds: float


class Expectations:
    """Looks at the last green run. Blocks; call from any thread but the engine's."""

    def __init__(self, history: History, scope: Scope, runs: _Runs) -> None:
        self._history = history
        self._scope = scope
        self._runs = runs
        self._known: Remembered[tuple[ExpectedStep, ...]] = Remembered(REMEMBERED)

    def of(self, actor: Actor, view: RunView, now: float) -> Expected | None:
        """Return what is expected of a run that the actor may see; None for one that is over, or has none before it."""
        run = view.summary
        if run.finished or view.round > 1:
            return None
        green = last_green(self._history, self._scope, actor, run)
        if green is None:
            return None
        id_ = green.id
        steps = self._known.of(id_, lambda: tuple(_expected(step) for step in self._runs.get(actor, id_).steps))
        return expected(view, steps, _link(green), now)


def expected(view: RunView, green: tuple[ExpectedStep, ...], link: RunLink, now: float) -> Expected:
    """Compare a run with the steps of a green one, which are listed after all that they need."""
    own = _own(view, green)
    ends: dict[str, float] = {}
    for step in green:
        begin = max((ends.get(need, 0.0) for need in step.needs), default=0.0)
        ends[step.key] = begin + _left(step, own, now)
    names = {key: step.key for key, step in own.items()}
    to_come = tuple(
        replace(step, needs=tuple(names.get(need, need) for need in step.needs))
        for step in green
        if step.key not in own
    )
    return Expected(link, to_come, max(ends.values(), default=0.0))


def _own(view: RunView, green: tuple[ExpectedStep, ...]) -> Mapping[str, StepView]:
    """The run's steps by the green one's keys: the same key, else the next one of another name from the same line.

    Names have versions and dates in them: "Ship 1.9.0?" is what "Ship 1.1.0?" was.
    """
    own = {step.key: step for step in view.steps}
    known = {step.key for step in green}
    others: dict[tuple[str, str], list[StepView]] = {}
    for step in view.steps:
        if step.key not in known and step.where:
            others.setdefault((step.kind, step.where), []).append(step)
    for one in green:
        if one.key not in own and (alike := others.get((one.kind, one.where))):
            own[one.key] = alike.pop(0)
    return own


def _left(step: ExpectedStep, own: Mapping[str, StepView], now: float) -> float:
    mine = own.get(step.key)
    if mine is None:
        return step.seconds
    if mine.ended_at is not None:
        return 0.0
    return step.seconds if mine.started_at is None else max(0.0, step.seconds - (now - mine.started_at))


def _expected(step: StepView) -> ExpectedStep:
    seconds = 0.0 if step.kind in _FOR_PEOPLE else step.seconds or 0.0
    return ExpectedStep(step.key, step.name, step.kind, step.needs, seconds, step.where)


def _link(run: RunSummary) -> RunLink:
    return RunLink(run.id, run.number, run.url)

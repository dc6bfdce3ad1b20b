"""A run's steps as people see them: views made from the fold."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepwell.ci.rules import Rules, question, said
from stepwell.ci.secrets_use import named
from stepwell.ci.views import AttemptView, RunLink, StepView
from stepwell.engine.state import AttemptState, RunState, StepState

LogSize = Callable[[str, int], int]
"""(step's key, attempt) → bytes of its log."""
RulesOf = Callable[[StepState], Rules]
MOST_NEEDS = 200
"""Steps that one is said to follow directly: thousands after thousands would be millions of pairs."""


def step_views(
    run: RunState, log_size: LogSize, rules_of: RulesOf, origins: Mapping[str, RunLink]
) -> tuple[StepView, ...]:
    """Show the steps in the order asked; `origins` are the runs from which some were adopted or reused, by id."""
    needs = needs_of(run.steps.values())
    views = (_view(run, step, needs[step.key], log_size, rules_of) for step in run.steps.values())
    return tuple(_linked(view, run.steps[view.key], origins) for view in views)


def with_reasons(views: tuple[StepView, ...], run: RunState, rules_of: RulesOf) -> tuple[StepView, ...]:
    """Say anew what waiting steps wait for: an environment's rules may have changed since they were shown."""
    return tuple(
        replace(view, reason=_reason(run.steps[view.key], rules_of)) if view.state == "waiting" else view
        for view in views
    )


def _linked(view: StepView, step: StepState, runs: Mapping[str, RunLink]) -> StepView:
    if not (step.reused or step.origin):
        return view
    reused = None
    if step.reused:
        id, number = str(step.reused["run"]), int(step.reused["number"])
        reused = runs.get(id) or RunLink(id, number, "")
    return replace(view, origin=runs.get(step.origin), reused=reused)


def needs_of(steps: Iterable[StepState]) -> dict[str, tuple[str, ...]]:
    """Return for each step the steps it directly follows: ended before it began, with no other one in between.

    The code decides what follows what, so this is read off the times: S follows D if D ended before S began, directly
    if no step that began after D's end also ended before S began.
    """
    steps = list(steps)
    ended = [
        (step.ended_at, _began(step), step.key)
        for step in steps
        if step.ended_at is not None and step.state in {"passed", "failed"}
    ]
    ended.sort(key=lambda one: (one[0], one[0] == one[1]))  # stable: those that ended together in the order asked
    ends = [end for end, _, _ in ended]
    latest: list[float] = []  # the latest beginning among the steps ended so far
    for _, begin, _ in ended:
        latest.append(max(begin, latest[-1]) if latest else begin)
    direct: dict[int, tuple[str, ...]] = {}  # what follows upon the same ends shares it: siblings may be thousands
    needs: dict[str, tuple[str, ...]] = {}
    for step in steps:
        instant = step.ended_at == _began(step)  # must not count as its own forerunner
        before = (bisect_left if instant else bisect_right)(ends, _began(step))
        if before not in direct:
            direct[before] = _direct(ended, latest, before)
        found = direct[before]
        odd = step.ended_at is not None and step.ended_at < _began(step)  # a clock that was set back
        needs[step.key] = tuple(key for key in found if key != step.key) if odd else found
    return needs


def _direct(ended: Sequence[tuple[float, float, str]], latest: Sequence[float], before: int) -> tuple[str, ...]:
    """Return which of the first `before` steps that ended none has come after; of very many the last ones."""
    direct: list[str] = []
    for place in range(before - 1, -1, -1):
        end, begin, key = ended[place]
        if end < latest[before - 1] or (end == latest[before - 1] and begin < end) or len(direct) == MOST_NEEDS:
            break
        direct.append(key)
    return tuple(reversed(direct))


def _began(step: StepState) -> float:
    """When the code asked: for an inline step, which is journaled when it ends, when its first attempt began."""
    return step.attempts[0].started_at if step.kind == "do" and step.attempts else step.asked_at


def _view(run: RunState, step: StepState, needs: tuple[str, ...], log_size: LogSize, rules_of: RulesOf) -> StepView:
    options = step.options
    secrets = named(options.get("secrets"))
    attempts = [_attempt(attempt, log_size(step.key, attempt.number)) for attempt in step.attempts]
    inflight = run.inflight.get(step.key)
    return StepView(
        key=step.key,
        name=step.name,
        kind=step.kind,
        state=step.state,
        reason=promoted(step.value) if _is_promoted(step) else _reason(step, rules_of),
        attempt=inflight.attempt if inflight else step.attempt,
        attempts=tuple(attempts),
        asked_at=_began(step),
        started_at=step.started_at,
        ended_at=step.ended_at,
        due=step.due,
        where=step.where,
        command=_command(options.get("command")),
        image=str(options.get("image") or ""),
        tools=tuple(options.get("tools") or ()),
        environment=str(options.get("environment") or ""),
        secrets=tuple(sorted({*secrets[0].values(), *secrets[1].values()})),
        network=bool(options.get("network")),
        options=options,
        value=step.value,
        exit_code=step.exit_code,
        error=step.error,
        needs=needs,
        log_size=attempts[-1].log_size if attempts else 0,
        blob=step.blob,
        child=step.child,
        collected=step.collected,
        layer=step.layer,
    )


def _attempt(attempt: AttemptState, log_size: int) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        state=attempt.state,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        error=attempt.error,
        exit_code=attempt.exit_code,
        log_size=log_size,
        connections=attempt.connections,
        reason=attempt.reason,
    )


def _command(command: Any) -> str:
    if command is None:
        return ""
    return command if isinstance(command, str) else " ".join(str(part) for part in command)


def _reason(step: StepState, rules_of: RulesOf) -> str:
    """Say in words why the step is not simply running or over."""
    if step.state == "retrying":
        return f"attempt {step.failures} failed; it is tried again"
    if step.state == "waiting" and (step.kind == "approval" or step.held):
        asked = question(rules_of(step), step)
        given = sum(said(step).values())
        place = f" for {asked.rules.environment}" if asked.rules.environment else ""
        return f"{given} of {asked.count} approved{place}"
    if step.state == "waiting" and step.kind == "run":
        return f"waits as {step.options.get('environment')} wants"
    if step.state == "waiting" and step.kind == "event":
        return f"waits for the event {step.options.get('type')!r}"
    if step.state == "waiting" and step.child is not None:
        return f"waits for run #{step.child['number']}"
    return str(step.error["message"]) if step.state == "failed" and isinstance(step.error, Mapping) else ""


def _is_promoted(step: StepState) -> bool:
    return step.state == "passed" and step.kind == "binding" and step.options.get("binding") == "repository"


def promoted(value: Any) -> str:
    """Say what a promotion did to its ref."""
    if not isinstance(value, Mapping):
        return ""
    ref, now, before = value.get("ref"), str(value.get("sha"))[:7], value.get("before")
    steps = value.get("made_by")
    made = f", as made by {' and '.join(map(str, steps))}" if isinstance(steps, list) and steps else ""
    if before is None:  # of a journal that does not say
        return f"promoted {ref} to {now}"
    if before == value.get("sha"):
        return f"left {ref} at {now}, where it was"
    return f"moved {ref} from {str(before)[:7]} to {now}{made}" if before else f"made {ref} at {now}{made}"

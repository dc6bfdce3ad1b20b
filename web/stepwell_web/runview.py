"""What the run page makes of a run's steps: their addresses, rows on the time axis, the graph's nodes."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from stepwell.ci.expected import Expected, ExpectedStep
from stepwell.ci.views import RunView, StepView
from stepwell.errors import NotFound
from stepwell_web import losses, stepbars, times
from stepwell_web.graph import SIBLINGS, Node, stem
from stepwell_web.stepwords import BUSY
from stepwell_web.templating import as_json, state_word

RUN_LOG = "run"
"""Slug of the run's own log: what its code printed outside steps."""
FOLD_FROM = 4
"""On a phone, so many passed steps or more are folded into one row."""
LONGEST_RESULT = 4000
LONGEST_LINE = 100
_ORDER = ("passed", "failed", "running", "retrying", "waiting", "queued", "skipped", "cancelled")


@dataclass(frozen=True)
class Row:
    """A step in the list; `start` and `width` are thousandths of the run's time."""

    name: str
    href: str
    state: str
    word: str
    time: str
    since: float | None
    start: int
    width: int
    tries: int
    selected: bool
    folded: bool
    origin: int | None = None  # number of the earlier run in which it ended
    length: float | None = None  # seconds, up to now if it goes on
    reused: int | None = None  # number of the earlier run that did its work
    again: bool = False  # it was run more than once, but has never failed


def slugs(steps: Sequence[StepView]) -> dict[str, str]:
    """Short addresses of steps: the name without spaces; a later one of the same address gets `~2`, `~3`."""
    known = _SLUGS.get(id(steps))
    if known is not None and known[0] is steps:
        return known[1]
    found = _slugs(steps)
    if isinstance(steps, tuple):
        if len(_SLUGS) >= _SLUGS_KEPT:
            _SLUGS.clear()
        _SLUGS[id(steps)] = (steps, found)  # with the steps: no others can be at their place meanwhile
    return found


_SLUGS_KEPT = 16
_SLUGS: dict[int, tuple[Sequence[StepView], dict[str, str]]] = {}
"""Of the tuples of steps seen last: a page asks for each step."""


def _slugs(steps: Sequence[StepView]) -> dict[str, str]:
    result: dict[str, str] = {}
    used: dict[str, int] = {}
    for step in steps:
        slug = re.sub(r"[^\w.\-]+", "-", step.name).strip("-") or "step"
        used[slug] = used.get(slug, 0) + 1
        result[step.key] = slug if used[slug] == 1 else f"{slug}~{used[slug]}"
    return result


def choose(view: RunView, wanted: str | None) -> StepView | None:
    """The step to open: the one asked for by slug or key, else the first failed, else one going on, else the last."""
    if wanted is not None:
        names = slugs(view.steps)
        return next((s for s in view.steps if wanted in (s.key, names[s.key])), None)
    for states in ({"failed"}, {"running", "retrying"}, {"waiting"}):
        found = next((s for s in view.steps if s.state in states), None)
        if found:
            return found
    logged = [s for s in view.steps if s.log_size]
    return next(reversed(logged or list(view.steps)), None)


def key_of(view: RunView, slug: str) -> str:
    """The key of the log with this slug: a step's, its service's ("test@db"), "" for the run's own. Raises NotFound."""
    of, _, service = slug.rpartition("@")
    step = choose(view, of) if of else None
    if step is not None and service in services(step):
        return f"{step.key}@{service}"
    chosen = choose(view, slug)
    if chosen is None and any(slug in (f"@{one.number}", *(s.key for s in one.steps)) for one in view.rounds):
        return slug
    if chosen is None and slug != RUN_LOG:
        raise NotFound(f"Run #{view.summary.number} has no step {slug!r}.")
    return chosen.key if chosen else ""


def services(step: StepView) -> list[str]:
    """The names of the services beside a step; its options are whatever the code sent."""
    given = step.options.get("services")
    return list(given) if isinstance(given, Mapping) else []


def href(view: RunView, step: StepView, attempt: int | None = None) -> str:
    """Address of the run page with this step open."""
    query = f"?step={quote(slugs(view.steps)[step.key])}" + (f"&attempt={attempt}" if attempt else "")
    return view.summary.url + query


def seconds_of(step: StepView, now: float) -> float | None:
    """How long a step has taken, up to now if it goes on."""
    return now - (step.started_at or step.asked_at) if step.state in BUSY else step.seconds


def _length(step: StepView, now: float) -> float | None:
    """What list and graph say that a step has taken; of one that has not begun, nothing."""
    return None if step.state in ("skipped", "queued") else seconds_of(step, now)


def _since(step: StepView) -> float | None:
    """From when on the time of a step grows, if it does."""
    return (step.started_at or step.asked_at) if step.state in BUSY and step.state != "queued" else None


def rows(view: RunView, selected: StepView | None, now: float, names: Mapping[str, str] | None = None) -> list[Row]:
    """Every step on the time axis, and first the run's own output when there is any; `names` as of all its steps."""
    joined = stepbars.joined(view)
    axis = stepbars.axis_of(joined, now)
    passed = sum(s.state == "passed" for s in view.steps)
    names = names or slugs(view.steps)
    result = []
    if view.log_size:
        url = f"{view.summary.url}?step={RUN_LOG}"
        result.append(Row("Output of the run", url, view.summary.state, "", "", None, 0, 0, 0, selected is None, False))
    for step, placed in zip(view.steps, joined.steps, strict=True):
        chosen = selected is not None and step.key == selected.key
        start, width = stepbars.bar(placed, axis, now)
        result.append(Row(
            step.name, f"{view.summary.url}?step={quote(names[step.key])}", step.state, state_word(step.state),
            times.duration(_length(step, now)),
            _since(step), start, width, step.attempt, chosen,
            step.state == "passed" and passed >= FOLD_FROM and not chosen, step.origin.number if step.origin else None,
            _length(step, now),
            step.reused.number if step.reused else None, losses.only_lost(step),
        ))  # fmt: skip
    return result


def result(view: RunView) -> str:
    """Write what the code of a passed run returned, of a long result the beginning; "" if it returned nothing."""
    if view.summary.state != "passed" or view.result is None:
        return ""
    flat = json.dumps(view.result, ensure_ascii=False)
    text = as_json(view.result) if isinstance(view.result, str) or len(flat) > LONGEST_LINE else flat
    more = f"…\nThe whole result, {len(text):,} characters, is in /api/v1/runs/{view.summary.id}"
    return text if len(text) <= LONGEST_RESULT else text[:LONGEST_RESULT] + more


def legend(view: RunView) -> list[tuple[str, int]]:
    """How many steps are in each state, in a fixed order."""
    counts = Counter[str](step.state for step in view.steps)
    return [(state, counts[state]) for state in _ORDER if counts[state]]


def nodes(
    view: RunView, selected: StepView | None, now: float, expected: Expected | None = None,
    names: Mapping[str, str] | None = None,
) -> list[Node]:  # fmt: skip
    """The graph's nodes, each after all it needs; those that are expected come last."""
    names, seen, result = names or slugs(view.steps), set[str](), []
    for step in view.steps:
        seconds = _length(step, now)
        result.append(Node(
            step.key, step.name, step.state, f"{view.summary.url}?step={quote(names[step.key])}",
            tuple(n for n in step.needs if n in seen), times.duration(seconds),
            selected is not None and selected.key == step.key, seconds or 0.0,
            since=_since(step),
        ))  # fmt: skip
        seen.add(step.key)
    for one in expected.steps if expected else ():
        needs = tuple(need for need in one.needs if need in seen)
        result.append(Node(one.key, one.name, "expected", "", needs, _expected_time(one.seconds), seconds=one.seconds))
        seen.add(one.key)
    return result


def to_come(expected: Expected | None) -> list[tuple[str, str]]:
    """Names of the steps that are expected, and how long they took; many siblings of a matrix as one."""
    groups: dict[tuple[str, tuple[str, ...]], list[ExpectedStep]] = {}
    for one in expected.steps if expected else ():
        groups.setdefault((stem(one.name), one.needs), []).append(one)
    told: list[tuple[str, str]] = []
    for (label, _), members in groups.items():
        if len(members) >= SIBLINGS:
            told.append((f"{label} × {len(members)}", _expected_time(max(one.seconds for one in members))))
        else:
            told += [(one.name, _expected_time(one.seconds)) for one in members]
    return told


def _expected_time(seconds: float) -> str:
    return times.duration(seconds) if seconds else ""

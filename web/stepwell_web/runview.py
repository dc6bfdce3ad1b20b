"""What the run page shows beside the services' view of a run: rows on the time axis, the graph's nodes, the log."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from stepwell.ci.expected import Expected, ExpectedStep
from stepwell.ci.views import AttemptView, RunLink, RunView, StepView
from stepwell.errors import NotFound
from stepwell_web import logsearch, logview, losses, stepbars, stepwords, times
from stepwell_web.graph import SIBLINGS, Node, stem
from stepwell_web.logview import NO_LINES, Chunk, StepLog
from stepwell_web.stepwords import BUSY
from stepwell_web.templating import state_word

RUN_LOG = "run"
"""Slug of the run's own log: what its code printed outside steps."""
FOLD_FROM = 4
"""On a phone, so many passed steps or more are folded into one row."""
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


@dataclass(frozen=True)
class Shard:
    """A sibling or an attempt that the log's head offers."""

    label: str
    state: str
    word: str
    href: str
    selected: bool


@dataclass(frozen=True)
class Connections:
    """The connections of an attempt: (place, times, bytes sent, bytes received, why refused), and a line on them."""

    places: Sequence[tuple[str, int, int, int, str]]
    others: int  # connections to places that are not listed
    refused: bool
    about: str


@dataclass(frozen=True)
class Panel:
    """The selected step: its log, or what there is to say instead."""

    slug: str
    title: str
    state: str
    attempt: int
    count: int
    size: int
    open: bool
    url: str
    href: str
    raw: str
    about: str
    first_error: int | None
    chunks: Sequence[Chunk]
    shards: Sequence[Shard]
    shards_label: str
    error: Mapping[str, str] | None
    where: str
    facts: Sequence[tuple[str, str]]
    empty: str
    begun: float  # when its log begins
    services: Sequence[tuple[str, str]] = ()  # beside the step: name, address of its log
    child: tuple[str, str] | None = None  # the run that a call made: its name and its address
    origin: RunLink | None = None  # the run whose log this is, when it is another one
    reused: RunLink | None = None  # the run that did the work
    files: str = ""  # address of what it changed in its workspace, for those who may see it
    restart: str = ""  # key of the step from which the run can be restarted
    found: Markup | None = None  # quoted lines that contain `wanted`
    found_count: int = 0
    wanted: str = ""
    awaits: str = ""  # type of the event that it waits for
    until: float | None = None  # when a sleep is over
    connections: Connections | None = None  # that the attempt shown asked for
    lost: str = ""  # what is to say of attempts that were lost


@dataclass(frozen=True)
class Shown:
    """What the address asks of a log: lines to point out, counted from 1, and a text to find."""

    start: int | None = None
    end: int | None = None
    find: str = ""

    @property
    def lines(self) -> range:
        """The lines to point out."""
        return range(self.start, max(self.start, self.end or self.start) + 1) if self.start else NO_LINES


NOTHING_SHOWN = Shown()


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


def panel(view: RunView, step: StepView, log: StepLog, attempt: int, shown: Shown) -> Panel:
    """The panel of a step's attempt."""
    slug = slugs(view.steps)[step.key]
    count = log.line_count
    error_line = logview.first_error(log, count) if step.state in ("failed", "retrying") and count else None
    tried = next((a for a in reversed(step.attempts) if a.number == attempt), None)
    state = tried.state if tried and not (tried is step.attempts[-1] and losses.goes_on(step)) else step.state
    last = attempt == step.attempt
    error = (tried.error if tried and not last else step.error) if state in ("failed", "retrying") else None
    open_ = last and step.state in ("queued", "running", "retrying") and step.kind in ("run", "do")
    address = f"{view.summary.url}?step={quote(slug)}&attempt={attempt}"
    hits = shown.lines or (range(error_line, error_line + 1) if error_line else NO_LINES)
    several = len({one.number for one in step.attempts}) > 1
    shards = _attempts(view, step, attempt) if several else _siblings(view, step)
    return Panel(
        slug=slug, title=step.name, state=state, attempt=attempt, count=count, size=log.size,
        open=open_,
        url=view.summary.url, href=address, raw=address.replace("?", "/raw?", 1),
        about=stepwords.about(view, step),
        first_error=error_line, chunks=logview.chunks(log, slug, count, hits, grows=open_),
        shards=shards, shards_label="Attempts" if several else "Siblings", error=error, where=step.where,
        facts=stepwords.facts(step, count), empty=stepwords.empty(step), child=stepwords.child(view, step),
        begun=(tried.started_at if tried else None) or step.started_at or step.asked_at,
        origin=step.origin, reused=step.reused, files=_files(view, step, slug),
        services=_service_logs(view, step, slug, attempt),
        restart=step.key if view.summary.finished and view.may_write else "",
        awaits=_awaited(view, step), until=step.due if stepwords.sleeps(step) else None,
        connections=_connections(tried), lost=losses.told(step, attempt), **_found(log, slug, address, shown),
    )  # fmt: skip


def _connections(tried: AttemptView | None) -> Connections | None:
    """The connections of an attempt; None when it asked for none, or its runner could not know."""
    told = tried.connections if tried else None
    if not told:
        return None
    places = []
    for one in told["places"]:
        host = f"[{one['host']}]" if ":" in one["host"] else one["host"]
        places.append((f"{host}:{one['port']}", one["count"], one["sent"], one["received"], one["refused"] or ""))
    count, refused = sum(one[1] for one in places) + told["others"], sum(one[1] for one in places if one[4])
    about = f"{count:,} connection{'' if count == 1 else 's'}" + (f", {refused:,} refused" if refused else "")
    return Connections(places, told["others"], bool(refused), about)


def _service_logs(view: RunView, step: StepView, slug: str, attempt: int) -> list[tuple[str, str]]:
    raw = f"{view.summary.url}/raw?attempt={attempt}&step="
    return [(name, raw + quote(f"{slug}@{name}")) for name in services(step)]


def _found(log: StepLog, slug: str, address: str, shown: Shown) -> dict[str, Any]:
    if not shown.find.strip():
        return {}
    found = logsearch.find(log, shown.find)
    quoted = logview.quoted(log, slug, found, address)
    return {"found": quoted, "found_count": found.count, "wanted": shown.find}


def _awaited(view: RunView, step: StepView) -> str:
    """The type of the event that somebody who looks at a step may send it."""
    open_ = step.kind == "event" and step.state == "waiting" and view.may_write
    return str(step.options.get("type") or "") if open_ else ""


def run_panel(view: RunView, log: StepLog, shown: Shown) -> Panel:
    """The panel of the run's own output."""
    count, run = log.line_count, view.summary
    address = f"{run.url}?step={RUN_LOG}"
    return Panel(
        slug=RUN_LOG, title="Output of the run", state=run.state, attempt=0, count=count, size=log.size,
        open=not run.finished,
        url=run.url, href=address, raw=address.replace("?", "/raw?", 1), about="", first_error=None,
        chunks=logview.chunks(log, RUN_LOG, count, shown.lines, grows=not run.finished),
        shards=(), shards_label="", error=None, where="", facts=(), empty="No output",
        begun=run.started_at or run.created_at, **_found(log, RUN_LOG, address, shown),
    )  # fmt: skip


def _files(view: RunView, step: StepView, slug: str) -> str:
    return f"{view.summary.url}/files?step={quote(slug)}" if step.layer and view.may_write else ""


def _attempts(view: RunView, step: StepView, attempt: int) -> list[Shard]:
    return [
        Shard(f"try {a.number}", a.state, a.state, href(view, step, a.number), a.number == attempt)
        for a in {one.number: one for one in step.attempts}.values()
    ]


def _siblings(view: RunView, step: StepView) -> list[Shard]:
    """The steps that the graph draws in one box with this one."""
    same = [s for s in view.steps if s.needs == step.needs and stem(s.name) == stem(step.name)]
    if not SIBLINGS <= len(same) <= 12:
        return []
    cut = len(stem(step.name))
    return [
        Shard(s.name[cut:].strip(" :-/()[]") or s.name, s.state, state_word(s.state), href(view, s), s.key == step.key)
        for s in same
    ]

"""The panel of the open step: its log, or what there is to say instead, and what belongs to the attempt shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from stepwell.ci.views import AttemptView, RunLink, RunView, StepView
from stepwell_web import logsearch, logview, losses, stepwords
from stepwell_web.graph import SIBLINGS, stem
from stepwell_web.logview import NO_LINES, Chunk, StepLog
from stepwell_web.runview import RUN_LOG, href, services, slugs
from stepwell_web.templating import state_word


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

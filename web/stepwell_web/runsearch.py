"""Runs whose logs contain a text, the newest first: as many as can be looked through in a moment.

There is no index: logs are read as they are, a run after the other, until the moment is over or a page is full. The
rest is a further page's. A single run has the whole moment; of one with more output than that, the rest is left out and
this is said.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore
from urllib.parse import quote

from stepwell.ci.history import cursor_after
from stepwell.ci.runs import Runs
from stepwell.ci.views import Page, RunSummary, RunView
from stepwell.errors import TryLater
from stepwell.store.log_files import Log, LogName
from stepwell.store.logs import log_key, round_key
from stepwell.tenants.actors import Actor
from stepwell_web import ansi, logsearch
from stepwell_web.runview import RUN_LOG, href, services, slugs

RUNS = 20
"""Of a page."""
LOGS = 5
"""That are quoted of a run."""
LINES = 3
"""That are quoted of a log."""
LEAST = 2
"""Characters of a text that is looked for."""
BEFORE, AFTER = 80, 160
"""Characters of a long line around what was found."""
_LISTED = 100  # at a time
_SECONDS = 1.0
_AT_ONCE = 2
_WAIT_SECONDS = 5.0

Listed = Callable[[str | None], Page[RunSummary]]
"""Gives a page of the runs that are looked through, by its cursor."""


@dataclass(frozen=True)
class FoundLine:
    """A line, counted from 1, in the parts before, with and after the text."""

    number: int
    href: str
    parts: tuple[str, str, str]


@dataclass(frozen=True)
class FoundLog:
    """A log of a run with how many lines were found in it, and the first of them."""

    title: str
    key: str
    attempt: int
    href: str
    count: int
    lines: tuple[FoundLine, ...]


@dataclass(frozen=True)
class FoundRun:
    """A run with the logs in which something was found; `more` are not quoted."""

    run: RunSummary
    logs: tuple[FoundLog, ...]
    more: int


@dataclass(frozen=True)
class Searched:
    """What was found, how many runs were looked through and back to when, and where the rest begins, if there is."""

    runs: tuple[FoundRun, ...]
    looked: int
    oldest: float | None
    rest: str | None
    cut: tuple[RunSummary, ...]  # runs of whose output only the beginning was looked through


class RunSearch:
    """Looks through logs, for few at a time: it is work, and others' pages and steps go on beside it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = BoundedSemaphore(_AT_ONCE)

    def find(self, runs: Runs, actor: Actor, text: str, listed: Listed, cursor: str | None) -> Searched:
        """Look through the logs of the listed runs from the cursor on. Raises TryLater, and what `listed` raises."""
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            raise TryLater("Others are searching logs at the moment. Try again in a few seconds.", retry_after=5)
        try:
            return self._find(runs, actor, text, listed, cursor)
        finally:
            self._free.release()

    def _find(self, runs: Runs, actor: Actor, text: str, listed: Listed, cursor: str | None) -> Searched:
        end = self._clock() + _SECONDS
        found: list[FoundRun] = []
        looked: list[RunSummary] = []
        cut = False
        for run in _all(listed, cursor):
            hits = _Hits(text, lambda: self._clock() > end)
            hits.look(runs.logs(actor, run.id))
            if hits.cut and looked:
                break
            looked.append(run)
            if hits.found:
                found.append(hits.told(runs.get(actor, run.id)))
            cut = hits.cut
            if cut or len(found) == RUNS:
                break
        else:
            return Searched(tuple(found), len(looked), looked[-1].created_at if looked else None, None, ())
        last = looked[-1]
        return Searched(tuple(found), len(looked), last.created_at, cursor_after(last), (last,) if cut else ())


def listing(
    runs: Runs, actor: Actor, *, tenant: str | None, repository: str | None, state: str | None, pipeline: str | None,
    branch: str | None,
) -> Listed:  # fmt: skip
    """Give the runs that the actor may see, the newest first, narrowed as said."""

    def listed(cursor: str | None) -> Page[RunSummary]:
        return runs.list(
            actor, tenant=tenant, repository=repository, state=state, pipeline=pipeline, branch=branch, cursor=cursor,
            limit=_LISTED,
        )  # fmt: skip

    return listed


def _all(listed: Listed, cursor: str | None) -> Iterator[RunSummary]:
    while True:
        page = listed(cursor)
        yield from page.items
        if not page.next:
            return
        cursor = page.next


class _Until:
    """A log that ends when the time is over."""

    def __init__(self, log: Log, over: Callable[[], bool]) -> None:
        self._log = log
        self._over = over
        self.cut = False

    def read(self, offset: int = 0, limit: int = 65536) -> bytes:
        self.cut = self._over()
        return b"" if self.cut else self._log.read(offset, limit)


class _Hits:
    """What is found in the logs of one run."""

    def __init__(self, text: str, over: Callable[[], bool]) -> None:
        self._text = text
        self._over = over
        self.found: dict[str, tuple[Log, logsearch.Found]] = {}
        self.cut = False

    def look(self, logs: Mapping[str, Log]) -> None:
        for name, log in logs.items():
            bounded = _Until(log, self._over)
            hits = logsearch.find(bounded, self._text, LINES)
            if hits.count:
                self.found[name] = log, hits
            if bounded.cut:
                self.cut = True
                return

    def told(self, view: RunView) -> FoundRun:
        """Give the logs their names and addresses, in the order of the steps."""
        places = _places(view)
        known = [name for name in places if name in self.found]
        logs = [self._quoted(places[name], *self.found[name]) for name in known[:LOGS]]
        return FoundRun(view.summary, tuple(logs), len(self.found) - len(logs))

    def _quoted(self, place: "_Place", log: Log, hits: logsearch.Found) -> FoundLog:
        lines = [
            FoundLine(number, place.line(number), split(ansi.plain(one.text.decode(errors="replace")), self._text))
            for number in hits.lines
            for one in log.lines(number - 1, 1)
        ]
        return FoundLog(place.title, place.key, place.attempt, place.found(self._text), hits.count, tuple(lines))


def split(line: str, text: str) -> tuple[str, str, str]:
    """Cut a line before and after the text, which is there in any case, and what is far from it off."""
    folded = line.casefold()
    at = folded.find(text.casefold()) if len(folded) == len(line) else line.find(text)
    if at < 0:  # its beginning alone was kept, or letters have other lengths in another case
        return line[: BEFORE + AFTER], "", ""
    before, found, after = line[:at].lstrip(), line[at : at + len(text)], line[at + len(text) :].rstrip()
    before = f"…{before[-BEFORE:]}" if len(before) > BEFORE else before
    return before, found, f"{after[:AFTER]}…" if len(after) > AFTER else after


@dataclass(frozen=True)
class _Place:
    """Where a log is shown."""

    title: str
    key: str
    attempt: int
    href: str
    slug: str  # "" where lines have no address of their own

    def found(self, text: str) -> str:
        """Where all lines with the text can be walked through."""
        return f"{self.href}&find={quote(text)}" if self.slug else self.href

    def line(self, number: int) -> str:
        return f"{self.href}&from={number}#{quote(self.slug)}:{number}" if self.slug else self.href


def _places(view: RunView) -> dict[str, _Place]:
    """Give the places of the logs that a run has written, by the names of their files."""
    run = view.summary
    places = {LogName(run.id, "", 0).file: _Place("Output of the run", "", 0, f"{run.url}?step={RUN_LOG}", RUN_LOG)}
    names = slugs(view.steps)
    for step in view.steps:
        numbers = sorted({one.number for one in step.attempts} | {step.attempt or 1}) if step.origin is None else ()
        for number in numbers:
            again = f", try {number}" if len(numbers) > 1 else ""
            address = href(view, step, number)
            file = LogName(run.id, step.key, number).file
            places[file] = _Place(f"{step.name}{again}", step.key, number, address, names[step.key])
            for service in services(step):
                key, slug = log_key(step.key, service), f"{names[step.key]}@{service}"
                place = _raw(run, key, slug, number, f"{step.name}, {service}{again}")
                places[LogName(run.id, key, number).file] = place
    for one in view.rounds:
        key = round_key(one.number)
        places[LogName(run.id, key, 0).file] = _raw(run, key, key, 0, f"Output of round {one.number}")
        for past in one.steps:
            for number in range(1, past.attempt + 1):
                file = LogName(run.id, past.key, number).file
                title = f"{past.name}, round {one.number}"
                places.setdefault(file, _raw(run, past.key, past.key, number, title))
    return places


def _raw(run: RunSummary, key: str, slug: str, attempt: int, title: str) -> _Place:
    """Give the place of a log that no page shows by its lines."""
    return _Place(title, key, attempt, f"{run.url}/raw?step={quote(slug)}&attempt={attempt}", "")

"""Where a run's time went, read off its journal: a pure function of entries.

Each step has a lane of spans: queued, at work, between tries, waiting for a person, for a time or an event. Each moment
of the run as a whole is of one kind, the first of `KINDS` that any lane is in, so that the kinds' seconds add up to the
run's. Moments in which no step is open at all are the code's own: its isolate boots, replays and goes on.

A restarted run begins with what it adopted. The time between that and the restart is nobody's, and is cut: what was
adopted is moved up to the restart, and keeps its length.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.engine.ancestry import Ancestry
from stepwell.engine.entries import Entry

Kind = Literal["work", "paused", "queued", "retry", "person", "wait", "code"]
KINDS: tuple[Kind, ...] = ("work", "paused", "queued", "retry", "person", "wait", "code")
"""The most telling first: while one step works, the run is at work, whatever its other steps wait for."""


@dataclass(frozen=True)
class Span:
    """A stretch of one kind; `outcome` of work: passed, failed, lost, cancelled, or running."""

    kind: Kind
    start: float
    end: float
    attempt: int = 0
    outcome: str = ""


@dataclass(frozen=True)
class Lane:
    """A step's spans, in order."""

    key: str
    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Timeline:
    """A run's time: lanes of its steps in the order asked, and the run's own stretches, which leave no moment out."""

    begin: float
    end: float
    lanes: tuple[Lane, ...]
    stretches: tuple[Span, ...]
    seconds: Mapping[Kind, float]  # sums up to end - begin
    adopted: float = 0.0  # seconds at the beginning that another run lived through


def timeline(entries: Iterable[Entry], now: float) -> Timeline:
    """Read a journal, whole and from its first entry; what is not over goes on until `now`."""
    entries = list(entries)
    ancestry, gaps = _ancestry(entries), _gaps(entries)
    moved = sum(gaps.values())
    reading = _Reading(entries[0].at + moved if entries else 0.0)
    for entry in entries:
        reading.read(entry._replace(at=entry.at + moved))
        if entry.seq in gaps:
            reading.restart(entry.at + moved)
            moved -= gaps[entry.seq]
    end = reading.over(now + moved)
    lanes = tuple(Lane(key, name, tuple(reading.spans[key])) for key, name in reading.names.items())
    own = stretches(reading.begin, end, [span for spans in reading.spans.values() for span in spans])
    seconds: dict[Kind, float] = {}
    for one in own:
        seconds[one.kind] = seconds.get(one.kind, 0.0) + one.end - one.start
    adopted = max(0.0, ancestry.at - reading.begin) if ancestry else 0.0
    return Timeline(reading.begin, end, lanes, own, seconds, adopted)


def _ancestry(entries: Sequence[Entry]) -> Ancestry | None:
    first = entries[0] if entries else None
    return Ancestry.of_json(first.data.get("ancestry")) if first and first.type == "created" else None


def _gaps(entries: Sequence[Entry]) -> dict[int, float]:
    """By the last entry that each earlier run lived through: the seconds until its successor went on."""
    ancestry = _ancestry(entries)
    found: dict[int, float] = {}
    for _, until in ancestry.origins if ancestry else ():
        assert ancestry is not None
        later = (entry.at for entry in entries[until : ancestry.until] if entry.type in _TAKE)
        on = ancestry.at if until == ancestry.until else next(later, None)
        if on is not None:
            found[until] = max(0.0, on - entries[:until][-1].at)
    return found


@dataclass
class _Open:
    """A span that has not ended."""

    kind: Kind
    start: float
    attempt: int = 0


_RUN = ""
"""Key of what the run as a whole is in: held back, paused."""


@dataclass
class _Reading:
    """What has been read so far."""

    begin: float = 0.0
    ended: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    open: dict[str, _Open] = field(default_factory=dict)
    inline: set[str] = field(default_factory=set)  # steps without an ask of their own
    waits: set[str] = field(default_factory=set)  # steps that may not begin before a time

    def read(self, entry: Entry) -> None:
        """Go one entry further; types that say nothing of time are passed over."""
        take = _TAKE.get(entry.type)
        if take and not entry.key.startswith("~") and self.ended is None:
            data = entry.data if isinstance(entry.data, Mapping) else {}
            take(self, entry, data)

    def restart(self, at: float) -> None:
        """Begin anew what another run left open: what became of it there is not known here."""
        for span in self.open.values():
            span.start = at

    def over(self, now: float) -> float:
        """End what is still open; return the run's end."""
        end = max(self.begin, self.ended if self.ended is not None else now)
        for key in list(self.open):
            self.close(key, end, "cancelled" if self.ended is not None else "running")
        return end

    def begin_span(self, key: str, kind: Kind, at: float, attempt: int = 0) -> None:
        self.close(key, at)
        self.open[key] = _Open(kind, at, attempt)

    def close(self, key: str, at: float, outcome: str = "") -> None:
        span = self.open.pop(key, None)
        if span is not None and at > span.start:
            told = outcome if span.kind == "work" else ""
            self.spans.setdefault(key, []).append(Span(span.kind, span.start, at, span.attempt, told))

    def step(self, entry: Entry, data: Mapping[str, Any]) -> None:
        """Meet a step, which for an inline one is when it is over."""
        inline = data.get("inline") or {}
        if inline:
            self.inline.add(entry.key)
        self.names.setdefault(entry.key, str(data.get("name") or inline.get("name") or entry.key.rpartition("#")[0]))
        self.spans.setdefault(entry.key, [])

    def worked(self, entry: Entry, data: Mapping[str, Any], outcome: str) -> None:
        """End an attempt; that of an inline step is told of only now."""
        self.step(entry, data)
        span = self.open.get(entry.key)
        if span is not None and span.kind == "work":
            self.close(entry.key, entry.at, outcome)
            return
        start = max(self.begin, entry.at - float(data.get("seconds") or 0.0))
        inline = entry.key in self.inline
        self.close(entry.key, start if inline else entry.at)
        if inline and entry.at > start:
            self.spans[entry.key].append(Span("work", start, entry.at, entry.attempt, outcome))


_Data = Mapping[str, Any]
_ASKED: Mapping[str, Kind] = {
    "approval": "person", "sleep": "wait", "event": "wait", "run": "queued", "read": "queued", "image": "queued",
    "call": "queued", "binding": "work",
}  # fmt: skip


def _created(reading: _Reading, entry: Entry, data: _Data) -> None:
    if data.get("held"):
        reading.begin_span(_RUN, "queued", entry.at)


def _asked(reading: _Reading, entry: Entry, data: _Data) -> None:
    kind = _ASKED.get(str(data.get("kind")))
    if kind is not None:
        reading.step(entry, data)
        if kind == "queued" and data.get("due") is not None:
            kind = "wait"
            reading.waits.add(entry.key)
        reading.begin_span(entry.key, "person" if data.get("held") else kind, entry.at)


def _released(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.step(entry, data)
    reading.begin_span(entry.key, "wait" if entry.key in reading.waits else "queued", entry.at)


def _started(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.step(entry, data)  # its ask may stand in the journal of the run that this one went on from
    reading.begin_span(entry.key, "work", entry.at, entry.attempt)


def _fired(reading: _Reading, entry: Entry, data: _Data) -> None:
    span = reading.open.get(entry.key)
    waited = entry.key in reading.waits
    reading.waits.discard(entry.key)
    if waited and span is not None and span.kind == "person":
        return  # who has not agreed yet
    if span is not None and (waited or span.kind == "retry"):
        reading.begin_span(entry.key, "queued", entry.at)
    else:
        reading.close(entry.key, entry.at)


def _retry(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.worked(entry, data, "failed")
    reading.begin_span(entry.key, "retry", entry.at)


def _lost(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.worked(entry, data, "lost")
    reading.begin_span(entry.key, "queued", entry.at)


def _done(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.worked(entry, data, "passed" if data.get("ok") else "failed")


def _ended(reading: _Reading, entry: Entry, data: _Data) -> None:
    reading.ended = entry.at


_TAKE: Mapping[str, Callable[[_Reading, Entry, _Data], None]] = {
    "created": _created,
    "admitted": lambda reading, entry, _: reading.close(_RUN, entry.at),
    "asked": _asked,
    "released": _released,
    "started": _started,
    "called": _started,
    "retry": _retry,
    "lost": _lost,
    "fired": _fired,
    "took": lambda reading, entry, _: reading.close(entry.key, entry.at),
    "done": _done,
    "dropped": lambda reading, entry, _: reading.close(entry.key, entry.at, "cancelled"),
    "paused": lambda reading, entry, _: reading.begin_span(_RUN, "paused", entry.at),
    "resumed": lambda reading, entry, _: reading.close(_RUN, entry.at),
    "ended": _ended,
}


def stretches(begin: float, end: float, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Divide a run's time by the most telling kind that is open at each moment."""
    edges: list[tuple[float, int, Kind]] = []
    for span in spans:
        edges += [(span.start, 1, span.kind), (span.end, -1, span.kind)]
    edges.sort(key=lambda edge: edge[0])
    found: list[Span] = []
    going: Counter[Kind] = Counter()
    at = begin
    for moment, change, kind in [*edges, (end, 0, "code")]:
        upto = min(max(moment, begin), end)
        if upto > at:
            first: Kind = next((one for one in KINDS if going[one] > 0), "code")
            if found and found[-1].kind == first:
                found[-1] = Span(first, found[-1].start, upto)
            else:
                found.append(Span(first, at, upto))
            at = upto
        going[kind] += change
    return tuple(found)

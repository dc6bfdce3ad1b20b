"""What happens now, brought from the engine's and the log store's threads to every open browser.

Nothing here is the truth: a topic only says that something is new. Readers fetch it from the journal or the log file by
the number they have already seen, so a stream that was cut, a ring that overflowed and a laptop that slept are the
same case. What many viewers of one thing need is made once: an entry is encoded, a log line rendered, for all of them.

Threads post without waiting: posts gather in a queue and one call wakes the web's loop for all of them. Topics exist
only while somebody listens; a post to any other is dropped at once.
"""

import asyncio
import json
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from stepwell.engine.entries import Entry
from stepwell.engine.specs import Note
from stepwell.engine.state import RunState
from stepwell_web import logview
from stepwell_web.logview import StepLog

RING = 512
"""Entries of a run kept for its viewers; who is further behind reads the journal."""
BATCH_LINES = 2_000
LATEST = frozenset({"created", "admitted", "ended", "decision", "released", "cancel", "paused", "resumed"})
"""Entries that change what lists of runs and the inbox show."""


class Grown(Protocol):
    """A log that has grown."""

    @property
    def run(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def ended(self) -> bool: ...


class Subscription:
    """Somebody who listens to some topics; woken once however much happened."""

    def __init__(self, hub: "Hub", topics: Iterable[str]) -> None:
        self.topics = tuple(topics)
        self.noted = False  # something changed that the journal does not tell: a step began to be seen
        self._hub = hub
        self._new = False
        self._waiter: asyncio.Future[None] | None = None  # a bare one: a thousand are woken for one event
        self._until = 0.0  # when the wait is over, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None  # lives on when a wait ends early: most waits do

    def wake(self, noted: bool = False) -> None:
        """Say that something is new."""
        self.noted = self.noted or noted
        self._new = True
        self._end_wait()

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait until something is new; False when the time is over first."""
        if not self._new:
            loop = asyncio.get_running_loop()
            self._waiter, self._until = loop.create_future(), loop.time() + seconds
            if self._timer is None or self._timer.when() > self._until:
                self._set_timer(loop)
            await self._waiter
        new, self._new = self._new, False
        return new

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._until, self._is_over, loop)

    def _is_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the wait, unless it is a later one than the timer was set for."""
        self._timer = None
        if self._waiter is not None and not self._waiter.done():
            if self._until > loop.time():
                self._set_timer(loop)
            else:
                self._end_wait()

    def end(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> "Subscription":
        self._hub.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._hub.drop(self)


class Hub:
    """Topics and who listens to them; `post` and `close` may be called from any thread, the rest on the web's loop."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[str, set[Subscription]] = {}
        self._entries: dict[str, deque[tuple[int, bytes]]] = {}
        self._tails: dict[str, Tail] = {}
        self._heads: dict[str, Head] = {}
        self._told: Counter[str] = Counter()  # of topics of tenants only: one number for each
        self._telling = threading.Lock()
        self._life = secrets.token_hex(4)  # what was counted before a restart says nothing now
        self._posted: deque[tuple[str, Entry | Note | None, bool, Head | None]] = deque()
        self._scheduled = False

    def start(self) -> None:
        """Bind to the running loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End every stream: each reader is woken and finds the hub closed. May be called from any thread."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for subscription in {s for group in self._listeners.values() for s in group}:
            subscription.wake()

    def subscribe(self, *topics: str) -> Subscription:
        """Listen to topics, inside a `with`."""
        return Subscription(self, topics)

    def add(self, subscription: Subscription) -> None:
        """Begin to wake a subscription."""
        for topic in subscription.topics:
            self._listeners.setdefault(topic, set()).add(subscription)

    def drop(self, subscription: Subscription) -> None:
        """End waking it; a topic without listeners is forgotten."""
        for topic in subscription.topics:
            group = self._listeners.get(topic, set())
            group.discard(subscription)
            if not group:
                for kept in (self._listeners, self._entries, self._tails, self._heads):
                    kept.pop(topic, None)

    def tell(self, topic: str) -> None:
        """Say that a topic has news, and count it whether or not somebody listens."""
        with self._telling:
            self._told[topic] += 1
        self.post(topic)

    def told(self, topics: Iterable[str]) -> str:
        """Name how much news of these topics was told; a page made at another has missed some of it."""
        return f"{self._life}-{sum(self._told[topic] for topic in topics)}"

    def post(
        self, topic: str, news: Entry | Note | None = None, ended: bool = False, head: "Head | None" = None
    ) -> None:
        """Say that a topic has news; entries are kept for who reads them, `ended` says that a log grows no more."""
        if topic not in self._listeners or self._loop is None:
            return
        self._posted.append((topic, news, ended, head))
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the web's loop has ended; its streams with it
                self._loop = None

    def _deliver(self) -> None:
        self._scheduled = False
        woken: dict[Subscription, bool] = {}
        while self._posted:
            topic, news, ended, head = self._posted.popleft()
            if topic not in self._listeners:
                continue
            if isinstance(news, Entry):
                self._entries.setdefault(topic, deque(maxlen=RING)).append((news.seq, encode(news)))
            if head is not None:
                self._heads[topic] = head
            if ended and topic in self._tails:
                self._tails[topic].ended = True
            for subscription in self._listeners[topic]:
                woken[subscription] = isinstance(news, Note) or woken.get(subscription, False)
        for subscription, noted in woken.items():
            subscription.wake(noted)

    def entries(self, topic: str, after: int) -> list[tuple[int, bytes]] | None:
        """Entries after `after` as encoded events; None when some are missing here and the journal must be read."""
        ring = self._entries.get(topic)
        if not ring or ring[-1][0] <= after:
            return []
        if ring[0][0] > after + 1:
            return None
        return [item for item in ring if item[0] > after]

    def head(self, topic: str, known: "Head") -> "Head":
        """Where a run is by now, for who has seen it at `known` and listens since."""
        found = self._heads.get(topic, known)
        return found if found.seq > known.seq else known

    def tail(self, topic: str, make: "Callable[[], Tail]") -> "Tail":
        """The shared end of a log; made by its first viewer, forgotten with the last."""
        return self._tails.setdefault(topic, make())


class Head(NamedTuple):
    """Where a run is: its last entry, and whether it is over or has not begun."""

    seq: int
    finished: bool
    queued: bool


class Tail:
    """The end of a log, rendered once for all who follow it."""

    def __init__(self, log: StepLog, slug: str, start: int) -> None:
        self.log = log
        self.slug = slug
        self.ended = False
        self._lock = asyncio.Lock()
        self._end = start
        self._pieces: deque[tuple[int, int, str]] = deque(maxlen=64)

    async def after(self, line: int) -> list[tuple[int, str]]:
        """Return what follows line `line` as (number of the last line, HTML); empty when there is nothing new."""
        async with self._lock:
            await asyncio.to_thread(self._advance)
        pieces = [p for p in self._pieces if p[1] > line]
        if not pieces or pieces[0][0] == line:
            return [(end, html) for _, end, html in pieces]
        return await asyncio.to_thread(self._between, line)

    def _advance(self) -> None:
        count = self.log.line_count if self.ended else logview.complete(self.log)
        while self._end < count:
            step = min(BATCH_LINES, count - self._end)
            self._pieces.append((self._end, self._end + step, logview.page(self.log, self.slug, self._end, step)))
            self._end += step

    def _between(self, line: int) -> list[tuple[int, str]]:
        step = min(BATCH_LINES, self._end - line)
        return [(line + step, logview.page(self.log, self.slug, line, step))] if step > 0 else []


@dataclass(frozen=True)
class Feeds:
    """Brings news of the engine and of the log store to a hub. Its methods are called on their threads."""

    hub: Hub

    def news(self, news: Entry | Note, state: RunState | None) -> None:
        """Take an entry just committed, or a note of something passing."""
        if isinstance(news, Note):
            of_plan = state is not None and bool(state.metadata.get("plan"))  # its page offers to kill its process
            if news.type == "running" or (news.type == "turn" and of_plan):
                self.hub.post(run_topic(news.run), news)
                if state is not None:
                    self.hub.tell(notes_topic(state.tenant))
            return
        over = news.type == "ended"
        head = Head(news.seq, state.finished if state else over, state is not None and state.state == "queued")
        self.hub.post(run_topic(news.run), news, head=head)
        if state is not None and (news.type in LATEST or news.seq < 4 or (news.type == "asked" and state.approvals)):
            self.hub.tell(tenant_topic(state.tenant))

    def grown(self, grown: Grown) -> None:
        """Take a log that has grown."""
        self.hub.post(log_topic(grown.run, grown.key, grown.attempt), ended=grown.ended)


def run_topic(run: str) -> str:
    """Topic of everything about a run but its logs."""
    return f"run:{run}"


def tenant_topic(tenant: str) -> str:
    """Topic of what lists of a tenant's runs show."""
    return f"tenant:{tenant}"


def notes_topic(tenant: str) -> str:
    """Topic of what runs of a tenant show and their journals do not tell."""
    return f"notes:{tenant}"


def log_topic(run: str, key: str, attempt: int) -> str:
    """Topic of one log."""
    return f"log:{run}/{key}/{attempt}"


def encode(entry: Entry) -> bytes:
    """Write an entry as an event of a stream."""
    return event("entry", json.dumps(entry_json(entry), separators=(",", ":")), str(entry.seq))


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as the API shows it."""
    return {
        "seq": entry.seq,
        "at": entry.at,
        "type": entry.type,
        "key": entry.key,
        "attempt": entry.attempt,
        "data": entry.data,
    }


def event(name: str, data: str, id: str = "") -> bytes:
    """Write one event of a stream; line breaks in `data` are kept. The same short one goes to many viewers."""
    return _short_event(name, data, id) if len(data) < 100 else _event(name, data, id)


def _event(name: str, data: str, id: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\n{f'id: {id}' + chr(10) if id else ''}{lines}\n".encode()


_short_event = lru_cache(64)(_event)

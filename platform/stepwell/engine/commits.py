"""Group commit: everything that one iteration of the engine's loop brought is one transaction, then it is answered."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from stepwell.engine.clock import Clock
from stepwell.engine.entries import Entry, EntryType
from stepwell.engine.live import Live
from stepwell.errors import Conflict, TryLater
from stepwell.store.journal import Created, Journal, NewRun

_log = logging.getLogger(__name__)

OnCommitted = Callable[[Live, list[tuple[Entry, str]]], None]
OnDrafted = Callable[[Live, Entry], None]
"""May draft entries of other runs, which then are in the same transaction."""
OnRefused = Callable[[Live, str | None], None]
"""The run's drafts were not kept; the text says why the disk refused, None that the lease is another's."""


OnReleased = Callable[[str], None]
"""This run, which is held, is now the first of a queue."""


class Commits:
    """Collects drafts and writes them together. Nobody is told of an entry before its transaction is on disk."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.trouble = ""  # why the last transaction failed
        self._journal = journal
        self._clock = clock
        self._on_committed: OnCommitted
        self._on_refused: OnRefused
        self._on_drafted: OnDrafted
        self._on_released: OnReleased
        self._dirty: dict[Live, None] = {}
        self._new: list[tuple[NewRun, asyncio.Future[Created]]] = []
        self._planned = False
        self._moment: float | None = None

    def followed_by(
        self, on_committed: OnCommitted, on_refused: OnRefused, on_drafted: OnDrafted, on_released: OnReleased
    ) -> None:
        """Say what follows drafts and transactions; before the first of them."""
        self._on_committed = on_committed
        self._on_refused = on_refused
        self._on_drafted = on_drafted
        self._on_released = on_released

    def append(self, live: Live, kind: EntryType, key: str, data: Any, attempt: int = 0, *, ack: bool = False) -> Entry:
        """Draft an entry: the state has it at once, everybody else after the commit."""
        state = live.state
        at = max(self.now(), state.updated_at)
        turn = live.next_lease if live.turn is not None else 0
        entry = Entry(live.id, state.seq + 1, at, kind, key, attempt, turn, data)
        live.add(entry, ack)
        self.touch(live)
        self._on_drafted(live, entry)
        return entry

    def now(self) -> float:
        """Return the time that an entry drafted now would have, as far as the clock goes."""
        return self._clock.now() if self._moment is None else self._moment

    def hold_moment(self) -> None:
        """Give entries the same time until `release_moment`: what was said at once comes to pass at once."""
        self._moment = self._clock.now()

    def release_moment(self) -> None:
        """Give each entry its own time again."""
        self._moment = None

    def touch(self, live: Live) -> None:
        """Have the run's row written, with or without entries."""
        self._dirty[live] = None
        live.touched = True
        self._plan()

    def create(self, run: NewRun) -> asyncio.Future[Created]:
        """Plan a new run; the future is done when it is on disk."""
        done: asyncio.Future[Created] = asyncio.get_running_loop().create_future()
        self._new.append((run, done))
        self._plan()
        return done

    async def committed(self, live: Live) -> None:
        """Wait until everything drafted for the run is on disk. Raises TryLater when the disk refused it."""
        if live not in self._dirty:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live.waiters.append(waiter)
        await waiter

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write all drafts now."""
        self._planned = False
        batch, self._dirty = list(self._dirty), {}
        new, self._new = self._new, []
        if not batch and not new:
            return
        try:
            committed = self._journal.commit([live.write() for live in batch], [run for run, _ in new])
        except Exception as error:  # whatever it was: nothing was kept, and nobody may be told otherwise
            self._refuse(batch, new, error)
            return
        self.trouble = ""
        for created, (_, done) in zip(committed.created, new, strict=True):
            if not done.done():
                done.set_result(created)
        kept = [(live, live.written()) for live in batch if live.id not in committed.stale]
        for live, entries in kept:
            if live.turn is not None:
                live.turn.tell(entries)  # first of all: isolates go on while the rest follows here
        for live in batch:
            if live.id in committed.stale:
                self._settle(live, Conflict(f"Run {live.id!r} is played by another server."))
                self._on_refused(live, None)
        for live, entries in kept:
            self._settle(live, None)
            self._on_committed(live, entries)
        for run in committed.released:
            self._on_released(run)

    def _refuse(self, batch: list[Live], new: list[tuple[NewRun, asyncio.Future[Created]]], error: Exception) -> None:
        _log.error("The journal refused a transaction: %s", error)
        self.trouble = f"The journal cannot be written: {error}. Nothing is lost; it is tried again."
        for _, done in new:
            if not done.done():
                done.set_exception(TryLater(self.trouble, retry_after=5))
        for live in batch:
            self._settle(live, TryLater(self.trouble, retry_after=5))
            self._on_refused(live, self.trouble)

    def _settle(self, live: Live, error: Exception | None) -> None:
        waiters, live.waiters = live.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

"""What turns and attempts are handed: the seams, and the engine's own parts."""

import logging
from dataclasses import dataclass, field

from stepwell.engine.clock import Clock
from stepwell.engine.commits import Commits
from stepwell.engine.entries import Entry
from stepwell.engine.live import Live
from stepwell.engine.no_blobs import NoBlobs
from stepwell.engine.room import Room
from stepwell.engine.seams import Binding, BlobStore, Executor, Gate, Isolates, Loader, LogSink, Preparer
from stepwell.engine.slots import Slots
from stepwell.engine.specs import Limits, Note, Subscriber
from stepwell.store.journal import Journal

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Parts:
    """Shared by everything in one engine."""

    journal: Journal
    isolates: Isolates
    loader: Loader
    executor: Executor | None
    preparer: Preparer | None
    gate: Gate | None
    logs: LogSink
    clock: Clock
    limits: Limits
    commits: Commits
    room: Room
    step_slots: Slots
    subscribers: list[Subscriber]
    blobs: BlobStore = field(default_factory=NoBlobs)
    bindings: dict[str, Binding] = field(default_factory=dict)

    def tell(self, news: Entry | Note, live: Live | None) -> None:
        """Tell subscribers; a mistake of theirs must not cost a run its commit."""
        for subscriber in list(self.subscribers):
            try:
                subscriber(news, live.state if live else None)
            except Exception:
                _log.exception("A subscriber of the engine failed.")

"""Following one run: every entry of its journal once, in order, without a gap between what was and what comes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.specs import Note
from stepwell.engine.state import RunState
from stepwell.errors import NotFound

AHEAD = 1_000
"""Entries kept for a reader that is slower than its run; what goes beyond is read from disk again."""


async def follow(engine: Engine, run: str, after: int, ahead: int = AHEAD) -> AsyncGenerator[Entry, None]:
    """Give the entries above `after` as they are on disk, and end with the run's end.

    The engine is listened to before the disk is read, so nothing falls between the two; what both have is given once.
    Entries are counted without gaps, so a number that is not the next one says that the disk knows more.
    What stood in a round that `continue_as` has ended is gone: a reader that was away goes on with the round there is.
    Raises NotFound for no run, Unavailable when the engine stops.
    """
    arrived: deque[Entry] = deque(maxlen=ahead)
    news = asyncio.Event()

    def heed(told: Entry | Note, state: RunState | None) -> None:
        if told.run == run and isinstance(told, Entry):
            arrived.append(told)
            news.set()

    unsubscribe = engine.subscribe(heed)
    try:
        state = await engine.get(run)
        if state is None:
            raise NotFound(f"There is no run {run!r}.")
        if state.finished and state.seq <= after:
            return
        found = deque(await engine.journal(run, after))
        while True:
            while found:
                entry = found.popleft()
                after = entry.seq
                yield entry
                if entry.type == "ended":
                    return
            while arrived and arrived[0].seq <= after:
                arrived.popleft()
            if not arrived:
                news.clear()
                await engine.hear(news)
            elif arrived[0].seq == after + 1:
                found.append(arrived.popleft())
            else:
                found.extend(await engine.journal(run, after))
    finally:
        unsubscribe()

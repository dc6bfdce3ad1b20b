"""Layers of runs that have ended: kept for restarts, and let go of after a time.

A layer goes when no run stands on it any more; a run that was restarted stands on those that it adopted. What a crash
leaves between the note in the journal's file and the removal of the files is removed at the next start.
"""

import asyncio
from collections.abc import Sequence

from stepwell.engine.parts import Parts
from stepwell.store.journal import Ended

RUNS_AT_ONCE = 200
"""Runs looked at before others may use the engine's loop again."""


class KeptLayers:
    """Lets go of layers."""

    def __init__(self, parts: Parts) -> None:
        self.settled = asyncio.Lock()  # held from looking for a run's layers to noting who else stands on them
        self._parts = parts
        self._seen: Ended | None = None  # everything that ended before has been seen to
        self._busy = False

    async def let_go(self, ended_before: float) -> None:
        """Remove layers on which only runs stand that ended before; one call at a time does it."""
        if self._busy:
            return
        self._busy = True
        try:
            more = True
            while more:
                more = await self._some(ended_before)
        finally:
            self._busy = False

    async def drop(self, layers: Sequence[str]) -> None:
        """Remove those of the layers that a run has left behind on which no other stands."""
        free = [layer for layer in layers if not self._parts.journal.layer_in_use(layer)]
        if free and self._parts.executor is not None:
            await self._parts.executor.drop(free)

    async def _some(self, ended_before: float) -> bool:
        """See to the next runs; say whether there may be more."""
        journal, executor = self._parts.journal, self._parts.executor
        runs = journal.ended(self._seen, ended_before, RUNS_AT_ONCE)
        standing = [run.id for run in runs if run.stands]
        if standing:
            async with self.settled:
                free = journal.let_go(standing)
            if executor is not None:
                await executor.drop(free)
        self._seen = runs[-1] if runs else self._seen
        await asyncio.sleep(0)  # others' turn on the loop
        return len(runs) == RUNS_AT_ONCE

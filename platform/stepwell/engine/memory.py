"""The runs in memory: taken up from the journal when something is to be done with them, forgotten when they rest."""

import logging
from collections.abc import Iterator

from stepwell.engine.garbage import collection_paused
from stepwell.engine.hearing import gated, holds
from stepwell.engine.live import Live, load
from stepwell.engine.parts import Parts
from stepwell.errors import Conflict, NotFound, Unavailable

_log = logging.getLogger(__name__)


class Memory:
    """Holds each run at most once. Belongs on the engine's loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: dict[str, Live] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    def __iter__(self) -> Iterator[Live]:
        return iter(self._runs.values())

    def known(self, run_id: str) -> Live | None:
        """Give a run if it is in memory already."""
        return self._runs.get(run_id)

    def keep(self, live: Live) -> None:
        """Hold a run that was just created."""
        self._runs[live.id] = live

    def load(self, run_id: str) -> Live | None:
        """Give a run, from the journal if need be; None when there is none. Raises Unavailable."""
        live = self._runs.get(run_id)
        if live is None:
            with collection_paused():
                loaded = self._parts.journal.load(run_id)
                if loaded is None:
                    return None
                live = load(run_id, loaded)
            self.keep_loaded(live)
        return live

    def keep_loaded(self, live: Live) -> None:
        """Hold a run that was loaded just now."""
        self._runs[live.id] = live
        self.regate(live)

    def take_up(self, run_id: str) -> Live | None:
        """Load a run that nobody asks for right now. One that cannot be read must not keep the others from going on."""
        try:
            return self.load(run_id)
        except Unavailable as error:
            _log.error("Run %s is set aside: %s", run_id, error)
            self._parts.journal.set_aside(run_id, str(error))
            return None

    def find(self, run_id: str) -> Live:
        """Give a run. Raises NotFound, Unavailable."""
        live = self.load(run_id)
        if live is None:
            raise NotFound(f"There is no run {run_id!r}.")
        return live

    def find_open(self, run_id: str) -> Live:
        """Give a run that has not ended. Raises NotFound, Conflict, Unavailable."""
        live = self.find(run_id)
        if live.state.finished:
            self.forget_idle(live)
            raise Conflict(f"Run #{live.state.number} has ended: it is {live.state.state}.")
        return live

    def regate(self, live: Live) -> None:
        """Release the steps that the gate holds no longer, and those that need not wait as long any more."""
        for key in list(live.state.approvals):
            step = live.state.steps[key]
            if step.held and not holds(live, step, self._parts):
                self._parts.commits.append(live, "released", key, {"by": "rules"})
        timed = [live.state.steps[key] for key in live.state.timers if key in live.state.steps]
        for step in timed:
            waits = step.kind == "run" and step.state == "waiting"
            if waits and gated(live, step, self._parts) == (False, None):
                self._parts.commits.append(live, "fired", step.key, None)

    async def settled(self, live: Live) -> None:
        """Wait until what was drafted for a run is on disk, and forget the run if it rests. Raises TryLater."""
        try:
            await self._parts.commits.committed(live)
        finally:
            self.forget_idle(live)

    def forget_idle(self, live: Live) -> None:
        """Drop a run when nothing goes on in it; one that waits for room is loaded again when it has it."""
        if not live.idle or self._runs.get(live.id) is not live:
            return
        waits = self._parts.room.waits(live.id) and live.wants_room
        if waits or not live.wants_turn:
            del self._runs[live.id]
        if not waits and not live.wants_turn:
            self._parts.room.leave(live.id)

    def lose(self, live: Live) -> None:
        """Drop a run whose drafts were not kept."""
        if self._runs.get(live.id) is live:
            del self._runs[live.id]

    def clear(self) -> None:
        """Drop all runs, as they are."""
        self._runs.clear()

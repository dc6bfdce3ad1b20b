"""What is due, fired: an entry in the journal of the run that waits for it.

A run with a long journal gets a head start, as when it is told an event: its timers are set aside until it is loaded,
and the loop, which the loading of such a journal would hold up, goes on with other things.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from stepwell.engine.head_start import HeadStarts
from stepwell.engine.live import Live
from stepwell.engine.memory import Memory
from stepwell.engine.parts import Parts
from stepwell.engine.timers import BUSY_SECONDS, Timers
from stepwell.errors import TryLater, Unavailable
from stepwell.store.journal import Due
from stepwell.store.queues import REMINDER

_log = logging.getLogger(__name__)


class Firing:
    """Fires timers. `remind` is told those of runs that wait to be admitted, `spawn` runs something beside."""

    def __init__(
        self, parts: Parts, memory: Memory, head_starts: HeadStarts, remind: Callable[[Live, float], None],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
    ) -> None:  # fmt: skip
        self.timers = Timers(parts.journal, parts.clock, self._fire)
        self._parts = parts
        self._memory = memory
        self._head_starts = head_starts
        self._remind = remind
        self._spawn = spawn
        self._ahead: dict[str, list[Due]] = {}  # run → its timers that wait until it is loaded

    def _fire(self, due: list[Due]) -> int:
        """Deal with due times, at least one of them and as many as can be in a moment; give their number."""
        begun, dealt_with = self._parts.clock.elapsed(), 0
        for timer in due:
            dealt_with += 1
            if not self._loads_ahead(timer):
                self._fire_one(timer)
            if self._parts.clock.elapsed() - begun >= BUSY_SECONDS:
                break
        self._parts.commits.flush()
        return dealt_with

    def _fire_one(self, timer: Due) -> None:
        live = self._memory.take_up(timer.run)
        if live is not None and timer.key == REMINDER:
            self._remind(live, timer.due)
        elif live is not None and timer.key in live.state.timers and not live.state.finished:
            self._parts.commits.append(live, "fired", timer.key, None)

    def _loads_ahead(self, timer: Due) -> bool:
        waiting = self._ahead.get(timer.run)
        if waiting is None:
            if timer.key == REMINDER or not self._head_starts.offers(timer.run):
                return False
            waiting = self._ahead[timer.run] = []
            self._spawn(self._fire_ahead(timer.run))
        waiting.append(timer)
        self.timers.set_aside(timer)
        return True

    async def _fire_ahead(self, run_id: str) -> None:
        fired: list[Due] = []
        try:
            async with self._head_starts.of(run_id):
                fired = self._ahead.pop(run_id)
                for timer in fired:
                    self._fire_one(timer)
                live = self._memory.known(run_id)
                if live is not None:
                    await self._memory.settled(live)
        except TryLater as error:
            _log.warning("What is due in run %s is tried again: %s", run_id, error)
        except Unavailable:
            self._memory.take_up(run_id)  # says so, and sets it aside
        finally:
            for timer in fired or self._ahead.pop(run_id):
                self.timers.dealt_with(timer)

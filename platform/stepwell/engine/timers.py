"""Due times: one alarm for the earliest of all, whose rows stay in the database until they are due.

Nothing is kept in memory per timer, so a million sleeping runs cost rows only. A clock set forward or back is noticed
by the clock's own handles (see clock.py), since what is compared is always the wall clock.
"""

from collections.abc import Callable

from stepwell.engine.clock import Clock, Handle
from stepwell.store.journal import Due, Journal

BATCH = 50
"""Timers read at a time."""
BUSY_SECONDS = 0.02
"""How long `fire` may go on with them before the loop gets to do something else: each may have a long journal."""
AGAIN_SECONDS = 1.0
"""Pause when a due timer could not be dealt with."""


class Timers:
    """Calls `fire` with what is due; `fire` commits before it returns, and says how many of them it has dealt with.

    One that takes its time is set aside, and told nobody again, until it is `dealt_with`.
    """

    def __init__(self, journal: Journal, clock: Clock, fire: Callable[[list[Due]], int]) -> None:
        self._journal = journal
        self._clock = clock
        self._fire = fire
        self._at: float | None = None
        self._alarm: Handle | None = None
        self._aside: set[Due] = set()
        self._running = False

    def start(self) -> None:
        """Read the earliest due time."""
        self._running = True
        self._look(self._clock.now())

    def stop(self) -> None:
        self._running = False
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._at = None

    def arm(self, due: float) -> None:
        """Heed a timer that was just committed."""
        if self._at is not None and self._at <= due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._at = due
        self._alarm = self._clock.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = self._at = None
        now = self._clock.now()
        due = self._due(now, BATCH)
        dealt_with = due[: self._fire(due)] if due else []
        first = self._due(now, 1)
        self._look(now + AGAIN_SECONDS if first and first[0] in dealt_with else now)

    def _due(self, now: float, limit: int) -> list[Due]:
        found = self._journal.due(now, limit + len(self._aside))
        return [one for one in found if one not in self._aside][:limit]

    def _look(self, not_before: float) -> None:
        earliest = self._journal.next_due()
        if self._aside:
            earliest = next((one.due for one in self._due(float("inf"), 1)), None)
        if earliest is not None:
            self.arm(max(earliest, not_before))

    def set_aside(self, one: Due) -> None:
        """Leave a due timer to whoever calls this."""
        self._aside.add(one)

    def dealt_with(self, one: Due) -> None:
        """Look at a timer again that was set aside: it is gone, or could not be dealt with."""
        self._aside.discard(one)
        if self._running:
            now = self._clock.now()
            self._look(now + AGAIN_SECONDS if one in self._journal.due(now, BATCH) else now)

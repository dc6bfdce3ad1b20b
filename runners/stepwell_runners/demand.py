"""How many isolates should stand ready, judged by when some were asked for.

A burst is what is asked for without a pause in which the pool is refilled. As many as the largest burst of
the last minutes had are wanted, since what comes in bursts comes again; never fewer than the usual number, and none
when nobody has asked for long. Each burst moves the bound by what it had and no more, so it needs no average.
"""

import time
from collections import deque
from collections.abc import Callable

QUIET_SECONDS = 0.05  # ends a burst; then the pool is refilled
_KEPT_SECONDS = 300.0  # for which a burst counts


class Demand:
    """Says how many are wanted: `least` as long as anybody asks, up to `most` after bursts, 0 after `idle_seconds`.

    `least` of 0 wants none at all.
    """

    def __init__(self, least: int, most: int, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.least = least
        self.most = max(least, most)
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._asked: float | None = None
        self._burst = 0
        self._bursts: deque[tuple[float, int]] = deque()  # ever later and ever smaller: what is hidden is forgotten

    def ask(self) -> None:
        """Note that one is asked for now."""
        now = self._clock()
        if self._asked is None or now - self._asked > QUIET_SECONDS:
            self._burst = 0
        self._asked = now
        self._burst = min(self._burst + 1, self.most)
        while self._bursts and self._bursts[-1][1] <= self._burst:
            self._bursts.pop()
        self._bursts.append((now, self._burst))

    def wanted(self) -> int:
        """How many should stand now."""
        now = self._clock()
        if not self.least or self._asked is None or now - self._asked >= self._idle_seconds:
            return 0
        while self._bursts and now - self._bursts[0][0] >= _KEPT_SECONDS:
            self._bursts.popleft()
        return max(self.least, self._bursts[0][1] if self._bursts else 0)

"""Whether an isolate that owes an answer gives none: its own watchdog may be the one that is broken.

Its silence does not count when this whole process was frozen: then so were its isolates, whose watchdogs cannot tell
that from code that does not yield.
"""

from collections.abc import Callable

from stepwell.engine.clock import Handle
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts


class Silence:
    """Watches one isolate and calls `on_silent` once it has been silent for too long. An executing step may be."""

    def __init__(self, live: Live, parts: Parts, on_silent: Callable[[], None]) -> None:
        self._live = live
        self._clock = parts.clock
        self._limits = parts.limits
        self._on_silent = on_silent
        self._heard_at = 0.0
        self._owes = False  # it was sent something and has not answered
        self._looked_at = 0.0
        self._thawed_at = float("-inf")  # when this process went on after it had stood still
        self._next: Handle | None = None

    def begin(self) -> None:
        """Watch from now on."""
        self._looked_at = self._clock.elapsed()
        self._look()

    def end(self) -> None:
        """Watch no more."""
        if self._next is not None:
            self._next.cancel()

    def sent(self) -> None:
        """Note that the isolate was sent something."""
        self._heard_at, self._owes = self._clock.elapsed(), True

    def heard(self) -> None:
        """Note that the isolate said something."""
        self._heard_at, self._owes = self._clock.elapsed(), False

    def is_frozen(self) -> bool:
        """Say whether this whole process stood still just now."""
        return self._is_late() or self._clock.elapsed() - self._thawed_at < self._limits.stall

    def _look(self) -> None:
        silence, now = self._limits.silence, self._clock.elapsed()
        if self._is_late():
            self._thawed_at = now
        self._looked_at = now
        if self._owes and now - max(self._heard_at, self._thawed_at) >= silence and not self._live.state.inflight:
            self._on_silent()
            return
        self._next = self._clock.call_later(silence / 2, self._look)

    def _is_late(self) -> bool:
        return self._clock.elapsed() - self._looked_at >= (self._limits.silence + self._limits.stall) / 2

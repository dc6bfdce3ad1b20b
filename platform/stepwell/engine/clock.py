"""Time, injected. Wall clock seconds since the epoch, since due times outlive the process that set them."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

CHECK_SECONDS = 10.0
"""How soon a jump of the wall clock is noticed: monotonic sleeps are never longer than this."""


class Handle(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Tells the time and calls back. `call_at` never calls before it returns, nor before `now()` has reached `when`."""

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle: ...


class RealClock:
    """The machine's wall clock, on the running event loop."""

    def now(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        return _RealHandle(when, callback)


class _RealHandle:
    """Looks at the wall clock again and again: a loop's own timers do not see it being set."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self._when = when
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._timer = self._sleep()

    def _sleep(self) -> asyncio.TimerHandle:
        return self._loop.call_later(min(max(0.0, self._when - time.time()), CHECK_SECONDS), self._look)

    def _look(self) -> None:
        if time.time() >= self._when:
            self._callback()
        else:
            self._timer = self._sleep()

    def cancel(self) -> None:
        self._timer.cancel()


class TestClock:
    """A clock that stands still until it is moved; a day passes in microseconds."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._now = start
        self._calls: list[tuple[float, int, _TestHandle]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        handle = _TestHandle(callback)
        heapq.heappush(self._calls, (when, next(self._order), handle))
        return handle

    def advance(self, seconds: float) -> None:
        """Let time pass, making each call that falls due at its own moment."""
        end = self._now + seconds
        while self._calls and self._calls[0][0] <= end:
            when, _, handle = heapq.heappop(self._calls)
            self._now = max(self._now, when)
            handle.run()
        self._now = end

    def jump(self, seconds: float) -> None:
        """Set the clock forward or back, as an operator would; calls now overdue are made at the new time."""
        self._now += seconds
        self.advance(0)

    def next_call(self) -> float | None:
        """When the next call is due."""
        while self._calls and self._calls[0][2].cancelled:
            heapq.heappop(self._calls)
        return self._calls[0][0] if self._calls else None


class _TestHandle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._callback()

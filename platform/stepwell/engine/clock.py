"""Time, injected: a wall clock for what outlives this process, and a clock that nobody sets for what does not.

Due times in the journal are wall clock seconds since the epoch. When an operator or NTP sets the clock, they are met as
the new time says; but an attempt has its hour, and cancelled code its grace, whatever is set meanwhile. Journal time
never goes back: for a run that had seen a later time it stands still until the wall clock has caught up, while its new
waits count from the wall clock.
"""

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
    """Tells the time and calls back, never before `call_at` or `call_later` has returned.

    `now` is the wall clock; `call_at` calls when it has reached `when`. `elapsed` counts seconds from no moment in
    particular and is never set; `call_later` calls when so many of them are over.
    """

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle: ...

    def elapsed(self) -> float: ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Handle: ...


async def pause(clock: Clock, seconds: float) -> None:
    """Wait so many seconds, whatever the wall clock is set to meanwhile."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    handle = clock.call_later(seconds, lambda: over.set_result(None))
    try:
        await over
    finally:
        handle.cancel()


class RealClock:
    """The machine's clocks, on the running event loop."""

    def now(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        return _RealHandle(when, callback)

    def elapsed(self) -> float:
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Handle:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)


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
        self._start = start  # what the wall clock said when `elapsed` was 0; moved by whoever sets the clock
        self._elapsed = 0.0
        self._calls: list[tuple[float, int, _TestHandle]] = []  # by wall clock
        self._delayed: list[tuple[float, int, _TestHandle]] = []  # by elapsed time
        self._order = itertools.count()

    def now(self) -> float:
        return self._start + self._elapsed

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        handle = _TestHandle(callback)
        heapq.heappush(self._calls, (when, next(self._order), handle))
        return handle

    def elapsed(self) -> float:
        return self._elapsed

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Handle:
        handle = _TestHandle(callback)
        heapq.heappush(self._delayed, (self._elapsed + max(0.0, seconds), next(self._order), handle))
        return handle

    def advance(self, seconds: float, stop: Callable[[], bool] = bool) -> None:
        """Let time pass until `stop` says so, making each call that falls due at its own moment."""
        end = self._elapsed + seconds
        while (due := self._first()) is not None and due[0] <= end:
            when, calls = due
            _, _, handle = heapq.heappop(calls)
            self._elapsed = max(self._elapsed, when)
            handle.run()
            if stop():
                return
        self._elapsed = end

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator would; calls now overdue are made at the new time."""
        self._start += seconds
        self.advance(0)

    def stand_still(self, seconds: float) -> None:
        """Let time pass while the whole machine is frozen: what falls due is late."""
        self._elapsed += seconds
        self.advance(0)

    def next_call(self) -> float | None:
        """When, by the wall clock, the next call is due."""
        first = self._first()
        return None if first is None else self._start + first[0]

    def _first(self) -> tuple[float, list[tuple[float, int, "_TestHandle"]]] | None:
        """The elapsed time of the next call, and the queue in which it stands."""
        for calls in (self._calls, self._delayed):
            while calls and calls[0][2].cancelled:
                heapq.heappop(calls)
        walls = [(self._calls[0][0] - self._start, self._calls)] if self._calls else []
        others = [(self._delayed[0][0], self._delayed)] if self._delayed else []
        return min(walls + others, key=lambda due: due[0], default=None)


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

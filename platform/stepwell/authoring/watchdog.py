"""Watches from a thread that the isolate's main thread comes back: code that never yields is reported with its line.

`run()` is stuck when one drain (or the import of the author's module) lasts `stall` seconds. A sample of the thread's
stack names the line; `while True: await asyncio.sleep(0)` spends its time in asyncio, so there the task's own stack
is read. A function that holds the interpreter lock for long, like a catastrophic regular expression, stops this
thread too: then faulthandler, which needs no lock, writes its dump into the socket and ends the process.
"""

import _thread
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Collection

from stepwell.authoring import places
from stepwell.authoring.loop import Loop
from stepwell.authoring.wire import Wire, encode

_HELD_LOCK_FACTOR = 2
"""The interpreter lock may be held this many times as long as run() may go without yielding."""

_sleep = time.sleep
_start = _thread.start_new_thread
_clock = time.monotonic


class Watchdog:
    """One daemon thread. `loading` is true while the author's module is imported."""

    def __init__(self, wire: Wire, stall_seconds: float, names: Collection[str]) -> None:
        self.loading = False
        self.loop: Loop | None = None
        self.announce: Callable[[], None] | None = None
        self._wire = wire
        self._stall = stall_seconds
        self._period = min(stall_seconds / 5, 1.0)
        self._names = names
        self._ident = threading.get_ident()

    def start(self) -> None:
        """Begin to watch the thread that calls."""
        self._arm()  # here: whoever holds the lock from now on keeps that thread from beginning
        _start(self._watch, ())  # threading.Thread would wait until it has begun

    def _arm(self) -> None:
        seconds = self._stall * _HELD_LOCK_FACTOR + self._period
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._wire.sock)

    def _watch(self) -> None:
        mark, since = self._mark(), _clock()
        while True:
            _sleep(self._period)
            self._arm()
            if self.announce is not None:
                self.announce()
            seen = self._mark()
            if seen is None or seen != mark:
                mark, since = seen, _clock()
            elif _clock() - since >= self._stall:
                self._wire.put(encode(["stalled", self._where()]))
                self._wire.flush()
                return

    def _mark(self) -> int | None:
        """Give a number that stays the same while the author's code does not yield; None while it does not run."""
        if self.loading:
            return -1
        return self.loop.drains if self.loop is not None and self.loop.inside else None

    def _where(self) -> str:
        place = places.shown(places.of_frame(sys._current_frames().get(self._ident), self._names))
        tasks = list(self.loop.alive) if self.loop is not None and not place else []
        return next(filter(None, [place, *(places.of_task(task, self._names) for task in tasks)]), "")

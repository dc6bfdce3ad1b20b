"""Work that begins after a moment, and whose asking wakes nobody.

A thread that is woken wants the interpreter, and gets it as soon as the one who woke it reads or writes a file: where a
workspace waits, such a hand-over takes a tenth of a millisecond, and all the thread does is to go to sleep for a while.
So the kernel's timer wakes one thread when the first of the work is due, which hands it on.
"""

import heapq
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from itertools import count

from stepwell_runners import syscalls as sys_


class Due:
    """Work that an executor does when its time has come, or from `now` on; `done` says when it is over."""

    def __init__(self, executor: Executor, work: Callable[[], None]) -> None:
        self.done: Future[None] = Future()
        self._executor = executor
        self._work = work
        self._lock = threading.Lock()
        self._is_handed_on = False

    def now(self) -> None:
        """Hand it on, unless that has been done."""
        with self._lock:
            if self._is_handed_on:
                return
            self._is_handed_on = True
            try:
                self._executor.submit(self._do)
            except RuntimeError as error:  # it takes no more work
                self.done.set_exception(error)

    def _do(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Later:
    """Hands work on when it is due. Any thread may ask; its own stays as long as the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, Due]] = []
        self._numbers = count()
        self._timer = -1

    def after(self, seconds: float, executor: Executor, work: Callable[[], None]) -> Due:
        """Have the executor do this after so many seconds."""
        due, when = Due(executor, work), time.monotonic() + seconds
        with self._lock:
            if self._timer < 0:
                self._timer = sys_.timer()
                threading.Thread(target=self._serve, name="later", daemon=True).start()
            heapq.heappush(self._waiting, (when, next(self._numbers), due))
            if self._waiting[0][2] is due:
                sys_.set_timer(self._timer, when)
        return due

    def _serve(self) -> None:
        while True:
            os.read(self._timer, 8)
            for due in self._take():
                due.now()

    def _take(self) -> list[Due]:
        found = []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                found.append(heapq.heappop(self._waiting)[2])
            if self._waiting:
                sys_.set_timer(self._timer, self._waiting[0][0])
        return found


LATER = Later()

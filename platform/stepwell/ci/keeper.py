"""The keeper: one thread that finishes pushes and, at start and every minute, deals with those a crash cut short.

Each minute it also gives memory back to the host, has runs and files removed that are kept no longer, and counts what
runs took.
"""

import logging
import threading
import time
from collections.abc import Callable

from stepwell.ci.memory import give_back_memory

EVERY_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
"""Age at which an open intent is taken up: its own push had time enough. At start, every one is."""
REST_SECONDS = 1.0
"""From a push to its finishing: its runs come first."""
STOP_SECONDS = 5.0
_LOGGER = logging.getLogger(__name__)


class Keeper:
    """Until stopped, calls `reconcile(seconds)`, `retain()`, `count()`, `relax()` a minute, `finish()` after pushes."""

    def __init__(
        self,
        reconcile: Callable[[float], None],
        finish: Callable[[], None],
        relax: Callable[[], None] = lambda: None,
        retain: Callable[[], object] = lambda: None,
        count: Callable[[], object] = lambda: None,
    ) -> None:
        self._reconcile = reconcile
        self._finish = finish
        self._relax = relax
        self._retain = retain
        self._count = count
        self._nudged = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stepwell-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """Say that there is something to finish."""
        self._nudged.set()

    def stop(self) -> None:
        """End, after what is being done."""
        self._stopping.set()
        self._nudged.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        self._safely(lambda: self._reconcile(0.0))
        due = time.monotonic() + EVERY_SECONDS
        while not self._stopping.is_set():
            nudged = self._nudged.wait(max(0.0, due - time.monotonic()))
            if nudged and not self._stopping.wait(REST_SECONDS):
                self._nudged.clear()
                self._safely(self._finish)
            if time.monotonic() >= due and not self._stopping.is_set():
                self._safely(lambda: self._reconcile(PATIENCE_SECONDS))
                self._safely(self._retain)
                self._safely(self._count)
                self._safely(self._relax)
                give_back_memory()
                due = time.monotonic() + EVERY_SECONDS

    @staticmethod
    def _safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:  # whatever it is, the next minute must come
            _LOGGER.exception("A part of the minute's work failed; this is tried again.")

"""Something that takes long to look at: looked at by a thread beside, told as it was last seen, with the time of it.

A look that fails is told as well, beside what was seen before, if anything was.

Nothing is looked at while nobody asks. Who finds it old has the next look begun, and waits for it a moment; all others
are told at once what was seen before. So a page that shows it stays fast, and a small server's is as of now.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stepwell.errors import StepwellError

T = TypeVar("T")
AGAIN_SECONDS = 10.0
"""From a look that failed to the next, at least."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What was seen, and when; `looking` says that a newer look is under way."""

    value: T
    at: float
    looking: bool = False


@dataclass(frozen=True)
class Failure:
    """A look that failed: when, and the reason in words."""

    at: float
    reason: str


class Beside(Generic[T]):
    """Looks by `look` when what is known is older than `fresh` seconds; who has it begun waits `patience` seconds."""

    def __init__(
        self, look: Callable[[], T], fresh: float, patience: float, now: Callable[[], float] = time.time
    ) -> None:
        self._look = look
        self._fresh = fresh
        self._patience = patience
        self._now = now
        self._lock = threading.Lock()
        self._known: tuple[T, float] | None = None
        self._failure: Failure | None = None
        self._began: float | None = None
        self._done: threading.Event | None = None

    def seen(self) -> Seen[T] | None:
        """Return what was seen last; None while the first look is under way, or when all failed. Any thread may ask."""
        done = self._begin()
        if done is not None:
            done.wait(self._patience)
        with self._lock:
            return None if self._known is None else Seen(*self._known, looking=self._done is not None)

    @property
    def failure(self) -> Failure | None:
        """The last look, if it failed; None as soon as one succeeds. Any thread may ask."""
        return self._failure

    def _begin(self) -> threading.Event | None:
        """Begin a look if it is time, and give what tells its end."""
        with self._lock:
            now = self._now()
            pause = self._fresh if self._failure is None else min(self._fresh, AGAIN_SECONDS)
            if self._done is not None or (self._began is not None and now - self._began < pause):
                return None
            self._began, self._done = now, threading.Event()
            threading.Thread(target=self._run, args=[self._done], name="stepwell-beside", daemon=True).start()
            return self._done

    def _run(self, done: threading.Event) -> None:
        found: tuple[T, float] | None = None
        failure: Failure | None = None
        try:
            found = self._look(), self._now()
        except Exception as error:  # what was known stays; who asks later has it looked at again
            _LOGGER.exception("A look beside failed; what was seen before is told.")
            failure = Failure(self._now(), reason_of(error))
        with self._lock:
            self._known, self._failure, self._done = found or self._known, failure, None
        done.set()


def reason_of(error: Exception) -> str:
    """Say why something failed: an error of ours in its own words, any other with its kind."""
    words = str(error)
    return words if isinstance(error, StepwellError) and words else f"{type(error).__name__}: {words or 'no message'}"

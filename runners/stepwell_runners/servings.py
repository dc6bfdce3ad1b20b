"""Trees that are served from their objects while git checks them out behind: see lazy."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import StepwellError, TryLater
from stepwell_runners.checkouts import EDITS, GitCheckout
from stepwell_runners.lazy import Lazy, Served
from stepwell_runners.threads import give_way

log = logging.getLogger(__name__)

FILL_DELAY = 0.1  # seconds from the first mount of a tree to its checkout


@dataclass
class Serving:
    """A tree that is served; `holds` are those who read it by its path."""

    served: Served
    seconds: int  # the time of all its files, in the checkout as well
    holds: int = 0
    is_made: bool = False  # the checkout can be read instead
    is_done: bool = False
    failure: StepwellError | None = None

    def check(self) -> None:
        """Raise what came to light: Invalid by git's word, TryLater for a lost server."""
        if self.failure is not None:
            raise self.failure
        if not self.served.is_alive:
            raise TryLater("The process that served the files of the commit has died.", 0.1)


class Servings:
    """Begins to serve trees, and ends it when they are checked out and nobody reads them by their path any more.

    `make` checks a tree out; `start` starts a thread.
    """

    def __init__(
        self,
        lazy: Lazy | None,
        checkout: GitCheckout,
        make: Callable[[Path], None],
        start: Callable[[threading.Thread], None],
    ) -> None:
        self.lazy = lazy
        self.closing = threading.Event()
        self._checkout = checkout
        self._make = make
        self._start = start
        self._lock = threading.Lock()
        self._now: dict[Path, Serving] = {}
        self._refused: set[Path] = set()  # by git: nobody is shown the rest again

    def __len__(self) -> int:
        return len(self._now)

    def of(self, place: Path) -> Serving | None:
        """Return how a tree is served, if it is."""
        return self._now.get(place)

    def waits(self, place: Path) -> bool:
        """Whether a tree has to be waited for: git refused it, or it is served no more."""
        return place in self._now or place in self._refused

    def join(self, place: Path) -> bool:
        """Begin to read a tree as it is served already. False when it is not."""
        with self._lock:
            serving = self._now.get(place)
            if serving is None or serving.is_made or serving.failure or not serving.served.is_alive:
                return False
            serving.holds += 1
            return True

    def serve(self, place: Path, index: Path) -> bool:
        """Begin to serve a tree, and to read it. False when it has to be waited for."""
        repo, tree = place.parent.name, place.name
        if self.lazy is None or self.lazy.problem is not None or not self._checkout.is_worth_serving(repo, tree):
            return False
        seconds = int(time.time()) - EDITS
        try:
            served = self.lazy.serve(self._checkout.path(repo), tree, seconds, place, index)
        except OSError:
            log.exception("a tree could not be served, its step waits for the checkout")
            return False
        serving = Serving(served, seconds, holds=1)
        with self._lock:
            self._now[place] = serving
        self._start(threading.Thread(target=self._fill, args=(place, serving), name="tree-fill"))
        return True

    def leave(self, place: Path) -> None:
        """Read a tree no more. Does not block."""
        with self._lock:
            serving = self._now[place]
            serving.holds -= 1
            is_idle = self._is_idle(place, serving)
        if is_idle and self.lazy is not None:
            self._start(threading.Thread(target=self.lazy.drop, args=(serving.served,), name="tree-drop"))

    def _fill(self, place: Path, serving: Serving) -> None:
        """Check a tree out behind those who read it already, and not in the way of the first of them."""
        assert self.lazy is not None
        if self.closing.wait(FILL_DELAY):
            return
        give_way()
        try:
            self._make(place)
        except StepwellError as error:
            serving.failure = error
            self._refused.add(place)
        except Exception as error:
            log.exception("a tree could not be checked out")
            serving.failure = TryLater(f"The files of the commit could not be checked out: {error}", 1.0)
        with contextlib.suppress(OSError):  # its process has died, which `check` tells
            self.lazy.filled(serving.served, serving.failure is None)
        with self._lock:
            serving.is_done = True
            is_idle = self._is_idle(place, serving)
        if is_idle:
            self.lazy.drop(serving.served)

    def _is_idle(self, place: Path, serving: Serving) -> bool:
        """Forget a tree that is served for nobody any more; whether it is such a one."""
        is_idle = serving.is_done and not serving.holds
        if is_idle:
            del self._now[place]
        return is_idle

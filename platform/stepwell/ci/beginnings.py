"""Keeps the beginnings of runs apart from the deletion of the repository that they stand on.

A run is created by the engine, in a transaction of its own, after somebody has looked up its repository. Whoever
creates one is inside `on` from that look to the end; whoever deletes is inside `none_on`, which waits for them and lets
nobody in. So each run is there before the deletion looks for runs, and refuses it, or is not created at all.

In memory, since one process has a state directory: a killed server leaves no run half begun.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stepwell.errors import NotFound, TryLater
from stepwell.store.store import Store

WAIT_SECONDS = 40.0
"""Longer than the engine is given to create a run."""
_ANY = ""


class Beginnings:
    """Who begins something on which repository. Thread-safe; blocks."""

    def __init__(self, store: Store, wait_seconds: float = WAIT_SECONDS) -> None:
        self._store = store
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._beginning: Counter[str] = Counter()
        self._deleting: set[str] = set()

    @contextmanager
    def on(self, repository: str) -> Iterator[None]:
        """Begin something on a repository inside. Raises NotFound when it has been deleted, TryLater."""
        with self._entered(repository, lambda: repository in self._deleting):
            if not self._store.rows("SELECT 1 FROM repositories WHERE id = ?", (repository,)):
                raise NotFound("The repository has been deleted: nothing begins on it any more.")
            yield

    @contextmanager
    def on_any(self, tenant: str) -> Iterator[frozenset[str]]:
        """Begin something on any repositories of a tenant inside; those that are there. Raises TryLater."""
        with self._entered(_ANY, lambda: bool(self._deleting)):
            yield frozenset(
                id_ for (id_,) in self._store.rows("SELECT id FROM repositories WHERE tenant = ?", (tenant,))
            )

    @contextmanager
    def none_on(self, repository: str) -> Iterator[None]:
        """Delete a repository inside. Raises TryLater when somebody has not done with beginning in time."""
        with self._changed:
            self._wait(lambda: repository not in self._deleting)
            self._deleting.add(repository)  # nobody enters from now on, or the last of them might never leave
        try:
            with self._changed:
                self._wait(lambda: not (self._beginning[repository] or self._beginning[_ANY]))
            yield
        finally:
            with self._changed:
                self._deleting.discard(repository)
                self._changed.notify_all()

    def is_deleting(self, repository: str) -> bool:
        """Say whether somebody deletes a repository, or waits to: what can be left for later should end."""
        with self._changed:
            return repository in self._deleting

    @contextmanager
    def _entered(self, repository: str, is_barred: Callable[[], bool]) -> Iterator[None]:
        with self._changed:
            self._wait(lambda: not is_barred())
            self._beginning[repository] += 1
        try:
            yield
        finally:
            with self._changed:
                self._beginning[repository] -= 1
                if not self._beginning[repository]:
                    del self._beginning[repository]
                self._changed.notify_all()

    def _wait(self, until: Callable[[], bool]) -> None:
        if not self._changed.wait_for(until, self._wait_seconds):
            raise TryLater("Runs are being begun on the repository, or it is being deleted. Try again.", 5.0)

"""Upkeep: repositories that pushes have filled with packs and loose objects are packed, one at a time.

git would do so after a push, but must not here: see maintenance. A large repository takes minutes, so that it has a
thread of its own, and its git is behind everybody else. Whoever deletes the repository does not wait for its end.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepwell.ci.beginnings import Beginnings
from stepwell.errors import NotFound, TryLater
from stepwell.repos.maintenance import Left, maintain, needs_maintenance
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store

REST_SECONDS = 3600.0
"""From one maintenance of a repository to its next; twice as long after each that has failed."""
LONGEST_REST_SECONDS = 7 * 86_400.0
STOP_SECONDS = 5.0
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failing:
    """A repository that could not be packed, so many times in a row; `rest_s` seconds until the next."""

    repository: str
    times: int
    rest_s: float


class Upkeep:
    """Maintains the repositories that need it, each time it is begun. Thread-safe."""

    def __init__(
        self, store: Store, repositories: Repositories, beginnings: Beginnings, memory_bytes: int,
        *, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store = store
        self._repositories = repositories
        self._beginnings = beginnings
        self._memory_bytes = memory_bytes
        self._now = now
        self._rests: dict[str, float] = {}
        self._failures: dict[str, int] = {}  # in a row
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Look for repositories that need it, on a thread; nothing happens while one is under way. For one caller."""
        if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, name="stepwell-upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and end what is under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def failing(self) -> Sequence[Failing]:
        """Return the repositories whose last maintenance has failed."""
        now, rests = self._now(), dict(self._rests)
        return [Failing(id_, times, max(0.0, rests.get(id_, now) - now)) for id_, times in dict(self._failures).items()]

    def maintain_needy(self) -> list[str]:
        """Maintain each that needs it and has rested; those that it was done for. Blocks."""
        self._rests = {id_: until for id_, until in self._rests.items() if until > self._now()}
        ids = [str(id_) for (id_,) in self._store.rows("SELECT id FROM repositories ORDER BY id", ())]
        self._failures = {id_: times for id_, times in self._failures.items() if id_ in ids}
        return [id_ for id_ in ids if not self._stopping.is_set() and id_ not in self._rests and self._safely(id_)]

    def _run(self) -> None:
        try:
            self.maintain_needy()
        except Exception:  # whatever it is, the next minute must come
            _LOGGER.exception("Repositories could not be looked at for maintenance; this is tried again in a minute.")

    def _safely(self, repository: str) -> bool:
        try:
            done = self._maintain(repository)
        except (NotFound, TryLater, Left):  # it is being deleted, or the server stops
            return False
        except Exception:  # whatever ails one must not keep the others from it
            rest = self._back_off(repository)
            _LOGGER.exception(
                "Repository %s could not be packed; this is tried again in %.0f h.", repository, rest / 3600
            )
            return False
        self._failures.pop(repository, None)
        return done

    def _back_off(self, repository: str) -> float:
        times = self._failures.get(repository, 0) + 1
        rest = min(REST_SECONDS * 2.0**times, LONGEST_REST_SECONDS)
        self._failures[repository], self._rests[repository] = times, self._now() + rest
        return rest

    def _maintain(self, repository: str) -> bool:
        path = self._repositories.path(repository)
        if not needs_maintenance(path):
            return False

        def is_wanted() -> bool:
            return not (self._stopping.is_set() or self._beginnings.is_deleting(repository))

        with self._beginnings.on(repository):
            self._rests[repository] = self._now() + REST_SECONDS
            began = time.monotonic()
            maintain(path, memory_bytes=self._memory_bytes, is_wanted=is_wanted)
        self._repositories.let_go(repository)  # its reader has packs open that are gone, and take room until then
        _LOGGER.info("Packed refs and objects of repository %s in %.1f s.", repository, time.monotonic() - began)
        return True

"""How much room the cache of trees takes, and which of them go when it is too much: those not used for longest.

Beside each tree, and each delta, lies a note, `<tree>.used`: the bytes that it takes, and as its time the last server's
first use of it. Whoever removes one knows that nobody has it mounted: a lower that loses its files under a mount would
be worse than a full cache.
"""

import contextlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stepwell.store.small_files import write
from stepwell_runners.reduce import remove
from stepwell_runners.threads import give_way

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 50 << 30  # bytes
_TREE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME = re.compile(rf"({_TREE.pattern})(\.delta)?")


@dataclass(frozen=True, order=True)
class Kept:
    """A tree or a delta: when it was used, how many bytes it takes."""

    used: float
    size: int
    place: Path


class Room:
    """Keeps trees and deltas below a limit. `evict` removes one, or says that it has to stay; `start` starts a thread.

    When `closing` is set, no room is made behind any more.
    """

    def __init__(
        self,
        folder: Path,
        limit: int,
        evict: Callable[[Path], bool],
        start: Callable[[threading.Thread], None],
        closing: threading.Event,
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._evict = evict
        self._start = start
        self._closing = closing
        self._guard = threading.Lock()  # of all below
        self._taken = 0  # bytes
        self._is_making = False  # behind

    def grow(self, size: int) -> None:
        """Count what has been made, and make room behind when it is too much."""
        with self._guard:
            self._taken += size
            if self._taken <= self._limit or self._is_making or self._closing.is_set():
                return
            self._is_making = True
        self._start(threading.Thread(target=self._make_behind, name="tree-evict"))

    def make(self, limit: int | None = None) -> None:
        """Remove what was not used for longest until the rest takes at most so many bytes; -1 leaves nothing."""
        limit = self._limit if limit is None else limit
        found = kept(self._folder)
        taken = sum(one.size for one in found)
        gone = True
        while gone and taken > limit:  # again when something went: what lay below it may go now
            gone = False
            for one in list(found):
                if taken > limit and self._evict(one.place):
                    found.remove(one)
                    taken -= one.size
                    gone = True
        with self._guard:
            self._taken = taken

    def _make_behind(self) -> None:
        try:
            give_way()
            self.make()
        except OSError:
            log.exception("no room could be made for trees")
        finally:
            self._is_making = False


def note_size(place: Path, size: int) -> None:
    """Write down what a tree takes. It is used now."""
    write(f"{place}.used", b"%d" % size)


def note_use(place: Path) -> None:
    """Remember that a tree is used; one made by an older Stepwell gets a note of no bytes."""
    try:
        os.utime(f"{place}.used")
    except OSError:
        with contextlib.suppress(OSError):  # a cache is no reason to fail
            _note(place).touch()


def size_of(place: Path) -> int:
    """Return the bytes that a tree takes by its note."""
    return _kept(place).size


def kept(folder: Path) -> list[Kept]:
    """Return all trees and deltas, the one not used for longest first."""
    return sorted(one for repository in folder.iterdir() for one in of_repository(repository))


def of_repository(folder: Path) -> list[Kept]:
    """Return the trees and deltas of one repository; none without a directory of it."""
    with contextlib.suppress(FileNotFoundError):
        return [_kept(place) for place in folder.iterdir() if _NAME.fullmatch(place.name)]
    return []


def newest(repository: Path) -> Path | None:
    """Return the checkout of a repository that was used last; None without any."""
    if not repository.exists():
        return None
    found = [_kept(place) for place in repository.iterdir() if _TREE.fullmatch(place.name)]
    return max(found).place if found else None


def doom(place: Path) -> Path:
    """Take a tree away from its place, so that it is not there from now on; return where it waits to be removed."""
    place.with_name(f"{place.name}.index").unlink(missing_ok=True)
    gone = place.with_name(f".gone-{secrets.token_hex(6)}")
    with contextlib.suppress(FileNotFoundError):
        place.rename(gone)
    return gone


def forget(place: Path) -> None:
    """Remove a tree; without its index it counts as not there, should this be cut short."""
    place.with_name(f"{place.name}.index").unlink(missing_ok=True)
    remove(place)
    _note(place).unlink(missing_ok=True)


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.used")


def _kept(place: Path) -> Kept:
    note = _note(place)
    try:
        return Kept(note.stat().st_mtime, int(note.read_text() or 0), place)
    except (OSError, ValueError):
        return Kept(0.0, 0, place)

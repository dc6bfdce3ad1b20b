"""Trees that lie as a delta over another one that is there: see tree_deltas for what is written.

Beside <tree> lie <tree>.delta, what differs, and <tree>.delta.index. The index holds every file of the tree. A small
one is made at once. One of 100,000 files takes longer than all the rest, so it is made behind, and who asks for it
meanwhile waits on a file system of its own (see lazy); where that cannot be mounted, the attempt waits instead.

Deltas are made again rather than trusted: they end with their server.
"""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stepwell.errors import StepwellError, TryLater
from stepwell.repos.reader import Reader
from stepwell_runners import git_index, tree_room
from stepwell_runners.checkouts import BLOCK, EDITS, MOST_BYTES, MOST_ENTRIES, GitCheckout
from stepwell_runners.lazy import Lazy, Served
from stepwell_runners.reduce import remove
from stepwell_runners.threads import give_way
from stepwell_runners.tree_deltas import Unlike, difference, write

log = logging.getLogger(__name__)

MOST_DEEP = 8  # deltas one over the other, before the topmost is checked out behind
LARGE_INDEX = 1 << 20  # bytes
INDEX_DELAY = 0.1  # seconds until a large one is begun, when the workspace is there: it keeps the interpreter busy
_INDEX_ENTRY = 100  # bytes of an index for each file, about
_MOST_OBJECT = 8 << 20


@dataclass(eq=False)
class Delta:
    """A tree at `place`, as `lowers`, topmost first. While its index is made, `served` gives it to who waits."""

    place: Path
    lowers: tuple[Path, ...]
    count: int  # entries of the index
    size: int  # bytes
    below: int  # bytes of the checkout that it lies over
    served: Served | None = None
    failure: StepwellError | None = None
    is_flat: bool = False  # checked out as well, for who comes now
    made: threading.Event = field(default_factory=threading.Event)

    @property
    def files(self) -> Path:
        """What differs."""
        return self.lowers[0]

    @property
    def index(self) -> Path:
        """Where its index is, or will be."""
        return index_of(self.files)

    @property
    def depth(self) -> int:
        """How many deltas lie one over the other."""
        return len(self.lowers) - 1

    def check(self) -> None:
        """Raise TryLater when the index will never come."""
        if self.failure is not None:
            raise self.failure
        if self.served is not None and not self.made.is_set() and not self.served.is_alive:
            raise TryLater("The process that served the index of the commit has died.", 0.1)


@dataclass(frozen=True)
class Base:
    """A tree that is there, for a delta to lie over; `delta` is what it is itself, if it is one."""

    place: Path
    lowers: tuple[Path, ...]
    index: Path
    delta: Delta | None

    def count(self) -> int:
        """Return the number of entries of its index."""
        if self.delta is not None:
            return self.delta.count
        with self.index.open("rb") as file:
            return git_index.count_of(file.read(12))

    def below(self) -> int:
        """Return the bytes of the checkout at the bottom."""
        return self.delta.below if self.delta is not None else tree_room.size_of(self.place)

    def read_index(self) -> bytes:
        """Return its index, when that is made."""
        if self.delta is not None:
            self.delta.made.wait()
        return self.index.read_bytes()


def files_of(place: Path) -> Path:
    """Return where the delta of a tree is."""
    return place.with_name(f"{place.name}.delta")


def index_of(files: Path) -> Path:
    """Return where the index of the tree with this delta is, or will be."""
    return files.with_name(f"{files.name}.index")


Laid = tuple[Delta, Callable[[], None] | None]


def lay(place: Path, base: Base, checkout: GitCheckout, lazy: Lazy | None, closing: threading.Event) -> Laid | None:
    """Write a tree as a delta; with what makes its index behind. None when it has to be checked out."""
    files, seconds = files_of(place), int(time.time()) - EDITS
    fresh = place.with_name(f".new-{secrets.token_hex(6)}")
    objects = _Objects(checkout.reader(place.parent.name))
    coming: Future[Served] | None = None
    try:
        found = difference(base.place.name, place.name, objects.tree, objects.blob)
        count, below = base.count(), base.below()
        if count + len(found.written) > MOST_ENTRIES or below > MOST_BYTES:
            raise Unlike("nearly as large as a tree may be")
        if count * _INDEX_ENTRY > LARGE_INDEX and lazy is not None and lazy.problem is None:
            coming = lazy.serve_index()
        entries, size = write(found, fresh, objects.blob, seconds)
        fresh.rename(files)
    except (Unlike, StepwellError, OSError) as error:
        log.debug("%s is checked out, for it is no delta of %s: %s", place, base.place.name, error)
        remove(fresh)
        if lazy is not None and (served := _served(coming)):
            lazy.drop(served)
        return None
    size += count * _INDEX_ENTRY + BLOCK * (len(entries) + len(found.gone))
    delta = Delta(place, (files, *base.lowers), count, size, below)

    def make() -> None:
        content = git_index.changed(base.read_index(), found.gone, entries, seconds)
        delta.count = git_index.count_of(content)
        fresh.write_bytes(content)
        fresh.rename(delta.index)

    try:
        tree_room.note_size(files, size)
        delta.served = _served(coming)
        if delta.served is None:
            make()
            delta.made.set()
            return delta, None
    except (OSError, ValueError):
        log.exception("%s could not be laid over %s", place, base.place.name)
        remove(fresh)
        tree_room.forget(files)
        if lazy is not None and (served := _served(coming)):
            lazy.drop(served)
        return None
    assert lazy is not None
    return delta, partial(_make_behind, delta, make, lazy, closing)


def _served(coming: "Future[Served] | None") -> Served | None:
    """Wait until an index is served, if it was asked for."""
    try:
        return coming.result() if coming is not None else None
    except OSError:
        log.exception("an index could not be served, its step waits for it")
        return None


def _make_behind(delta: Delta, make: Callable[[], None], lazy: Lazy, closing: threading.Event) -> None:
    give_way()
    try:
        make()
    except Exception as error:
        log.exception("the index of a tree could not be made")
        delta.failure = TryLater(f"The index of the commit could not be made: {error}", 1.0)
    assert delta.served is not None
    with contextlib.suppress(OSError):  # its process has died, which `check` tells
        lazy.filled(delta.served, delta.failure is None, delta.index)
    delta.made.set()
    if not closing.is_set():
        lazy.prepare_index()


class _Objects:
    """Reads what a difference needs, none of it large."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def tree(self, id_: str) -> bytes:
        return self._reader.raw_tree(id_, limit=_MOST_OBJECT)

    def blob(self, id_: str) -> bytes:
        return self._reader.raw_blob(id_, limit=_MOST_OBJECT)

"""Trees: the files of a commit, made once per content and read-only from then on.

Who needs the files of a tree *holds* it, by the directory where it is or will be; `shown` says what they are read from
now, topmost directory first. That is one of three:

    the checkout itself, by git: see whole_trees
    a delta over another tree that is there, when few paths differ: see deltas. Where these lie too deep over each
        other, the topmost one is checked out behind
    where this host allows, the tree as it is served from its objects while git checks it out behind: see lazy

Nothing goes that is held, or below something that is there.
"""

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepwell.errors import Invalid, StepwellError
from stepwell_runners import deltas, tree_room
from stepwell_runners.checkouts import GitCheckout
from stepwell_runners.deltas import INDEX_DELAY, MOST_DEEP, Base, Delta
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.later import LATER, Due
from stepwell_runners.lazy import Lazy
from stepwell_runners.reduce import remove
from stepwell_runners.servings import Servings
from stepwell_runners.threads import give_way
from stepwell_runners.tree_room import DEFAULT_LIMIT, Room
from stepwell_runners.whole_trees import WholeTrees, index_of

log = logging.getLogger(__name__)

_REFERENCE = re.compile(r"([^:/]{1,100}):([0-9a-f]{40}|[0-9a-f]{64})")
_MOST_KNOWN = 10_000  # references looked up without asking git


Form = Literal["any", "lasting", "whole"]
"""What may be had of a tree: as it is served, or a checkout or delta, or only a checkout."""


@dataclass(frozen=True)
class Hold:
    """Somebody's need of a tree: its files stay until `release`."""

    place: Path
    lowers: tuple[Path, ...]  # where they are read now, topmost first
    release: Callable[[], None] = field(repr=False)


class Trees:
    """Cache of trees below `<state>/trees/<repo-id>/<tree>`. Any thread may ask; each is made once."""

    def __init__(
        self,
        state: Path,
        checkout: GitCheckout | None = None,
        sync: Callable[[Path], None] | None = None,
        lazy: Lazy | None = None,
        limit: int = DEFAULT_LIMIT,
    ):
        self.folder = state / "trees"
        self.lazy = lazy
        self.empty = self.folder / "empty"
        self.empty.mkdir(parents=True, exist_ok=True)
        self._checkout = checkout or GitCheckout(state)
        self._whole = WholeTrees(self._checkout, sync)
        self._locks = KeyedLocks()
        self._servings = Servings(lazy, self._checkout, self._make_once, self._start)
        self._room = Room(self.folder, limit, self._evict, self._start, self._servings.closing)
        self._behind: set[threading.Thread] = set()
        self._indexing = ThreadPoolExecutor(2, "tree-index")  # its threads stay: to start one takes 0.1 ms
        self._indexes: set[Due] = set()
        self._guard = threading.Lock()  # of all below; nobody waits for the disk with it
        self._known: dict[str, Path] = {}  # checkouts and deltas
        self._deltas: dict[Path, Delta] = {}
        self._holds: Counter[Path] = Counter()
        self._latest: dict[str, Path] = {}  # of each repository, what a delta may lie over
        self._kept: set[Path] = set()  # by what outlived the server before this one

    def resolve(self, reference: str | None) -> Path:
        """Return the checkout of "<repo-id>:<commit>"; an empty directory for None. Blocks while it is made.

        Nothing keeps it: it was used last, so that it would be the last to go.
        """
        if reference is None:
            return self.empty
        place = self._known.get(reference)
        if place is None or place in self._deltas:
            place = self._place(reference)
            self._make_once(place)
            self._know(reference, place)
        return place

    @contextlib.contextmanager
    def held(self, reference: str | None, form: Form = "any") -> Iterator[Path]:
        """Hold a tree within the block: the directory that it is known by."""
        hold = self.hold(reference, form)
        try:
            yield hold.place
        finally:
            hold.release()

    def hold(self, reference: str | None, form: Form = "any") -> Hold:
        """Hold a tree. Blocks while it is made: for the checkout of a large one only if that is asked for."""
        if reference is None:
            return Hold(self.empty, (self.empty,), lambda: None)
        if form != "whole" and (found := self.hold_known(reference)):
            return found
        place = self._place(reference)
        with self._guard:
            self._holds[place] += 1
        try:
            is_served = self._begin(place, form)
        except BaseException:
            self._let_go(place)
            raise
        if not is_served:
            self._know(reference, place)
        return Hold(place, self.shown(place), lambda: self._let_go(place, is_served=is_served))

    def hold_known(self, reference: str) -> Hold | None:
        """Hold a tree that is there; None when `hold` would have to look for it. Does not block."""
        with self._guard:
            place = self._known.get(reference)
            if place is None or ((delta := self._deltas.get(place)) and delta.failure):
                return None
            self._holds[place] += 1
        return Hold(place, self.shown(place), lambda: self._let_go(place))

    def shown(self, place: Path) -> tuple[Path, ...]:
        """Return where the files of a held tree are read now, topmost directory first."""
        serving, delta = self._servings.of(place), self._deltas.get(place)
        if serving and not serving.is_made:
            return (serving.served.files,)
        return delta.lowers if delta and not delta.is_flat else (place,)

    def index(self, place: Path) -> tuple[Path | None, Path | None]:
        """Return the index of a held tree; while it is made, None and a directory with the `.git/index` to come."""
        serving, delta = self._servings.of(place), self._deltas.get(place)
        if serving and not serving.is_made:
            return None, serving.served.git
        if delta is None or delta.is_flat:
            return index_of(place), None
        if delta.served is not None and not delta.made.is_set():
            return None, delta.served.git
        return delta.index, None

    def index_made(self, place: Path) -> Path:
        """Return the index of a held tree; blocks while it is made. Raises what `check` does."""
        delta = self._deltas.get(place)
        if delta is not None and not delta.is_flat:
            delta.made.wait()
            delta.check()
            return delta.index
        self._make_once(place)
        return index_of(place)

    def check(self, place: Path) -> None:
        """Raise what came to light about a held tree: Invalid by git's word, TryLater for a lost server."""
        if delta := self._deltas.get(place):
            delta.check()
        if serving := self._servings.of(place):
            serving.check()

    def close(self) -> None:
        """Serve nothing any more; what is being checked out is finished."""
        self._servings.closing.set()
        self.settled()
        if self.lazy is not None:
            self.lazy.close()

    def settled(self) -> None:
        """Wait for all that is done behind."""
        while behind := [thread for thread in self._behind if thread.is_alive()]:
            for thread in behind:
                thread.join()
        indexes = tuple(self._indexes)
        if self._servings.closing.is_set():
            for index in indexes:
                index.now()
        wait([index.done for index in indexes])
        if self.lazy is not None:
            self.lazy.settled()

    def clear(self) -> None:
        """Remove everything that nobody holds."""
        self._room.make(-1)

    def forget(self, repository: str) -> bool:
        """Remove the trees of a repository that is gone; False while somebody holds one: then ask again."""
        folder = self.folder / repository
        with self._guard:
            self._kept = {files for files in self._kept if files.parent != folder}
        left = tree_room.of_repository(folder)
        while any(self._evict(one.place) for one in left):  # from the start again: what lay below one may go now
            left = tree_room.of_repository(folder)
        if left:
            return False
        self._checkout.let_go(repository)
        remove(folder)
        return True

    def _place(self, reference: str) -> Path:
        repo, commit = parse_reference(reference)
        return self.folder / repo / self._checkout.tree_of(repo, commit)

    def _know(self, reference: str, place: Path) -> None:
        with self._guard:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[reference] = place
            self._latest[place.parent.name] = place
            delta = self._deltas.get(place)
        tree_room.note_use(delta.files if delta else place)

    def _begin(self, place: Path, form: Form) -> bool:
        """Make sure that a tree can be read in this form; whether it is served."""
        if form != "whole":
            with self._locks.of(f"{place} begun"):
                if self._is_there(place):
                    return False
                if form == "any" and self._servings.join(place):
                    return True
                if not self._servings.waits(place):
                    if self._lay(place):
                        return False
                    if form == "any" and self._servings.serve(place, index_of(place)):
                        return True
        self._make_once(place)
        return False

    def _is_there(self, place: Path) -> bool:
        """Whether what `shown` says of a tree stays as long as it is held."""
        serving, delta = self._servings.of(place), self._deltas.get(place)
        if delta is not None and delta.failure is None:
            return True
        return self._whole.has(place) and (serving is None or serving.is_made)

    # Deltas

    def _lay(self, place: Path) -> bool:
        """Lay a tree over the one that its repository used last, if few paths differ."""
        with self._below(place.parent) as base:
            laid = deltas.lay(place, base, self._checkout, self.lazy, self._servings.closing) if base else None
            if laid is None:
                return False
            delta, index = laid
            with self._guard:
                self._deltas[place] = delta
        if index is not None:
            due = LATER.after(INDEX_DELAY, self._indexing, index)
            self._indexes.add(due)
            due.done.add_done_callback(lambda _: self._indexes.discard(due))
        self._room.grow(delta.size)
        if delta.depth >= MOST_DEEP:
            self._start(threading.Thread(target=self._flatten, args=(delta,), name="tree-flatten"))
        return True

    @contextlib.contextmanager
    def _below(self, repository: Path) -> Iterator[Base | None]:
        """Hold what a delta may lie over: the tree used last, or what an earlier server has left."""
        place = self._latest.get(repository.name) or tree_room.newest(repository)
        if place is None:
            yield None
            return
        with self._guard:
            self._holds[place] += 1
        try:
            if self._is_there(place):
                delta = self._deltas.get(place)
                delta = None if delta is None or delta.is_flat else delta
                yield Base(place, self.shown(place), delta.index if delta else index_of(place), delta)
            else:
                yield None
        finally:
            self._let_go(place)

    def _flatten(self, delta: Delta) -> None:
        """Check out a tree that lies too deep."""
        delta.made.wait()
        give_way()
        try:
            self._make_once(delta.place)
        except StepwellError:
            log.exception("a tree that lies over others could not be checked out")

    def _forget_flat(self, place: Path) -> None:
        """Remove a delta when its tree is checked out, nobody holds it and nothing lies over it."""
        with self._guard:
            delta = self._deltas.get(place)
            if delta is None or not delta.is_flat or place in self._holds:
                return
            if any(delta.files in other.lowers[1:] for other in self._deltas.values()):
                return
            del self._deltas[place]
        self._remove(delta.files, delta)

    def _let_go(self, place: Path, *, is_served: bool = False) -> None:
        """Hold a tree no longer. Does not block: what has to be removed then is removed behind."""
        if is_served:
            self._servings.leave(place)
        with self._guard:
            self._holds[place] -= 1
            if self._holds[place]:
                return
            del self._holds[place]
            delta = self._deltas.get(place)
        if delta is not None and delta.is_flat:
            self._start(threading.Thread(target=self._forget_flat, args=(place,), name="tree-drop"))

    # Checkouts

    def _make_once(self, place: Path) -> None:
        with self._locks.of(str(place)):
            if not self._whole.has(place):
                self._make(place)
                self._room.grow(tree_room.size_of(place))
            if serving := self._servings.of(place):
                serving.is_made = True
        if delta := self._deltas.get(place):
            delta.is_flat = True
            self._forget_flat(place)

    def _make(self, place: Path) -> None:
        serving, delta = self._servings.of(place), self._deltas.get(place)
        times = serving.seconds if serving else delta.index if delta and delta.made.is_set() else None
        self._whole.make(place, times)

    # Room

    def recover(self, kept: Collection[Path] = ()) -> None:
        """Remove what a crash cut short, deltas, and trees beyond the limit, but the `kept`. Nothing is held yet."""
        self._kept = set(kept)
        for repository in self.folder.iterdir():
            for scrap in (*repository.glob(".new-*"), *repository.glob(".gone-*")):
                remove(scrap)
            for name in {left.name.partition(".")[0] for left in repository.glob("*.delta*")}:
                files = deltas.files_of(repository / name)
                if files not in kept:
                    tree_room.forget(files)
        self._room.make()

    def _evict(self, files: Path) -> bool:
        """Remove a tree or a delta; False when it has to stay."""
        place = files.with_suffix("")
        with self._guard:
            above = {lower for delta in self._deltas.values() for lower in delta.lowers[1:]}
            if place in self._holds or self._servings.of(place) or {files, place} & self._kept or files in above:
                return False
            delta = self._deltas.get(place)
            if files == place and delta is not None:
                return False  # the delta goes first
            self._deltas.pop(place, None)
            self._known = {reference: known for reference, known in self._known.items() if known != place}
            self._latest = {repo: latest for repo, latest in self._latest.items() if latest != place}
            doomed = tree_room.doom(files)
        self._remove(files, delta)
        remove(doomed)
        return True

    def _remove(self, files: Path, delta: Delta | None) -> None:
        if delta is not None and delta.served is not None and self.lazy is not None:
            self.lazy.drop(delta.served)
        tree_room.forget(files)

    def _start(self, thread: threading.Thread) -> None:
        """Start something behind, which `close` waits for."""
        self._behind.difference_update([one for one in tuple(self._behind) if not one.is_alive()])
        thread.start()
        self._behind.add(thread)


def parse_reference(reference: str) -> tuple[str, str]:
    """Return repository and commit of "<repo-id>:<commit>"."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise Invalid(f"Tree reference {reference!r} is not of the form <repository>:<commit>.")
    repo, commit = match.groups()
    return repo, commit

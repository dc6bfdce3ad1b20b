"""Trees: the files of a commit, checked out once per content and read-only from then on.

git itself writes them: it refuses `.git` in all its spellings, `..` and empty names, and converts line ends as
.gitattributes say. A finished tree appears by rename. Nobody waits for the disk: until the tree is synced a marker
beside it says in which boot it was made, so a tree from before a power cut is made again instead of trusted.
Beside each tree lies the index that git in a workspace starts with: see git_index.

A large tree that is not there yet can be *held* before it is: where this host allows, it is served from its objects
(see lazy) while git checks it out behind. A tree is known by the directory where it will be; `shown` says where its
files are read now.
"""

import contextlib
import logging
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import Invalid, StepwellError, TryLater
from stepwell.repos.process import environment
from stepwell.repos.repositories import Repositories
from stepwell.store.durable import sync_file_system, sync_folder
from stepwell_runners import tree_room
from stepwell_runners.git_index import settle_times
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.lazy import Lazy, Served
from stepwell_runners.lazy_tree import MOST_ATTRIBUTES, converts
from stepwell_runners.reduce import remove

log = logging.getLogger(__name__)

_REFERENCE = re.compile(r"([^:/]{1,100}):([0-9a-f]{40}|[0-9a-f]{64})")
MOST_ENTRIES = 1_000_000
MOST_BYTES = 20 << 30
_BLOCK = 4096  # bytes that a file takes beside its content, at most
_MOST_KNOWN = 10_000  # references looked up without asking git
LEAST_LAZY = 500  # files: a smaller tree is checked out in less time than it takes to think about it
FILL_DELAY = 0.1  # seconds from the first mount of a tree to its checkout
_FILL_NICE = 5
_EDITS = 2  # seconds between the time given to all files and the first moment a step can write
_SETTINGS = {"core.bare": "false", "core.symlinks": "true", "core.attributesFile": "/dev/null"}


class GitCheckout:
    """Writes trees out of the repositories of a state directory."""

    def __init__(self, state: Path) -> None:
        self._repositories = Repositories(state)
        self._large: set[str] = set()  # repositories that had a large tree: the next ones are not counted again

    def tree_of(self, repo: str, commit: str) -> str:
        """Return the hash of a commit's tree. Raises NotFound."""
        tree = self._repositories.reader(repo).tree_of(commit)
        assert tree is not None  # every commit has one
        return tree

    def path(self, repo: str) -> Path:
        """Return the repository's directory."""
        return self._repositories.path(repo)

    def is_worth_serving(self, repo: str, tree: str) -> bool:
        """Say whether a tree is large, and git would write the files of its top as they are stored."""
        reader = self._repositories.reader(repo)
        try:
            attributes = reader.file_of_tree(tree, ".gitattributes", limit=MOST_ATTRIBUTES)
            if converts(attributes or b""):
                return False
            if repo not in self._large and reader.has_files(tree, LEAST_LAZY):
                self._large.add(repo)
        except Invalid:
            return False
        return repo in self._large

    def write(self, repo: str, tree: str, target: Path, index: Path, seconds: int | None = None) -> int:
        """Check `tree` out into the empty directory `target`, and write its `index`; all files get one time.

        Returns about how many bytes it takes.
        """
        size = self._check_size(repo, tree)
        seconds = int(time.time()) - _EDITS if seconds is None else seconds
        done = subprocess.run(
            ["git", "--git-dir", self._repositories.path(repo), "read-tree", "-m", "-u", tree],
            env=environment(_SETTINGS, extra={"GIT_WORK_TREE": str(target), "GIT_INDEX_FILE": str(index)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0o022,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip()[:2000] or f"exit code {done.returncode}"
            raise Invalid(f"The files of the commit cannot be checked out: {reason}")
        settle_times(index, target, seconds, "sha1" if len(tree) == 40 else "sha256")
        return size

    def _check_size(self, repo: str, tree: str) -> int:
        """Refuse a tree without end: ten small trees, each ten times in the next, are ten thousand million files."""
        command = ["git", "--git-dir", str(self._repositories.path(repo)), "ls-tree", "-r", "-t", "-l", "-z", tree]
        entries = size = 0
        rest = b""
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listing:
            assert listing.stdout is not None
            while block := listing.stdout.read(1 << 16):
                *found, rest = (rest + block).split(b"\0")
                entries += len(found)
                sizes = (entry.partition(b"\t")[0].split()[-1] for entry in found)
                size += sum(int(number) for number in sizes if number.isdigit())
                if entries > MOST_ENTRIES or size > MOST_BYTES:
                    listing.kill()
                    raise Invalid(
                        "The files of the commit cannot be checked out: there are more than "
                        f"{MOST_ENTRIES:,} files and folders, or {MOST_BYTES >> 30} GiB."
                    )
        return size + entries * _BLOCK


@dataclass(frozen=True)
class Seen:
    """A directory with the files of a tree; whether it will still be there later."""

    place: Path
    lasts: bool


@dataclass
class _Serving:
    """A tree that is served while it is checked out; `holds` are those who read it by its path."""

    served: Served
    seconds: int  # the time of all its files, in the checkout as well
    holds: int = 0
    is_done: bool = False
    failure: StepwellError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the checkout can be read instead."""
        return self.is_done and self.failure is None


class Trees:
    """Cache of checked-out trees below `<state>/trees/<repo-id>/<tree>`. Any thread may ask; each is made once."""

    def __init__(
        self,
        state: Path,
        checkout: GitCheckout | None = None,
        sync: Callable[[Path], None] | None = None,
        lazy: Lazy | None = None,
        limit: int = tree_room.DEFAULT_LIMIT,
    ):
        self.folder = state / "trees"
        self.lazy = lazy
        self._limit = limit
        self._serving: dict[Path, _Serving] = {}
        self._filling: set[threading.Thread] = set()
        self._closing = threading.Event()
        self._refused: set[Path] = set()  # by git: nobody is shown the rest again
        self._guard = threading.Lock()
        self.empty = self.folder / "empty"
        self._checkout = checkout or GitCheckout(state)
        self._sync = sync or _sync_later
        self._known: dict[str, Path] = {}
        self._locks = KeyedLocks()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.empty.mkdir(parents=True, exist_ok=True)

    def resolve(self, reference: str | None) -> Path:
        """Return the read-only directory of "<repo-id>:<commit>"; an empty one for None. Blocks while it is made."""
        if reference is None:
            return self.empty
        if found := self._known.get(reference):
            return found
        place = self._place(reference)
        with self._locks.of(str(place)):
            self._make(place)
        self._know(reference, place)
        return place

    @contextlib.contextmanager
    def held(self, reference: str | None) -> Iterator[Path]:
        """Give the directory of a tree like `resolve`, but without waiting for a large one: read it where `shown` says.

        Within the block these places stay.
        """
        if self.lazy is None or self.lazy.problem is not None or reference is None or reference in self._known:
            yield self.resolve(reference)
            return
        place = self._place(reference)
        if not self._hold(place):
            yield self.resolve(reference)
            return
        try:
            yield place
        finally:
            self._let_go(place)

    @contextlib.contextmanager
    def seen(self, reference: str) -> Iterator[Seen]:
        """Give where the files of a tree are read now, for a mount that is made within the block."""
        with self.held(reference) as place:
            seen = self.shown(place)
            yield Seen(seen, seen == place)

    def shown(self, place: Path) -> Path:
        """Return where the files of a tree are read now: itself, or what is served in its stead."""
        serving = self._serving.get(place)
        return serving.served.files if serving and not serving.is_ready else place

    def index(self, place: Path) -> tuple[Path | None, Path | None]:
        """Return the index of a tree; while it is checked out, None and a directory with the `.git/index` to come."""
        serving = self._serving.get(place)
        return (None, serving.served.git) if serving and not serving.is_ready else (index_of(place), None)

    def check(self, place: Path) -> None:
        """Raise what came to light about a held tree: Invalid by git's word, TryLater for a lost server."""
        serving = self._serving.get(place)
        if serving is None:
            return
        if serving.failure is not None:
            raise serving.failure
        if not serving.served.is_alive:
            raise TryLater("The process that served the files of the commit has died.", 0.1)

    def close(self) -> None:
        """Serve nothing any more; what is being checked out is finished."""
        self._closing.set()
        for filling in list(self._filling):
            filling.join()
        if self.lazy is not None:
            self.lazy.close()

    def _place(self, reference: str) -> Path:
        repo, commit = parse_reference(reference)
        return self.folder / repo / self._checkout.tree_of(repo, commit)

    def _know(self, reference: str, place: Path) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[reference] = place
        tree_room.note_use(place)

    def _hold(self, place: Path) -> bool:
        """Begin to serve a tree, or join. False when it is there already, or has to be waited for."""
        if self._join(place):
            return True
        with self._locks.of(f"{place} served"):
            if self._join(place):
                return True
            if place in self._serving or place in self._refused or self._is_whole(place):
                return False
            return self._serve(place)

    def _join(self, place: Path) -> bool:
        with self._guard:
            serving = self._serving.get(place)
            if serving is None or serving.is_done or serving.failure or not serving.served.is_alive:
                return False
            serving.holds += 1
            return True

    def _serve(self, place: Path) -> bool:
        repo, tree = place.parent.name, place.name
        assert self.lazy is not None
        if not self._checkout.is_worth_serving(repo, tree):
            return False
        seconds = int(time.time()) - _EDITS
        try:
            served = self.lazy.serve(self._checkout.path(repo), tree, seconds, place, index_of(place))
        except OSError:
            log.exception("a tree could not be served, its step waits for the checkout")
            return False
        serving = _Serving(served, seconds, holds=1)
        with self._guard:
            self._serving[place] = serving
        filling = threading.Thread(target=self._fill, args=(place, serving), name="tree-fill")
        self._filling.add(filling)
        filling.start()
        return True

    def _fill(self, place: Path, serving: _Serving) -> None:
        """Check a tree out behind those who read it already, and not in the way of the first of them."""
        assert self.lazy is not None
        if self._closing.wait(FILL_DELAY):
            return
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _FILL_NICE)  # of this thread, and of its git
        try:
            with self._locks.of(str(place)):
                self._make(place)
        except StepwellError as error:
            serving.failure = error
            self._refused.add(place)
        except Exception as error:
            log.exception("a tree could not be checked out")
            serving.failure = TryLater(f"The files of the commit could not be checked out: {error}", 1.0)
        with contextlib.suppress(OSError):  # its process has died, which `check` tells
            self.lazy.filled(serving.served, serving.failure is None)
        with self._guard:
            serving.is_done = True
            self._drop_idle(place, serving)
        self._filling.discard(threading.current_thread())

    def _let_go(self, place: Path) -> None:
        with self._guard:
            serving = self._serving[place]
            serving.holds -= 1
            self._drop_idle(place, serving)

    def _drop_idle(self, place: Path, serving: _Serving) -> None:
        if serving.is_done and not serving.holds:
            assert self.lazy is not None
            self.lazy.drop(serving.served)
            del self._serving[place]

    def _is_whole(self, place: Path) -> bool:
        marker = _marker(place)
        is_whole = place.exists() and index_of(place).exists()
        return is_whole and (not marker.exists() or marker.read_text() == self._boot)

    def _make(self, place: Path) -> None:
        if self._is_whole(place):
            return
        serving = self._serving.get(place)
        seconds = serving.seconds if serving else None
        repo, tree, marker = place.parent.name, place.name, _marker(place)
        remove(place)
        place.parent.mkdir(exist_ok=True)
        fresh = place.with_name(f".new-{secrets.token_hex(6)}")
        index = fresh.with_suffix(".index")
        fresh.mkdir()
        try:
            tree_room.note_size(place, self._checkout.write(repo, tree, fresh, index, seconds))
            marker.write_text(self._boot)
            index.rename(index_of(place))
            fresh.rename(place)
        finally:
            for scrap in (fresh, index, index.with_suffix(".index.lock")):
                remove(scrap)
        self._sync(marker)

    def recover(self, kept: Collection[Path] = ()) -> None:
        """Remove checkouts that a crash cut short, and trees beyond the limit but the `kept`. Nothing is held yet."""
        for repository in self.folder.iterdir():
            for scrap in repository.glob(".new-*"):
                remove(scrap)
        tree_room.evict(self.folder, self._limit, kept)


def parse_reference(reference: str) -> tuple[str, str]:
    """Return repository and commit of "<repo-id>:<commit>"."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise Invalid(f"Tree reference {reference!r} is not of the form <repository>:<commit>.")
    repo, commit = match.groups()
    return repo, commit


def index_of(tree: Path) -> Path:
    """Return where the index of a cached tree is."""
    return tree.with_name(f"{tree.name}.index")


def _marker(place: Path) -> Path:
    return place.with_name(f"{place.name}.unsynced")


def _sync_later(marker: Path) -> None:
    threading.Thread(target=settle, args=(marker,), daemon=True, name="tree-sync").start()


def settle(marker: Path) -> None:
    """Bring a new tree to the disk, then take its marker away."""
    sync_file_system(marker.parent)
    marker.unlink(missing_ok=True)
    sync_folder(marker.parent)

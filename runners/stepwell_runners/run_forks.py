"""The fork of each run, the pin that keeps its commit, and the `.git` that its workspaces see.

    note who needs the commit → forks/<run>.git/workspace/.git

That is a directory that workspaces lay over the tree: refs and HEAD of the fork, the index of the tree by a hard link.
Beneath it lies what all of them have alike, common/<digest>/.git, made once: config, no objects, an alternate. Two more
layers in the mount cost less than their inodes, whatever the size. Objects are read from the origin through that
alternate: a read-only mount in the isolate, or the directory itself where there is no wall. Only this one repository's
objects are ever shown. What an attempt writes into `.git` goes to its own upper; no git of ours ever runs on it. The
branches and tags that it moved are kept with its layer, and later workspaces, which stand on that, see them: theirs is
the `.git` of the fork with all refs of these layers in one file, their packs by hard links, and an index for HEAD.

`origin` is the workspace's own repository: what is pushed there is a ref of the run's fork, kept like the others.

A fork holds nothing that could not be made again, so it goes when its run rests, and none outlives a restart. A pin
stays until the last run of its commit is forgotten. Which runs these are is on disk, for runs wait longer than servers:
pins/<repository>/<commit>/<run>, and pins/.runs/<run>, a link to the former.

The note is there when the workspace is; the pin itself, a ref in the origin that has to reach the disk, is made behind
it: nothing is ever pruned but by an operator's hand, and what a crash leaves out the next start makes up for.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dulwich.refs import Ref, check_ref_format

from stepwell.errors import TryLater
from stepwell.repos.forks import create_common, remove_fork
from stepwell.repos.maintenance import remove_leftovers
from stepwell.repos.pins import pin, pinned, unpin
from stepwell.repos.repositories import Repositories
from stepwell.store.small_files import make_folder, write
from stepwell_runners.fork_lowers import lay, lay_first, lay_over
from stepwell_runners.git_index import CHECK_STAT
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.later import LATER, Due
from stepwell_runners.spec import TOOLS, WORKSPACE

log = logging.getLogger(__name__)

OBJECTS = "git-objects"  # below TOOLS, where isolates and containers find the origin's objects
REST_SECONDS = 30.0
# What a command sees may belong to another uid than its own, and git would refuse it.
GIT_ENVIRONMENT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": WORKSPACE}
_RUNS = ".runs"
_PIN_DELAY = 0.05  # seconds from the note to the pin
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONFIG = f"""\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\thooksPath = /dev/null
\tfsmonitor = false
\tcheckStat = {CHECK_STAT}
\ttrustctime = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[user]
\tname = Stepwell
\temail = stepwell@localhost
[remote "origin"]
\turl = .
\tfetch = +refs/heads/*:refs/remotes/origin/*
[push]
\tdefault = current
"""


@dataclass(frozen=True)
class GitView:
    """`.git` for one attempt: `lower` is laid over the tree; `objects` must be seen at `at`.

    So are the directories `beside` it: what all have alike, and one with the index when that is not made yet.
    """

    lower: Path
    objects: Path
    at: str
    beside: tuple[Path, ...] = ()

    @property
    def lowers(self) -> tuple[Path, ...]:
        """What is laid over the tree, topmost first."""
        return (self.lower, *self.beside)


class RunForks:
    """Forks below a state directory. `enter`, `leave`, `stay` belong to one event loop; the others block."""

    def __init__(self, state: Path) -> None:
        state = state.resolve()
        self.folder = state / "forks"
        self.pins = state / "pins"
        self.common = state / "common"
        self.repositories = Repositories(state)
        self._locks = KeyedLocks()
        self._using: Counter[str] = Counter()  # attempts in flight
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._born = time.time()
        self._pinning = ThreadPoolExecutor(1, "pins")
        self._commons: dict[str, Path] = {}
        self._to_pin: set[Due] = set()
        for folder in (self.folder, self.pins / _RUNS, self.common):
            folder.mkdir(parents=True, exist_ok=True)

    def enter(self, run: str) -> None:
        """An attempt of this run begins: its fork stays."""
        self.stay(run)
        self._using[run] += 1

    def leave(self, run: str) -> None:
        """An attempt is over; when none follows soon, the run rests and its fork goes."""
        self._using[run] -= 1
        if self._using[run] <= 0:
            del self._using[run]
            self._resting[run] = asyncio.get_running_loop().call_later(REST_SECONDS, self._rest_soon, run)

    def stay(self, run: str) -> None:
        """Forget that the run was about to rest."""
        if resting := self._resting.pop(run, None):
            resting.cancel()

    def _rest_soon(self, run: str) -> None:
        del self._resting[run]
        asyncio.get_running_loop().run_in_executor(None, self.rest, run)

    def ready(
        self,
        run: str,
        repository: str,
        commit: str,
        branch: str | None,
        *,
        index: Path | None,
        walled: bool,
        beside: Path | None = None,
        parts: Sequence[Path] = (),
    ) -> GitView:
        """Return `.git` for a workspace of the run; the first time, make the fork, and begin to pin the commit.

        Without an `index` there will be one `beside`. `parts` are what earlier steps did in git; then there is one.
        """
        origin = self.repositories.require(repository)
        objects = origin / "objects"
        at = f"{TOOLS}/{OBJECTS}" if walled else str(objects)
        fork = self._fork(run)
        both = fork / "workspace", fork / "workspace-without-index"
        lower = both[0 if index else 1]
        with self._locks.of(run):
            first = _first(fork, both)
            if first is None:
                self._note(run, repository, commit)
                first = lower
                try:
                    lay_first(first, index, origin, commit, branch if branch and _is_branch(branch) else None)
                finally:
                    self._pin_soon(repository, commit)
            if parts and index:
                lower = fork / f"over-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
                if not lower.exists():
                    lay_over(first, lower, index, origin, parts)
            elif lower is not first and not lower.exists():
                lay(first, lower, index)
        return GitView(lower, objects, at, (self._common(at), *((beside,) if beside else ())))

    def rest(self, run: str) -> None:
        """Remove the fork unless an attempt uses it; the pin stays."""
        with self._locks.of(run):
            if not self._using[run]:
                remove_fork(self._fork(run))

    def forget(self, run: str) -> None:
        """Remove the fork of a run that has ended; the last run of a commit takes the pin along."""
        with self._locks.of(run):
            remove_fork(self._fork(run))
            self._release(self.pins / _RUNS / _file_name(run))

    def forget_repository(self, repository: str) -> None:
        """Release the files of a repository that is gone, and the directory of its pins, which runs have emptied."""
        self.repositories.let_go(repository)
        with contextlib.suppress(FileNotFoundError):
            (self.pins / repository).rmdir()

    def recover(self, ended: Callable[[str], bool], kept: Collection[str] = ()) -> None:
        """Remove all forks but those of the `kept` runs, and the pins of runs that a server saw the end of and died
        before it forgot them; begin to make the pins that it died before.

        Nothing is running yet, and each fork is made again when its run needs it.
        """
        used = {self._fork(run) for run in kept}
        for fork in self.folder.iterdir():
            if fork not in used:
                remove_fork(fork)
        if not kept:  # nobody has it mounted, and a power cut may have left it in part
            self._commons.clear()
            for common in self.common.iterdir():
                remove_fork(common)
        for link in (self.pins / _RUNS).iterdir():
            run = _run_of(link)
            if run is not None and ended(run):
                self._release(link)
        self._pinning.submit(self._pin_the_rest)

    def settled(self) -> None:
        """Wait until every pin asked for so far is made."""
        for due in tuple(self._to_pin):
            due.now()
        self._pinning.submit(int).result()

    def _fork(self, run: str) -> Path:
        return self.folder / f"{_file_name(run)}.git"

    def _common(self, at: str) -> Path:
        """Return what all forks have alike whose objects are seen `at`."""
        if known := self._commons.get(at):
            return known
        place = self.common / hashlib.sha256(f"{_CONFIG}{at}".encode()).hexdigest()[:16]
        with self._locks.of(str(place)):
            if not place.exists():
                fresh = place.with_suffix(".new")
                remove_fork(fresh)
                create_common(fresh / ".git", _CONFIG, at)
                fresh.rename(place)
        self._commons[at] = place
        return place

    def _note(self, run: str, repository: str, commit: str) -> None:
        """Note who needs the commit. Texts, for paths are slow."""
        name = _file_name(run)
        with self._locks.of(f"{repository}:{commit}"):
            folder = f"{self.pins}/{repository}/{commit}"
            with contextlib.suppress(FileExistsError):
                make_folder(folder)
            with contextlib.suppress(FileExistsError):
                os.symlink(f"../{repository}/{commit}/{name}", f"{self.pins}/{_RUNS}/{name}")  # noqa: PTH211
            write(f"{folder}/{name}", run.encode())

    def _pin_soon(self, repository: str, commit: str) -> None:
        """Pin a commit when its workspace is there: both keep the interpreter busy."""
        due = LATER.after(_PIN_DELAY, self._pinning, lambda: self._pin(repository, commit))
        self._to_pin.add(due)
        due.done.add_done_callback(lambda _: self._to_pin.discard(due))

    def _pin(self, repository: str, commit: str) -> None:
        """Pin a commit that a run still needs."""
        try:
            with self._locks.of(f"{repository}:{commit}"):
                if (self.pins / repository / commit).exists() and self.repositories.exists(repository):
                    origin = self.repositories.path(repository)
                    self._with_lock(origin, lambda: pin(origin, commit))
        except Exception:
            log.exception("commit %s of repository %s is not pinned before the next start", commit, repository)

    def _pin_the_rest(self) -> None:
        """Pin what a crash left noted, and no more."""
        try:
            for folder in self.pins.iterdir():
                if folder.name != _RUNS and self.repositories.exists(folder.name):
                    made = pinned(self.repositories.path(folder.name))
                    for commit in folder.iterdir():
                        if commit.name not in made:
                            self._pin(folder.name, commit.name)
        except OSError:
            log.exception("pins could not be looked through")

    def _release(self, link: Path) -> None:
        try:
            note = Path(os.path.normpath(link.parent / link.readlink()))
        except FileNotFoundError:
            return  # never had a workspace
        repository, commit = note.parent.parent.name, note.parent.name
        with self._locks.of(f"{repository}:{commit}"):
            note.unlink(missing_ok=True)
            if _remove_empty(note.parent) and self.repositories.exists(repository):
                origin = self.repositories.path(repository)
                self._with_lock(origin, lambda: unpin(origin, [commit]))
        link.unlink(missing_ok=True)

    def _with_lock(self, origin: Path, change: Callable[[], None]) -> None:
        """Change pins, in spite of a lock that a killed server left."""
        try:
            change()
        except TryLater:
            remove_leftovers(origin, self._born)
            change()


def branch_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the branch that a run is about; a tag's run has none."""
    return metadata.get("branch") or None


def _first(fork: Path, both: Sequence[Path]) -> Path | None:
    """Return what of a fork is there; None when it has just been begun."""
    with contextlib.suppress(FileExistsError):
        make_folder(str(fork))
        return None
    first = next((one for one in both if one.exists()), None)
    if first is None:  # a crash has cut it short
        remove_fork(fork)
        make_folder(str(fork))
    return first


def _is_branch(name: str) -> bool:
    return bool(check_ref_format(Ref(f"refs/heads/{name}".encode())))


def _file_name(run: str) -> str:
    """Return a file name for a run's id, whatever characters that has."""
    return run if _PLAIN.fullmatch(run) else hashlib.sha256(run.encode()).hexdigest()


def _run_of(link: Path) -> str | None:
    """Return the id of the run that needs a commit; None when an older note, which is empty, does not tell it."""
    try:
        return link.read_text("utf-8") or (None if _DIGEST.fullmatch(link.name) else link.name)
    except FileNotFoundError:  # a crash came between link and note, or between their ends: nothing is held by it
        return link.name


def _remove_empty(folder: Path) -> bool:
    """Remove a directory if nothing is in it; true when it is not there."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True

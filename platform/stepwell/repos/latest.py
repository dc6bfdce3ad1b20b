"""The last commit of each entry of a folder.

It takes a walk over history, so git does it, in a process of its own with a bound on commits, bytes and seconds, and
nobody waits for it longer than they want to. What a commit's folder has as last commits never changes: the answer is
kept by the ids of both, and is never stale. Merges are left out: what they bring came from the commits that they merge.
An entry that the walk did not come to has no answer.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from pathlib import Path

from stepwell.repos.odb import require_sha
from stepwell.repos.process import bounded_git

COMMITS, BYTES, SECONDS = 2_000, 8 * 1024 * 1024, 5.0
"""What one walk looks at, at most."""
WALKS, WAITING = 2, 16
"""Walks at the same time, and how many more may wait to begin."""
ENTRIES = 50_000
"""Entries of folders that are kept, of which one takes some 300 bytes."""
PATIENT = 8
"""Callers that may wait longer than a page does, at the same time."""
_PAGE_SECONDS = 0.1
_SUBJECT = 200  # characters of a subject that are kept
_FORMAT = "--format=%x01%H%x01%at%x01%s"


@dataclass(frozen=True)
class LastCommit:
    """The commit that changed an entry last: its id, its author's time and the first line of its message."""

    sha: str
    at: float
    subject: str


@dataclass(frozen=True)
class LastCommits:
    """Entry → commit. `known`: the walk is over; `whole`: it came to the beginning of history."""

    of: Mapping[str, LastCommit] = field(default_factory=dict)
    known: bool = False
    whole: bool = False


class Latest:
    """Finds them, and keeps what was found. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], LastCommits] = OrderedDict()
        self._size = 0
        self._asked: dict[tuple[str, str, str], Future[LastCommits]] = {}
        self._walks = ThreadPoolExecutor(WALKS, "last-commits")
        self._patience = threading.BoundedSemaphore(PATIENT)

    def of(self, repository: Path, commit: str, folder: str, *, wait_s: float) -> LastCommits:
        """Give what is known of a folder of a commit after at most so many seconds; the walk goes on without us."""
        key = (str(repository), require_sha(commit), folder.strip("/"))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            walk = self._asked.get(key)
            if walk is None:
                if len(self._asked) >= WALKS + WAITING:
                    return LastCommits()
                walk = self._asked[key] = self._walks.submit(self._walk, key)
        if wait_s <= _PAGE_SECONDS:
            return _result(walk, wait_s)
        if not self._patience.acquire(blocking=False):
            return LastCommits()
        try:
            return _result(walk, wait_s)
        finally:
            self._patience.release()

    def close(self) -> None:
        """Begin no more walks; one under way ends within its bound."""
        self._walks.shutdown(wait=False, cancel_futures=True)

    def _walk(self, key: tuple[str, str, str]) -> LastCommits:
        found = LastCommits()
        try:
            found = walk(Path(key[0]), key[1], key[2])
        finally:
            with self._lock:
                self._asked.pop(key, None)
                if found.of or found.whole:  # a walk that came to nothing is tried again
                    self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, str, str], found: LastCommits) -> None:
        self._known[key] = found
        self._size += 1 + len(found.of)
        while self._size > ENTRIES and len(self._known) > 1:
            self._size -= 1 + len(self._known.popitem(last=False)[1].of)


def _result(walk: Future[LastCommits], wait_s: float) -> LastCommits:
    try:
        return walk.result(wait_s)
    except Late:
        return LastCommits()


def walk(repository: Path, commit: str, folder: str) -> LastCommits:
    """Walk over the history of a folder ("" is the root), newest first. Blocks."""
    below = [f":(literal){folder}/"] if folder else []
    options = ["-z", "--name-only", "--no-renames", "--no-merges", f"--max-count={COMMITS}", _FORMAT]
    data, whole = bounded_git(repository, ["log", *options, commit, "--", *below], BYTES, timeout_s=SECONDS)
    return _read(data, len(f"{folder}/".encode()) if folder else 0, whole)


def _read(data: bytes, prefix: int, whole: bool) -> LastCommits:
    """Read git's answer: for each commit its head, then the paths that it changed, the first behind an empty line."""
    found: dict[str, LastCommit] = {}
    told: LastCommit | None = None
    commits, first = 0, False
    for one in data.split(b"\0")[:-1]:  # behind the last: nothing, or what the bound has cut
        if one.startswith(b"\x01") and one.count(b"\x01") >= 3:
            _, sha, at, subject = one.split(b"\x01", 3)
            told = LastCommit(sha.decode("ascii", "replace"), _seconds(at), _words(subject))
            commits, first = commits + 1, True
        elif told is not None:
            path = one.removeprefix(b"\n") if first else one
            first = False
            name = path[prefix:].partition(b"/")[0].decode("utf-8", "backslashreplace")
            found.setdefault(name, told)
    return LastCommits(found, True, whole and commits < COMMITS)


def _words(subject: bytes) -> str:
    return subject[: 4 * _SUBJECT].decode("utf-8", "replace")[:_SUBJECT].strip()


def _seconds(at: bytes) -> float:
    return float(at) if at.isdigit() and len(at) < 12 else 0.0

"""Caches of repositories: directories named by what is in them, and keys that lead to them.

    caches/<repository>/content/<digest>/{files/, lock}     never changed once it is there
    caches/<repository>/keys/<hash>.json                    a key of a branch: which content, and when saved; the
                                                            file's time says when it was last used

A step mounts the content as it is, so restoring takes no time whatever the size. Who uses it holds `lock` shared; what
nobody holds is removed, the least recently used first, when a repository's caches are larger than the bound. The lock
is the kernel's: it ends with the process. A key is written after its content is on disk, and is on disk before its step
is done; one that leads nowhere is a miss.

Each repository has its own directory, so nothing of one can be found, guessed or worn out by another. Keys belong to a
branch: what a branch saves is seen by its own runs, and by others only if it is the default branch.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from stepwell.store.durable import sync_file, sync_file_system, sync_folder
from stepwell.store.small_files import name_of

MOST_KEYS = 1_000
"""Of a repository; beyond it those that were used least recently go."""


@dataclass(frozen=True)
class CacheKey:
    """A key under which something is kept. `bytes` and `files` are those of the content; `run` is who saved it."""

    key: str
    branch: str
    paths: tuple[str, ...]
    digest: str
    bytes: int
    files: int
    saved_at: float
    used_at: float
    run: str

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> "CacheKey":
        """Read what is in a key's file."""
        return cls(**{**data, "paths": tuple(data["paths"])})


class CacheFiles:
    """The caches of all repositories below one directory. Safe to use from any thread, and by several processes."""

    def __init__(self, root: Path, most_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._root = root
        self._most_bytes = most_bytes  # of one repository
        self._now = now

    def find(
        self,
        repository: str,
        branches: Sequence[str],
        keys: Sequence[str],
        prefixes: Sequence[str],
        paths: Sequence[str],
    ) -> CacheKey | None:
        """Return the best: an exact key of the first branch that has it, else the newest whose key has a prefix."""
        known = [one for one in self.keys(repository) if one.paths == tuple(paths) and one.branch in branches]
        for key in keys:
            for branch in branches:
                for one in known:
                    if (one.key, one.branch) == (key, branch):
                        return one
        for prefix in prefixes:
            for branch in branches:
                found = [one for one in known if one.branch == branch and one.key.startswith(prefix)]
                if found:
                    return max(found, key=lambda one: one.saved_at)
        return None

    @contextmanager
    def held(self, repository: str, found: CacheKey) -> Iterator[Path | None]:
        """Keep content from being removed and give its directory; None when it is gone already."""
        place = self._content(repository, found.digest)
        try:
            lock = os.open(place / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            with suppress(OSError):
                self._use(self._key(repository, found.branch, found.key, found.paths))
            yield place / "files" if _is_at(lock, place / "lock") else None
        finally:
            os.close(lock)

    def fresh(self, repository: str) -> Path:
        """Make a directory to be filled: `files` in it."""
        place = self._folder(repository) / "new" / uuid4().hex
        (place / "files").mkdir(parents=True)
        return place

    def keep(self, repository: str, fresh: Path, key: CacheKey) -> None:
        """Put what was filled in its place and have the key lead there; both are on disk then. Raises OSError."""
        place = self._content(repository, key.digest)
        if not place.exists():
            (fresh / "lock").touch()
            sync_file_system(fresh)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                fresh.rename(place)
            except OSError:
                if not place.exists():  # else another step has saved the same meanwhile
                    raise
            sync_folder(place.parent)
        self._write_key(repository, key)
        self.shrink(repository)

    def keys(self, repository: str) -> list[CacheKey]:
        """List a repository's keys, the most recently used first."""
        found = []
        for path in self._folder(repository).glob("keys/*.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):  # being removed, or not ours
                found.append(CacheKey.of_json({**json.loads(path.read_text()), "used_at": path.stat().st_mtime}))
        return sorted(found, key=lambda one: -one.used_at)

    def remove(self, repository: str, wanted: Callable[[CacheKey], bool] = lambda _: True) -> list[CacheKey]:
        """Remove keys, and what is left without one; return them. Content that is being used goes later."""
        gone = [one for one in self.keys(repository) if wanted(one)]
        for one in gone:
            self._key(repository, one.branch, one.key, one.paths).unlink(missing_ok=True)
        self._sweep(repository)
        return gone

    def forget(self, repository: str) -> bool:
        """Remove all of a repository that is gone; False while somebody uses its content: then ask again."""
        self.remove(repository)
        folder = self._folder(repository)
        if any(folder.glob("content/*")):
            return False
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        return True

    def shrink(self, repository: str) -> list[CacheKey]:
        """Remove the keys used least recently until the rest is within bounds; return them."""
        kept: set[str] = set()
        total, doomed = 0, set()
        for number, one in enumerate(self.keys(repository)):
            total += one.bytes if one.digest not in kept else 0
            if total > self._most_bytes or number >= MOST_KEYS:
                doomed.add((one.branch, one.key, one.paths))
            else:
                kept.add(one.digest)
        return self.remove(repository, lambda one: (one.branch, one.key, one.paths) in doomed) if doomed else []

    def recover(self) -> None:
        """Remove what was being filled when a server ended. Nothing may be filled meanwhile."""
        for folder in self._root.glob("*"):
            shutil.rmtree(folder / "new", ignore_errors=True)
            for path in folder.glob("keys/*"):
                if path.suffix != ".json":
                    path.unlink(missing_ok=True)
            self._sweep_folder(folder)

    def _sweep(self, repository: str) -> None:
        self._sweep_folder(self._folder(repository))

    def _sweep_folder(self, folder: Path) -> None:
        """Remove content that no key leads to and nobody holds."""
        named = set()
        for path in folder.glob("keys/*.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                named.add(json.loads(path.read_text())["digest"])
        for place in folder.glob("content/*"):
            if place.name not in named:
                _discard(place, folder / "new")

    def _write_key(self, repository: str, key: CacheKey) -> None:
        path = self._key(repository, key.branch, key.key, key.paths)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{uuid4().hex}")
        fresh.write_text(json.dumps(asdict(key)))
        os.utime(fresh, (key.used_at, key.used_at))
        sync_file(fresh)
        fresh.replace(path)
        for folder in (path.parent, path.parent.parent, self._root):
            sync_folder(folder)

    def _use(self, path: Path) -> None:
        """Note that a key is used. Raises FileNotFoundError when it has been removed."""
        os.utime(path, (self._now(), self._now()))

    def _folder(self, repository: str) -> Path:
        return self._root / name_of(repository)

    def _content(self, repository: str, digest: str) -> Path:
        return self._folder(repository) / "content" / digest

    def _key(self, repository: str, branch: str, key: str, paths: Iterable[str]) -> Path:
        return self._folder(repository) / "keys" / f"{name_of(branch, key, *paths)}.json"


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _discard(place: Path, trash: Path) -> None:
    """Take a directory that nobody holds out of sight, then remove it."""
    trash.mkdir(parents=True, exist_ok=True)
    gone = trash / uuid4().hex
    with suppress(FileNotFoundError, BlockingIOError):
        lock = os.open(place / "lock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place.rename(gone)
        finally:
            os.close(lock)
    shutil.rmtree(gone, ignore_errors=True)

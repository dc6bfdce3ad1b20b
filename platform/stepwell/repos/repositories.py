"""Bare repositories on disk, each by its id: made, found, read, deleted. Names and owners are rows elsewhere."""

import contextlib
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.repos.latest import Latest
from stepwell.repos.names import check_id
from stepwell.repos.reader import Reader
from stepwell.store.durable import sync_folder

# Written here too, besides each process's environment, for an operator who runs git in the directory by hand.
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[gc]
\tauto = 0
\tpruneExpire = never
[maintenance]
\tauto = false
[receive]
\tautogc = false
\thideRefs = refs/runs
[uploadpack]
\thideRefs = refs/runs
"""
LEAN = ("objects", "objects/info", "refs")  # what git insists on, with a place for alternates
FOLDERS = (*LEAN, "objects/pack", "refs/heads", "refs/tags")


class Repositories:
    """The directory `<state>/repos`. Thread-safe; methods touch the disk briefly."""

    def __init__(self, state: Path, *, keep_open: int = 64) -> None:
        self.root = state / "repos"
        self.root.mkdir(parents=True, exist_ok=True)
        self._keep_open = keep_open
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._lock = threading.Lock()
        self.latest = Latest()

    def path(self, repository: str) -> Path:
        """Return where a repository is or would be."""
        return self.root / f"{check_id(repository)}.git"

    def exists(self, repository: str) -> bool:
        return (self.path(repository) / "HEAD").is_file()

    def require(self, repository: str) -> Path:
        """Return the path; raises NotFound when there is no such repository."""
        if not self.exists(repository):
            raise NotFound("The repository is not there any more.")
        return self.path(repository)

    def create(self, repository: str, default_branch: str = "main") -> Path:
        """Make an empty repository: whole or not at all. Raises Conflict when it exists."""
        if not default_branch or any(c.isspace() for c in default_branch) or ".." in default_branch:
            raise Invalid(f"Default branch {default_branch!r} is not valid. Use a name such as 'main'.")
        path = self.path(repository)
        fresh = self.root / f".new-{uuid.uuid4().hex}"
        write_bare(fresh, f"ref: refs/heads/{default_branch}\n", _CONFIG)
        try:
            fresh.rename(path)
        except OSError as error:
            shutil.rmtree(fresh)
            raise Conflict(f"Repository {repository!r} exists already.") from error
        sync_folder(self.root)
        return path

    def delete(self, repository: str) -> None:
        """Remove a repository for good: invisible at once, then its files. Nothing happens when there is none.

        Raises OSError when a git process that is still at work there keeps some; the next call goes on with them.
        """
        gone = self.root / f".gone-{check_id(repository)}"
        with contextlib.suppress(FileNotFoundError):
            self.path(repository).rename(gone)
        self.let_go(repository)
        while gone.exists():  # a git process may remove a file of its own before we do, which ends one pass
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(gone)

    def let_go(self, repository: str) -> None:
        """Release the files of a repository that is read no more."""
        with self._lock:
            reader = self._readers.pop(repository, None)
        if reader is not None:
            reader.close()

    def reader(self, repository: str) -> Reader:
        """Return the shared reader; never close it and ask anew for each use: the least used release their files."""
        with self._lock:
            reader = self._readers.get(repository)
            if reader is None:
                reader = self._readers[repository] = Reader(self.require(repository))
            self._readers.move_to_end(repository)
            idle = self._readers.popitem(last=False)[1] if len(self._readers) > self._keep_open else None
        if idle is not None:
            idle.close()
        return reader

    def quarantined(self, repository: str, quarantine: Path) -> Reader:
        """Return a reader that also sees the objects of a push not yet accepted; close it (`with`)."""
        path = self.require(repository)
        if (path / "objects").resolve() not in quarantine.resolve().parents:
            raise Invalid(f"Quarantine {str(quarantine)!r} is not inside the repository.")
        return Reader(path, quarantine)

    def remove_leftovers(self) -> None:
        """Remove halves of a create or delete that a crash cut short; call at start, before anything is created."""
        for entry in self.root.iterdir():
            if entry.name.startswith((".new-", ".gone-")):
                shutil.rmtree(entry)

    def close(self) -> None:
        """Release all files."""
        with self._lock:
            readers, self._readers = list(self._readers.values()), OrderedDict()
        self.latest.close()
        for reader in readers:
            reader.close()


def write_bare(path: Path, head: str, config: str, folders: Sequence[str] = FOLDERS) -> None:
    """Write an empty bare repository by hand: no process, a few small files."""
    path.mkdir(parents=True)
    for folder in folders:
        (path / folder).mkdir()
    (path / "config").write_text(config, "utf-8")
    (path / "HEAD").write_text(head, "utf-8")

"""What the reader returns: plain values, safe to keep after the repository is closed."""

from dataclasses import dataclass
from typing import Literal

EntryKind = Literal["file", "executable", "link", "folder", "submodule"]


@dataclass(frozen=True)
class Person:
    """Author or committer as the commit names them: claimed, never proven."""

    name: str
    email: str
    at: float  # seconds since the epoch


@dataclass(frozen=True)
class CommitInfo:
    """A commit without its files."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str

    @property
    def subject(self) -> str:
        """First line of the message."""
        return self.message.strip().partition("\n")[0].strip()


@dataclass(frozen=True)
class TreeEntry:
    """A name in a folder of a commit; `size` in bytes for files."""

    name: str
    path: str
    kind: EntryKind
    sha: str
    size: int | None = None


@dataclass(frozen=True)
class Changes:
    """Paths that differ between two trees, sorted. `complete` is false when there were more than the bound."""

    paths: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class Bounds:
    """How much of a folder is read at most."""

    files: int = 200
    file_bytes: int = 256 * 1024
    total_bytes: int = 2 * 1024 * 1024

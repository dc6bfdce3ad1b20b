"""What people browse of a repository: branches, history, commits, folders, files; each narrowed by who asks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stepwell.errors import NotFound
from stepwell.repos.latest import LastCommits
from stepwell.repos.objects import CommitInfo, TreeEntry
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories
from stepwell.store.tables import Repository
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope

LARGEST_FILE = 8 * 1024 * 1024
MOST_REFS = 500


@dataclass(frozen=True)
class Refs:
    """Branch → commit and tag → commit, at most MOST_REFS of each; `more` says that there are others."""

    branches: Mapping[str, CommitInfo]
    tags: Mapping[str, CommitInfo]
    more: bool = False


@dataclass(frozen=True)
class Tip:
    """A branch, tag or commit as it was asked for, and the commit that it means; "" where nothing was pushed yet."""

    ref: str
    sha: str


@dataclass(frozen=True)
class Folder:
    """A folder: its path and what is in it."""

    path: str
    entries: tuple[TreeEntry, ...]


@dataclass(frozen=True)
class File:
    """A file: its path and content."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Patch:
    """A commit with what git prints of its difference to its first parent; `whole`: that is all of it."""

    commit: CommitInfo
    text: str
    whole: bool


class Browsing:
    """Reads repositories for people. All methods block, and raise NotFound for what is not there or not theirs."""

    def __init__(self, scope: Scope, repositories: Repositories) -> None:
        self._scope = scope
        self._repositories = repositories

    def names(self, actor: Actor, tenant: str, name: str) -> tuple[list[str], list[str]]:
        """Return the names of branches and tags."""
        _, reader = self._open(actor, tenant, name)
        return list(reader.branches())[:MOST_REFS], list(reader.tags())[:MOST_REFS]

    def refs(self, actor: Actor, tenant: str, name: str) -> Refs:
        """Return branches and tags with their commits, the newest first."""
        _, reader = self._open(actor, tenant, name)
        branches, tags = reader.branches(), reader.tags()
        more = max(len(branches), len(tags)) > MOST_REFS
        return Refs(_newest(reader, branches), _newest(reader, tags), more)

    def tip(self, actor: Actor, tenant: str, name: str, ref: str = "") -> Tip:
        """Find what a branch, tag or full commit id means; the default branch if none is given."""
        row, reader = self._open(actor, tenant, name)
        sha = reader.resolve(ref or row.default_branch)
        if sha is None and ref:
            raise NotFound(f"There is no branch, tag or commit {ref[:200]!r}.")
        return Tip(ref or row.default_branch, sha or "")

    def at(self, actor: Actor, tenant: str, name: str, sha: str, path: str = "") -> Folder | File:
        """Return what is at a path of a commit; entries of a folder without their sizes, see `sized`."""
        _, reader = self._open(actor, tenant, name)
        path = path.strip("/")
        if reader.tree_of(sha, path) is not None:
            return Folder(path, tuple(reader.list_folder(sha, path, sizes=False)))
        return File(path, reader.blob(sha, path, limit=LARGEST_FILE))

    def sized(self, actor: Actor, tenant: str, name: str, entries: Iterable[TreeEntry]) -> list[TreeEntry]:
        """Return entries that were listed with their sizes."""
        return self._open(actor, tenant, name)[1].sized(entries)

    def content(self, actor: Actor, tenant: str, name: str, entry: TreeEntry, *, limit: int) -> bytes:
        """Return the content of a file that was listed. Raises Invalid when it has more than `limit` bytes."""
        return self._open(actor, tenant, name)[1].raw_blob(entry.sha, limit=limit)

    def last_commits(
        self, actor: Actor, tenant: str, name: str, sha: str, folder: str, *, wait_s: float
    ) -> LastCommits:
        """Return the last commit of each entry of a folder, as far as it is known after so many seconds."""
        row, _ = self._open(actor, tenant, name)
        return self._repositories.latest.of(self._repositories.path(row.id), sha, folder, wait_s=wait_s)

    def history(self, actor: Actor, tenant: str, name: str, sha: str, *, skip: int, limit: int) -> list[CommitInfo]:
        """Return a page of the history of a commit, newest first."""
        return self._open(actor, tenant, name)[1].log(sha, skip=skip, limit=limit)

    def patch(self, actor: Actor, tenant: str, name: str, sha: str) -> Patch:
        """Return a commit and what it changed."""
        _, reader = self._open(actor, tenant, name)
        commit = reader.commit(sha)
        return Patch(commit, *reader.patch(commit.parents[0] if commit.parents else None, sha))

    def _open(self, actor: Actor, tenant: str, name: str) -> tuple[Repository, Reader]:
        row = self._scope.repository(actor, tenant, name)
        return row, self._repositories.reader(row.id)


def _newest(reader: Reader, refs: Mapping[str, str]) -> Mapping[str, CommitInfo]:
    found: dict[str, CommitInfo] = {}
    for ref in list(refs)[:MOST_REFS]:
        sha = reader.resolve(refs[ref])  # an annotated tag is an object of its own
        if sha is not None:
            found[ref] = reader.commit(sha)
    return dict(sorted(found.items(), key=lambda one: -one[1].committer.at))

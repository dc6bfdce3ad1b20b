"""Single objects of a repository, each looked at for its size before it is inflated. Not for several threads."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.repo import Repo

from stepwell.errors import Invalid, NotFound
from stepwell.repos.objects import CommitInfo, EntryKind, Person
from stepwell.repos.sizes import object_size, read_loose, read_packed

_SHA = re.compile(r"[0-9a-f]{40}")
_TREE = re.compile(rb"tree ([0-9a-f]{40})\n")
_LARGEST_COMMIT = 1024 * 1024  # bytes
_LARGEST_TREE = 16 * 1024 * 1024
_KINDS: dict[int, EntryKind] = {0o040000: "folder", 0o120000: "link", 0o160000: "submodule"}
_MOST_TAGS_OF_TAGS = 10
_Object = TypeVar("_Object", bound=ShaFile)
_Found = TypeVar("_Found")


def is_sha(text: str) -> bool:
    return bool(_SHA.fullmatch(text))


def require_sha(text: str) -> str:
    """Return the full id of an object; raises NotFound for anything else, so that it is safe as an argument of git."""
    if not is_sha(text):
        raise NotFound(f"{text[:60]!r} is no full commit id. Write all 40 hexadecimal digits.")
    return text


class Odb:
    """The objects of one open repository."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def size(self, sha: str) -> int:
        """Return the size in bytes; raises KeyError when there is no such object."""
        return _looked_for(lambda: object_size(self._repo.object_store, sha.encode()))

    def commit(self, sha: str) -> CommitInfo:
        return _commit_info(self._get(sha, Commit, _LARGEST_COMMIT))

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit, of which nothing else is read."""
        found = _TREE.match(self.raw(commit, Commit, _LARGEST_COMMIT))
        if found is None:
            raise NotFound(f"Commit {commit[:12]} is damaged: it names no tree.")
        return found[1].decode()

    def tree(self, sha: str) -> Iterator[tuple[str, EntryKind, int, str]]:
        """Yield name, kind, mode and id of each entry of a folder; bytes that are no UTF-8 look like `\\xff`."""
        for item in self._get(sha, Tree, _LARGEST_TREE).iteritems():
            mode = item.mode or 0
            yield item.path.decode("utf-8", "backslashreplace"), _kind(mode), mode, item.sha.decode()

    def blob(self, sha: str, path: str, limit: int) -> bytes:
        """Return a file's content; the path is for the message when it has more than `limit` bytes."""
        try:
            return self._get(sha, Blob, limit).as_raw_string()
        except Invalid as error:
            raise Invalid(f"File {path!r} is too large. At most {limit:,} bytes are read.") from error

    def raw(self, sha: str, kind: type[Tree] | type[Blob] | type[Commit], limit: int) -> bytes:
        """Return a folder, a file or a commit as git keeps it. Raises NotFound, or Invalid over `limit` bytes."""
        name, store = kind.__name__, self._repo.object_store
        if packed := read_packed(store, require_sha(sha), limit):
            if packed[0] == kind.type_num:
                return packed[1]
        elif (loose := read_loose(store, sha, limit)) and loose[0] == kind.type_name:
            return loose[1]
        try:
            self._check_size(sha, limit, name)
            number, content = _looked_for(lambda: store.get_raw(ObjectID(sha.encode())))
        except KeyError as error:
            raise NotFound(f"There is no {name.lower()} {sha[:12]} in this repository.") from error
        if number != kind.type_num:
            raise NotFound(f"Object {sha[:12]} is no {name.lower()}.")
        return content

    def peel(self, sha: str) -> str | None:
        """Follow tags to a commit; None when there is none at the end."""
        for _ in range(_MOST_TAGS_OF_TAGS):
            try:
                self._check_size(sha, _LARGEST_COMMIT, "Object")
                found = self._object(sha)
            except KeyError:
                return None
            if not isinstance(found, Tag):
                return sha if isinstance(found, Commit) else None
            sha = found.object[1].decode()
        return None

    def _get(self, sha: str, kind: type[_Object], limit: int) -> _Object:
        name = kind.__name__
        try:
            self._check_size(require_sha(sha), limit, name)
            found = self._object(sha)
        except KeyError as error:
            raise NotFound(f"There is no {name.lower()} {sha[:12]} in this repository.") from error
        if not isinstance(found, kind):
            raise NotFound(f"Object {sha[:12]} is no {name.lower()}.")
        return found

    def _object(self, sha: str) -> ShaFile:
        return _looked_for(lambda: self._repo[ObjectID(sha.encode())])

    def _check_size(self, sha: str, limit: int, what: str) -> None:
        size = self.size(sha)
        if size > limit:
            raise Invalid(f"{what} {sha[:12]} has {size:,} bytes. At most {limit:,} bytes are read.")


def _looked_for(look: Callable[[], _Found]) -> _Found:
    """Look again for what is in no pack and no file: it may have gone from a file into a new pack in between."""
    try:
        return look()
    except KeyError:
        return look()


def _kind(mode: int) -> EntryKind:
    return _KINDS.get(mode & 0o170000) or ("executable" if mode & 0o111 else "file")


def _commit_info(commit: Commit) -> CommitInfo:
    return CommitInfo(
        sha=commit.id.decode(),
        tree=commit.tree.decode(),
        parents=tuple(parent.decode() for parent in commit.parents),
        author=_person(commit.author, commit.author_time),
        committer=_person(commit.committer, commit.commit_time),
        message=commit.message.decode(_encoding(commit.encoding), "replace"),
    )


def _encoding(declared: bytes | None) -> str:
    name = (declared or b"utf-8").decode("ascii", "replace")
    try:
        b"".decode(name)
    except LookupError:
        return "utf-8"
    return name


def _person(identity: bytes, at: float) -> Person:
    name, _, email = identity.decode("utf-8", "replace").rpartition(" <")
    return Person(name or email.rstrip(">"), email.rstrip(">"), float(at))

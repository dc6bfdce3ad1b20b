"""Many refs of one push, created and deleted together: one rewrite of the packed refs.

git makes a file and an fsync for each that is new, and writes all packed refs anew for each that goes. It hands them
over through its `proc-receive` hook, when the push is permitted and its objects are taken in. What is not plain is left
to git, which decides about that ref in its own way and words: a new ref that exists or is locked, a name that is
refused or is a directory of another ref, a branch that is no commit, an object that is not there; deleting what has
moved meanwhile, the branch of HEAD, or a ref in a file of its own.

Each ref is locked meanwhile as git does it, by a file `<ref>.lock` that must not be there: of two pushes of one new
branch, one wins. The locks are names of one file, since a file system may take milliseconds to make a new one.
"""

import errno
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dulwich.refs import Ref, check_ref_format

from stepwell.errors import Invalid
from stepwell.repos.common_memory import COMMON
from stepwell.repos.process import bound, environment
from stepwell.repos.push import RefUpdate
from stepwell.repos.refs import ID, loose_files, rewrite_packed
from stepwell.store.durable import sync_folder

MANY = 50
"""With more refs than this, a push creates and deletes them together."""
_KINDS = ("refs/heads/", "refs/tags/")
_LOOK_S = 30.0
_MEMORY = 1 << 30  # bytes of the git that looks
_NO_LOCK = (errno.EEXIST, errno.ENOENT, errno.ENOTDIR)


def change_together(repository: Path, updates: Sequence[RefUpdate]) -> set[str]:
    """Create and delete refs as far as that is plain; return which. On disk when this returns. Blocks.

    Raises TryLater when somebody holds the packed refs for long, Invalid when git cannot read the objects.
    """
    head = (repository / "HEAD").read_text("utf-8", "surrogateescape").removeprefix("ref: ").strip()
    new = {one.ref: one.new for one in updates if not one.deleted and _is_plain(one.ref, one.new)}
    old = {one.ref: one.old for one in updates if one.deleted and _is_plain(one.ref, one.old) and one.ref != head}
    values = _packed_values(repository, new)
    changed = set[str]()
    with _Locks(repository) as locks:
        locked = {ref for ref in (*values, *old) if locks.take(ref)}

        def change(packed: dict[str, str]) -> bool:
            loose = {path[len(f"{repository}/") :] for path in loose_files(f"{repository}/refs")}
            created = _free(locked & values.keys(), loose.union(packed))
            gone = {ref for ref in locked & old.keys() - loose if packed.get(ref, "").partition("\n")[0] == old[ref]}
            for ref in gone:
                del packed[ref]
            packed.update((ref, values[ref]) for ref in created)
            changed.update(created, gone)
            return bool(changed)

        rewrite_packed(repository, change)
        sync_folder(repository)
    return changed


def _is_plain(ref: str, id_: str) -> bool:
    return ref.startswith(_KINDS) and check_ref_format(Ref(os.fsencode(ref))) and bool(ID.fullmatch(id_.encode()))


def _packed_values(repository: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return what the packed refs say of each: the id, and for a tag object also what it stands for."""
    ends = _ends(repository, list(dict.fromkeys(wanted.values())))
    values = dict[str, str]()
    for ref, id_ in wanted.items():
        end, kind = ends[id_]
        if end == id_ and (kind == "commit" or not ref.startswith("refs/heads/")):
            values[ref] = id_
        elif end and end != id_ and not ref.startswith("refs/heads/"):
            values[ref] = f"{id_}\n^{end}"
    return values


def _ends(repository: Path, ids: list[str]) -> dict[str, tuple[str, str]]:
    """Return what each object stands for at last, and the kind of that; "" for what is not there."""
    command = ["git", "--git-dir", str(repository), "cat-file", "--batch-check=%(objectname) %(objecttype)"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        bound(process.pid, _MEMORY, int(_LOOK_S))
        COMMON.watch(process.pid)
        try:
            told, _ = process.communicate("".join(f"{id_}^{{}}\n" for id_ in ids).encode(), timeout=_LOOK_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Invalid("Looking at the objects of the new refs took too long.") from error
    lines = [line.split(" ") for line in told.decode("utf-8", "replace").splitlines()]
    if process.returncode or len(lines) != len(ids):
        raise Invalid("git could not look at the objects of the new refs.")
    ends = [(line[0], line[1]) if ID.fullmatch(line[0].encode()) else ("", "") for line in lines]
    return dict(zip(ids, ends, strict=True))


def _free(wanted: set[str], taken: set[str]) -> set[str]:
    """Return the refs that do not exist, are no directory of another ref, and have no ref as a directory of theirs."""
    names = taken | wanted
    folders = {folder for name in names for folder in _above(name)}
    return {ref for ref in wanted if ref not in taken and ref not in folders and names.isdisjoint(_above(ref))}


def _above(ref: str) -> Iterator[str]:
    """Give the directories of a ref below its kind's."""
    parts = ref.split("/")
    return ("/".join(parts[:count]) for count in range(3, len(parts)))


class _Locks:
    """Locks of refs, and of what would be a ref in place of their directories; released at the end of the block."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._asked: dict[str, bool] = {}
        self._file = ""
        self._made: list[str] = []

    def __enter__(self) -> "_Locks":
        return self

    def __exit__(self, *_: object) -> None:
        for name in [name for name, is_taken in self._asked.items() if is_taken]:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))  # noqa: PTH108
        for folder in reversed(self._made):
            with suppress(OSError):  # another ref is in it by now
                os.rmdir(folder)  # noqa: PTH106

    def take(self, ref: str) -> bool:
        """Lock a ref; say whether it could be."""
        return all(self._take(name) for name in (*_above(ref), ref))

    def _take(self, name: str) -> bool:
        if name not in self._asked:
            self._asked[name] = False
            try:
                self._make_folders(name)
                self._make(self._path(name))
                self._asked[name] = True
            except OSError as error:
                if error.errno not in _NO_LOCK:
                    raise
        return self._asked[name]

    def _path(self, name: str) -> str:
        return f"{self._repository}/{name}.lock"

    def _make_folders(self, name: str) -> None:
        for folder in (f"{self._repository}/{above}" for above in _above(name)):
            if not os.path.isdir(folder):  # noqa: PTH112
                os.mkdir(folder)  # noqa: PTH102
                self._made.append(folder)

    def _make(self, path: str) -> None:
        if self._file:
            try:
                os.link(self._file, path)
                return
            except OSError as error:
                if error.errno in _NO_LOCK:
                    raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        self._file = path

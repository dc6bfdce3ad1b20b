"""Trees as little as what differs from a tree that is there: files and whiteouts, to be laid over it.

A push mostly changes a few files. Writing these takes milliseconds whatever the size of the tree, where a checkout
takes its size. Only directories that differ are read. What git might write unlike its objects, or refuse, is left to
git: any odd name, attributes that convert in or above a changed directory, attributes that change, submodules that do.

What is written is what an overlay shows as the new tree: a file hides a directory below it, a directory a file; gone
is what a character device 0:0 stands for, which every kind of overlay understands. An empty directory, which git never
writes, would have to be hidden: such a tree is left to git as well.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stepwell_runners.git_index import Entry
from stepwell_runners.lazy_tree import MOST_PATH, converts, is_plain
from stepwell_runners.tree_listings import Names, changes, listing

MOST_CHANGES = 500  # paths
_MOST_FOLDERS = 400  # that are read
_MOST_BYTES = 32 << 20
_MOST_FILE = 8 << 20
_MOST_LINK = 4095
_FOLDER, _LINK, _SUBMODULE = b"40000", b"120000", b"160000"
_FILES = (b"100644", b"100755")
_ATTRIBUTES = b".gitattributes"

ReadTree = Callable[[str], bytes]
ReadBlob = Callable[[str], bytes]


class Unlike(Exception):
    """The trees differ too much, or in what git has to decide; it says what."""


@dataclass(frozen=True)
class Difference:
    """What a tree has that another has not: path → mode and id; and the paths of which nothing is left.

    A directory in place of which a file is written is among the gone too, and the other way round.
    """

    written: Mapping[bytes, tuple[bytes, str]] = field(default_factory=dict)
    gone: tuple[bytes, ...] = ()


def difference(old: str, new: str, tree: ReadTree, blob: ReadBlob) -> Difference:
    """Compare two trees. Raises Unlike, and what the readers raise."""
    written: dict[bytes, tuple[bytes, str]] = {}
    gone: list[bytes] = []
    waiting: list[tuple[bytes, str | None, str]] = [(b"", old, new)]
    folders = 0
    while waiting:
        prefix, mine, theirs = waiting.pop()
        before, after = _compared(tree, mine, theirs, prefix, blob)
        changed = [name for name, entry in after.items() if before.get(name) != entry]
        for name in (*changed, *(before.keys() - after.keys())):
            left, right = before.get(name), after.get(name)
            if right is not None and not is_plain(right[0], name):
                raise Unlike(f"a name that git has to decide about: {prefix + name!r}")
            kinds = [side[0] for side in (left, right) if side is not None]
            if _SUBMODULE in kinds:
                raise Unlike(f"submodule {prefix + name!r}")
            if right is not None and right[0] == _FOLDER:
                inner = left[1].hex() if left and left[0] == _FOLDER else None
                waiting.append((prefix + name + b"/", inner, right[1].hex()))
            elif right is not None:
                written[prefix + name] = right[0], right[1].hex()
            if left is not None and (right is None or (_FOLDER in kinds and kinds[0] != kinds[1])):
                gone.append(prefix + name)
        folders += 1
        if folders > _MOST_FOLDERS or len(written) + len(gone) > MOST_CHANGES or len(prefix) > MOST_PATH:
            raise Unlike("more than a few paths")
    return Difference(written, tuple(gone))


def _compared(tree: ReadTree, mine: str | None, theirs: str, prefix: bytes, blob: ReadBlob) -> tuple[Names, Names]:
    """Read where two directories differ, before and after. Which names are sound is looked at there."""
    old = listing(tree(mine), len(mine) // 2) if mine else None
    new = listing(tree(theirs), len(theirs) // 2) if mine is None else None
    found = changes(old, tree(theirs)) if old else (new, {}, new.names) if new else None
    if found is None:
        raise Unlike("a directory that git has to decide about")
    after = found[0].names
    _check_attributes(old.names if old else after, after, prefix, blob)
    return found[1:]


def _check_attributes(before: Names, after: Names, prefix: bytes, blob: ReadBlob) -> None:
    attributes = after.get(_ATTRIBUTES)
    if attributes != before.get(_ATTRIBUTES):
        raise Unlike(f"attributes of {prefix!r}")
    if attributes is not None and (attributes[0] not in _FILES or converts(blob(attributes[1].hex()))):
        raise Unlike(f"attributes of {prefix!r}")


def write(found: Difference, target: Path, blob: ReadBlob, seconds: int) -> tuple[dict[bytes, Entry], int]:
    """Write a difference into a new directory, all files of one time; what an index says of these, and their bytes.

    Raises Unlike for contents that are too large, OSError.
    """
    place = os.fsencode(target)
    _make(place)
    made, total, entries = {b""}, 0, {}
    for path, (mode, id_) in found.written.items():
        content = blob(id_)
        total += len(content)
        if len(content) > _MOST_FILE or total > _MOST_BYTES:
            raise Unlike("more than a few bytes")
        _make_above(path, place, made)
        _write(place + b"/" + path, mode, content, seconds)
        entries[path] = Entry(int(mode, 8), id_, len(content))
    for path in found.gone:
        if path not in found.written and path not in made:
            _make_above(path, place, made)
            os.mknod(place + b"/" + path, stat.S_IFCHR, os.makedev(0, 0))
    return entries, total


def _write(path: bytes, mode: bytes, content: bytes, seconds: int) -> None:
    if mode == _LINK:
        if not 0 < len(content) <= _MOST_LINK or b"\0" in content:
            raise Unlike("a link that leads nowhere")
        os.symlink(content, path)  # noqa: PTH211 - bytes
        os.utime(path, (seconds, seconds), follow_symlinks=False)
        return
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(file, left) :]
        os.fchmod(file, 0o755 if mode == b"100755" else 0o644)
        os.utime(file, (seconds, seconds))
    finally:
        os.close(file)


def _make_above(path: bytes, place: bytes, made: set[bytes]) -> None:
    above = path.rpartition(b"/")[0]
    if above not in made:
        _make_above(above, place, made)
        made.add(above)
        _make(place + b"/" + above)


def _make(place: bytes) -> None:
    os.mkdir(place)  # noqa: PTH102 - paths are bytes
    os.chmod(place, 0o755)  # noqa: PTH101, S103 - whatever the umask

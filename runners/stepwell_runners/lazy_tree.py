"""Nodes of a tree that is served before it is checked out.

A directory is read from its tree object when it is first looked at. What git would write differently from what the
objects say, or would refuse, is not decided here: such a directory *waits* until git has checked the tree out beside,
and is read from there. So nobody ever sees a name that git refuses, nor a file that git would have converted.

It waits for: names that could be `.git` on any file system, `.` and `..`, names twice, modes that git does not write,
links in place of git's own files, attributes that convert line ends or run filters.

`.git/index` is served beside the tree, and waits too: it holds the time and size of every file.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from stepwell_runners.fuse import ROOT, Attributes
from stepwell_runners.lazy_objects import MissingObject, Objects

MOST_NODES = 1_100_000  # more than git is let check out; they take about 300 bytes each
MOST_ATTRIBUTES = 1 << 20  # bytes of a .gitattributes
MOST_FOLDER = 64 << 20  # bytes of a tree object
MOST_PATH = 2048  # bytes
TREE, GIT = b"tree", b"git"  # the two directories below a mount
_FOLDER, _FILE, _PROGRAM, _LINK, _SUBMODULE = b"40000", b"100644", b"100755", b"120000", b"160000"
_MODES = {
    _FOLDER: stat.S_IFDIR | 0o755,
    _FILE: stat.S_IFREG | 0o644,
    _PROGRAM: stat.S_IFREG | 0o755,
    _LINK: stat.S_IFLNK | 0o777,
    _SUBMODULE: stat.S_IFDIR | 0o755,  # git leaves an empty directory
}
_PLAIN = frozenset(
    (
        b".gitattributes",
        b".gitignore",
        b".gitmodules",
        b".gitkeep",
        b".github",
        b".gitlab",
        b".gitea",
        b".gitlab-ci.yml",
    )
)
# Code points that HFS+ leaves out when it compares names.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_HARMLESS_EOL = re.compile(rb"(?<![^\s])eol=lf(?![^\s])")
_CONVERTING = re.compile(rb"\[attr\]|eol|crlf|filter|ident|working-tree-encoding")


class Waits(Exception):
    """Git has to check the tree out first."""


class Refused(Exception):
    """There is nothing to be shown: git refused the tree, or its objects are gone."""


@dataclass(slots=True, eq=False)
class Node:
    """One name. `id` is "" for what is read from the checkout; `path` is of directories, and of what is read there."""

    number: int
    mode: int
    path: bytes
    id: str = ""
    size: int = 0
    place: int = 0  # among the files of its directory
    above: "Node | None" = None
    waits: bool = False
    names: dict[bytes, "Node"] | None = None
    files: list["Node"] = field(default_factory=list)
    reads: int = 0  # of files in this directory


@dataclass
class Checkout:
    """Where git checks the tree out, and whether it has: `ok` is None until then."""

    place: Path
    index: Path
    ok: bool | None = None


class LazyTree:
    """All nodes of one mount. Not for several threads."""

    def __init__(self, objects: Objects, tree: str, seconds: int, checkout: Checkout) -> None:
        self.objects = objects
        self.checkout = checkout
        self._seconds = seconds
        self._id_bytes = len(tree) // 2
        self._nodes: list[Node] = []
        root = self._add(stat.S_IFDIR | 0o755, b"")
        top = self._add(stat.S_IFDIR | 0o755, b"", tree)
        beside = self._add(stat.S_IFDIR | 0o755, b"")
        git = self._add(stat.S_IFDIR | 0o755, b"")
        self._index = self._add(stat.S_IFREG | 0o644, b"")
        root.names, beside.names, git.names = {TREE: top, GIT: beside}, {b".git": git}, {b"index": self._index}
        assert root.number == ROOT

    def node(self, number: int) -> Node:
        """Return the node of this number."""
        return self._nodes[number - 1]

    def names(self, folder: Node) -> dict[bytes, Node]:
        """Return what is in a directory. Raises Waits, Refused."""
        if folder.names is None:
            if self.checkout.ok is False:
                raise Refused("git refused the tree")
            try:
                folder.names = self._from_checkout(folder) if folder.waits else self._from_objects(folder)
            except (MissingObject, FileNotFoundError) as error:
                raise Refused(str(error)) from error
        return folder.names

    def attributes(self, node: Node) -> Attributes:
        """Return what `stat` shows. Raises Waits, Refused."""
        if node is self._index:
            self._wait()
            status = self.checkout.index.stat()
            node.size = status.st_size
            return Attributes(node.number, node.mode, node.size, int(status.st_mtime))  # later than all files
        return Attributes(node.number, node.mode, node.size, self._seconds)

    def file(self, node: Node) -> Path | None:
        """Return where the content is on disk; None when it is an object. Raises Waits, Refused."""
        if node is self._index:
            self._wait()
            return self.checkout.index
        if self.checkout.ok is False:  # a tree too large to be checked out is not unpacked here either
            raise Refused("git refused the tree")
        return None if node.id else self._beneath(node.path)

    def _wait(self) -> None:
        if self.checkout.ok is None:
            raise Waits
        if not self.checkout.ok:
            raise Refused("git refused the tree")

    def _beneath(self, path: bytes) -> Path:
        return self.checkout.place / os.fsdecode(path)

    def _add(self, mode: int, path: bytes, id_: str = "") -> Node:
        if len(self._nodes) >= MOST_NODES:
            raise Refused(f"more than {MOST_NODES:,} names")
        node = Node(len(self._nodes) + 1, mode, path, id_)
        self._nodes.append(node)
        return node

    def _from_checkout(self, folder: Node) -> dict[bytes, Node]:
        self._wait()
        names = {}
        with os.scandir(self._beneath(folder.path)) as found:
            for one in found:
                status = one.stat(follow_symlinks=False)
                name = os.fsencode(one.name)
                node = names[name] = self._add(status.st_mode, _join(folder.path, name))
                node.waits = stat.S_ISDIR(status.st_mode)
                node.size = 0 if node.waits else status.st_size
        return names

    def _from_objects(self, folder: Node) -> dict[bytes, Node]:
        if not folder.id:  # a submodule
            return {}
        raw = self.objects.tree(folder.id, MOST_FOLDER) if len(folder.path) <= MOST_PATH else None
        entries = None if raw is None else parse(raw, self._id_bytes)
        if entries is None or self._converts(entries):
            folder.waits = True
            return self._from_checkout(folder)
        blobs = [id_ for mode, _, id_ in entries if mode not in (_FOLDER, _SUBMODULE)]
        sizes = iter(self.objects.sizes(blobs))
        names = {}
        for mode, name, id_ in entries:
            is_folder = mode in (_FOLDER, _SUBMODULE)
            path = _join(folder.path, name) if is_folder else b""
            node = names[name] = self._add(_MODES[mode], path, "" if mode == _SUBMODULE else id_)
            if not is_folder:
                node.size, node.above, node.place = next(sizes), folder, len(folder.files)
                folder.files.append(node)
        return names

    def _converts(self, entries: list[tuple[bytes, bytes, str]]) -> bool:
        for mode, name, id_ in entries:
            if name == b".gitattributes":
                if mode not in (_FILE, _PROGRAM) or self.objects.sizes([id_])[0] > MOST_ATTRIBUTES:
                    return True
                return converts(self.objects.contents([id_])[0])
        return False


def converts(attributes: bytes) -> bool:
    """Say whether a .gitattributes may make git write files unlike their objects."""
    return bool(_CONVERTING.search(_HARMLESS_EOL.sub(b"", attributes)))


def parse(raw: bytes, id_bytes: int) -> list[tuple[bytes, bytes, str]] | None:
    """Return mode, name and id of each entry of a tree object; None when git has to decide what becomes of it."""
    entries: list[tuple[bytes, bytes, str]] = []
    seen = set()
    position = 0
    while position < len(raw):
        space = raw.find(b" ", position)
        end = raw.find(b"\0", space)
        mode, name, id_ = raw[position:space], raw[space + 1 : end], raw[end + 1 : end + 1 + id_bytes]
        position = end + 1 + id_bytes
        if space < 0 or end < 0 or len(id_) != id_bytes or name in seen or not is_plain(mode, name):
            return None
        seen.add(name)
        entries.append((mode, name, id_.hex()))
    return entries


def is_plain(mode: bytes, name: bytes) -> bool:
    """Say whether git surely writes an entry as it stands; rather not when in doubt."""
    if mode not in _MODES or not name or len(name) > 255 or b"/" in name or b"\\" in name or name in (b".", b".."):
        return False
    if mode == _LINK and (b"~" in name or b".git" in name.lower()):
        return False  # git's own files by a link, `.gitmodules` or its short name
    if name in _PLAIN or not (name[:1] == b"." or name[:1] in b"gG" or name[0] >= 0x80):
        return True
    text = _IGNORED.sub("", name.decode("utf-8", "replace")).lower()
    return not text.startswith((".git", "git~"))


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name

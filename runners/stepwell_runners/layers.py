"""The layer algebra: what one step changed, and how changes stack. Pure; nothing here touches a disk.

A layer is neutral: paths written, and an explicit list of paths deleted from the step's own base. An overlay's upper
directory is not. It contains files that were only opened for writing, and it says "this directory hides all below"
where the step meant "the three files that I saw are gone". Stacked over the layer of a parallel step, both lose data
that nobody deleted. So an upper is *reduced* against the base that its step saw, and what is mounted later is
*unpacked* from the layer against the stack it then stands on: nearly always the same directory, byte for byte.

Rejected: merging uppers as they are (loses data), three-way merges of contents (a CI must not invent files nobody
wrote), snapshots of whole trees (every step would cost the size of the repository).

Paths are relative with "/" between components; "" is the root, whose own mode is never part of a layer.
Layers are applied oldest first; the later one wins where both wrote a path.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; `content` is anything that compares equal for equal bytes."""

    mode: int
    content: object


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory."""

    mode: int


Node = File | Link | Folder


class View(Protocol):
    """A tree to look things up in. `names` of anything that is not a directory is empty."""

    def node(self, path: str) -> Node | None: ...

    def names(self, path: str) -> Iterable[str]: ...


@dataclass(frozen=True)
class Upper:
    """An overlay's upper directory: None is a whiteout; an opaque directory hides everything below it.

    `lost` are (path, what) that was there and has no place in a layer, for the log.
    """

    entries: Mapping[str, Node | None]
    opaque: frozenset[str] = frozenset()
    lost: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Layer:
    """What a step changed. `passed` are directories it only went through, wanted again if a parallel step removes them.

    No deleted path is a written one or stands above one.
    """

    written: Mapping[str, Node] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    passed: Mapping[str, Folder] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.written and not self.deleted


class Plain:
    """A view of a mapping from path to node."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self._names: dict[str, list[str]] = {}
        for path in nodes:
            self._names.setdefault(parent(path), []).append(path.rpartition("/")[2])

    def node(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def names(self, path: str) -> Iterable[str]:
        return self._names.get(path, ())


def parent(path: str) -> str:
    """Return the directory that contains `path`."""
    return path.rpartition("/")[0]


def parents(path: str) -> Iterator[str]:
    """Yield the directories above `path`, outermost first, without the root."""
    parts = path.split("/")
    for end in range(1, len(parts)):
        yield "/".join(parts[:end])


def join(folder: str, name: str) -> str:
    """Return the path of `name` inside `folder`."""
    return f"{folder}/{name}" if folder else name


def tidied(path: str) -> str:
    """Return a path as a view knows it, whatever it was written like: `./a//b/` is `a/b`."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def below(view: View, path: str) -> Iterator[str]:
    """Yield `path` and everything under it that exists in `view`, a directory before what it contains."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        found = view.node(here)
        if found is not None:
            yield here
        if isinstance(found, Folder):
            waiting += [join(here, name) for name in view.names(here)]


def reduce(upper: Upper, base: View) -> Layer:
    """Return what `upper` really changed against the `base` that its step saw."""
    written: dict[str, Node] = {}
    passed: dict[str, Folder] = {}
    deleted: set[str] = set()
    hiding = {""} & upper.opaque
    if hiding:
        deleted |= _hidden("", upper, base)
    for path in sorted(upper.entries):
        entry = upper.entries[path]
        if entry is None:
            deleted.update(below(base, path))
            continue
        if entry != base.node(path):
            written[path] = entry
        elif isinstance(entry, Folder):
            passed[path] = entry
        if isinstance(entry, Folder) and (path in upper.opaque or parent(path) in hiding):
            hiding.add(path)
            deleted |= _hidden(path, upper, base)
    wanted = {above for path in written for above in parents(path)}
    return Layer(written, frozenset(deleted), {path: passed[path] for path in passed if path in wanted})


def _hidden(folder: str, upper: Upper, base: View) -> set[str]:
    """Return what of the base an opaque `folder` no longer shows."""
    lost: set[str] = set()
    if folder and not isinstance(base.node(folder), Folder):
        return lost
    for name in base.names(folder):
        path = join(folder, name)
        if path not in upper.entries:
            lost.update(below(base, path))
    return lost


def unpack(layer: Layer, base: View) -> Upper:
    """Return the upper directory that, mounted over `base`, shows `apply(base, layer)`; none of it is opaque."""
    entries: dict[str, Node | None] = dict(layer.written)
    kept = {above for path in layer.written for above in parents(path)} | set(layer.written)
    gone: set[str] = set()
    for path in sorted(layer.deleted, key=_depth, reverse=True):
        node = base.node(path)
        if node is None or path in kept:
            continue
        if not isinstance(node, Folder) or all(join(path, name) in gone for name in base.names(path)):
            gone.add(path)
    for path in gone:
        if parent(path) not in gone:
            entries[path] = None
    for path in list(entries):
        for above in parents(path):
            if above not in entries:
                entries[above] = _folder(above, layer, base)
    return Upper(entries)


def _folder(path: str, layer: Layer, base: View) -> Folder:
    """Return the directory to stand at `path`: as it is below, else as the step saw it."""
    node = base.node(path)
    return node if isinstance(node, Folder) else layer.passed.get(path, Folder(0o755))


def _depth(path: str) -> int:
    return path.count("/")


def apply(tree: Mapping[str, Node], layer: Layer) -> dict[str, Node]:
    """Return `tree` after `layer`: its deletions (a directory only once it is empty), then what it wrote."""
    result = dict(tree)
    for path in sorted(layer.deleted, key=_depth, reverse=True):
        if not any(parent(other) == path for other in result):
            result.pop(path, None)
    for path in sorted(layer.written):
        for above in parents(path):
            if not isinstance(result.get(above), Folder):
                _put(result, above, layer.passed.get(above, Folder(0o755)))
        _put(result, path, layer.written[path])
    return result


def _put(tree: dict[str, Node], path: str, node: Node) -> None:
    """Set `path` to `node`; whatever stood below it goes, unless directories meet."""
    if not (isinstance(node, Folder) and isinstance(tree.get(path), Folder)):
        for other in [other for other in tree if other.startswith(path + "/")]:
            del tree[other]
    tree[path] = node


def overlay(tree: Mapping[str, Node], upper: Upper) -> dict[str, Node]:
    """Return what a kernel shows when `upper` is mounted over `tree`: what the others are tested against."""
    result = dict(tree)
    for path in sorted(upper.entries):
        entry = upper.entries[path]
        if entry is None or not isinstance(entry, Folder) or path in upper.opaque or not _is_folder(result, path):
            for other in [other for other in result if other == path or other.startswith(path + "/")]:
                del result[other]
        if entry is not None:
            result[path] = entry
    return result


def _is_folder(tree: Mapping[str, Node], path: str) -> bool:
    return isinstance(tree.get(path), Folder)


def conflicts(mine: Layer, theirs: Layer, tracked: View) -> list[str]:
    """Return the tracked paths that two parallel layers changed differently, or removed under the other."""
    found = {path for path in _touched(mine) & _touched(theirs) if mine.written.get(path) != theirs.written.get(path)}
    for one, other in ((mine, theirs), (theirs, mine)):
        changed = {above for path in one.written for above in parents(path)}
        replaced = {path for path, node in other.written.items() if not isinstance(node, Folder)}
        found |= changed & (other.deleted | replaced)
    return sorted(path for path in found if tracked.node(path) is not None)


def overlaps(mine: Layer, theirs: Layer) -> list[str]:
    """Return every path that two parallel layers changed differently, tracked or not."""
    both = _touched(mine) & _touched(theirs)
    return sorted(path for path in both if mine.written.get(path) != theirs.written.get(path))


def _touched(layer: Layer) -> set[str]:
    return set(layer.written) | layer.deleted

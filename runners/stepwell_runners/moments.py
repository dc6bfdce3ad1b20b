"""The files of moments: what a step changed, and the workspace before and after it, read from trees and layers.

Nothing is mounted and nothing is written: trees and layers are read as a stack. Names and contents are a stranger's; no
link is followed. A layer may be let go while it is read, which is Unavailable.
"""

import difflib
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence

from stepwell.ci.moments import Changes, FileChange, Kind, Moment, When
from stepwell.errors import Unavailable
from stepwell.repos.captured import RefChange
from stepwell.store.pieces import Pieces
from stepwell_runners.collected import shown
from stepwell_runners.layers import File, Folder, Layer, Link, Node, below, join, parents
from stepwell_runners.reduce import OnDisk, Stack, data_of
from stepwell_runners.trees import Trees
from stepwell_runners.workspaces import Workspaces

MOST_LISTED = 5_000
MOST_DIFFED = 200
DIFF_BYTES = 128 * 1024
"""Larger files are listed without a diff."""
DIFF_LINES = 4_000
_PIECE = 1 << 20
_GONE = "The files of this step went while they were read: they are not kept any more."


class Moments:
    """Implements MomentFiles on this host."""

    def __init__(self, trees: Trees, workspaces: Workspaces) -> None:
        self._trees = trees
        self._workspaces = workspaces

    def missing(self, moment: Moment) -> Sequence[str]:
        """Name layers that are not kept any more."""
        return self._workspaces.missing([*moment.base, *([moment.layer] if moment.layer else [])])

    def changes(self, moment: Moment) -> Changes:
        """List what the step changed, each with a diff where both sides are text and small; branches and tags too."""
        if moment.layer is None:
            return Changes()
        before, after = self._stack(moment, "before"), self._stack(moment, "after")
        try:
            layer = self._workspaces.load(moment.layer)
            told = _told(layer, before, after)
            git = self._workspaces.captured_of(moment.layer)
            moved = [_moved(ref, change) for ref, change in git.refs.items()] if git else []
            listed = [
                _change(path, (before.node(path), before), (after.node(path), after), wanted=number < MOST_DIFFED)
                for number, path in enumerate(told[: max(0, MOST_LISTED - len(moved))])
            ]
            return Changes(moved + listed, len(moved) + len(told))
        except FileNotFoundError as error:
            raise Unavailable(_GONE) from error

    def archive(self, moment: Moment, when: When) -> Iterator[bytes]:
        """Give the workspace as a tar file."""
        return _packed(self._stack(moment, when))

    def _stack(self, moment: Moment, when: When) -> Stack:
        own = (moment.layer,) if moment.layer and when == "after" else ()
        try:
            return Stack(self._workspaces.lowers((*moment.base, *own), self._trees.resolve(moment.tree)))
        except FileNotFoundError as error:
            raise Unavailable(_GONE) from error


def _moved(ref: str, change: RefChange) -> FileChange:
    """Tell a branch or tag that the step moved as a file of `.git`."""
    kind: Kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    lines = [f"-{change.before}"] * bool(change.before) + [f"+{change.after}"] * bool(change.after)
    return FileChange(f".git/{ref}", kind, None, None, "\n".join(["@@ -1 +1 @@", *lines]))


def _told(layer: Layer, before: Stack, after: Stack) -> list[str]:
    """Return the paths that changed, sorted: a directory that came or went only where nothing in it is told."""
    paths = {*layer.written, *layer.deleted}
    for path, node in layer.written.items():
        if not isinstance(node, Folder) and isinstance(before.node(path), Folder):
            paths.update(below(before, path))  # it took the place of a whole directory
    full = {above for path in paths for above in parents(path)}
    return sorted(
        path for path in paths if path not in full or not _is_only_a_folder(before.node(path), after.node(path))
    )


def _is_only_a_folder(old: Node | None, new: Node | None) -> bool:
    """Say whether a directory came or went."""
    return (old is None and isinstance(new, Folder)) or (new is None and isinstance(old, Folder))


def _change(path: str, old: tuple[Node | None, Stack], new: tuple[Node | None, Stack], *, wanted: bool) -> FileChange:
    was, is_now = old[0], new[0]
    sizes = (_size(was), _size(is_now))
    name = shown(path) + "/" * all(side is None or isinstance(side, Folder) for side in (was, is_now))
    if was is not None and is_now is not None and _same(was, is_now):
        return FileChange(name, "mode", *sizes)
    diff, why = _diff(path, old, new) if wanted else ("", "Only the first changes are shown in full.")
    kind: Kind = "added" if was is None else "removed" if is_now is None else "changed"
    return FileChange(name, kind, *sizes, diff, why)


def _same(one: Node, other: Node) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        return one.content == other.content
    return isinstance(one, Folder) and isinstance(other, Folder)


def _size(node: Node | None) -> int | None:
    return node.content.size if isinstance(node, File) and isinstance(node.content, OnDisk) else None


def _diff(path: str, old: tuple[Node | None, Stack], new: tuple[Node | None, Stack]) -> tuple[str, str]:
    """Give a unified diff, or the word why there is none."""
    sides: list[list[str]] = []
    for node, stack in (old, new):
        if (_size(node) or 0) > DIFF_BYTES:
            return "", "It is too large to be shown."
        try:
            text = _text(path, node, stack)
        except UnicodeDecodeError:
            return "", "It is not text."
        if "\0" in text:
            return "", "It is not text."
        sides.append(text.splitlines())
        if len(sides[-1]) > DIFF_LINES:
            return "", "It has too many lines to be shown."
    lines = list(difflib.unified_diff(sides[0], sides[1], lineterm=""))
    return "\n".join(lines[2:]), ""


def _text(path: str, node: Node | None, stack: Stack) -> str:
    if isinstance(node, Link):
        return f"link to {shown(node.target)}\n"
    if not isinstance(node, File):
        return ""
    with _opened(stack, path) as file:
        return file.read(DIFF_BYTES + 1).decode()


def _opened(stack: Stack, path: str) -> io.BufferedReader:
    place = stack.place(path)
    if place is None:
        raise FileNotFoundError(path)
    return os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _packed(stack: Stack) -> Iterator[bytes]:
    sink = Pieces()
    try:
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as archive:
            waiting = [""]
            while waiting:
                folder = waiting.pop()
                for name in stack.names(folder):
                    path = join(folder, name)
                    for _ in _add(archive, stack, path):
                        yield sink.taken()
                    if isinstance(stack.node(path), Folder):
                        waiting.append(path)
        yield sink.taken()
    except FileNotFoundError as error:
        raise Unavailable(_GONE) from error


def _add(archive: tarfile.TarFile, stack: Stack, path: str) -> Iterator[None]:
    """Add one entry, giving way after each piece: files may be larger than memory."""
    node, place = stack.node(path), stack.place(path)
    if node is None or place is None:
        return
    about = tarfile.TarInfo(path)
    about.mtime = int(place.lstat().st_mtime)
    if isinstance(node, Link):
        about.type, about.linkname = tarfile.SYMTYPE, node.target
        archive.addfile(about)
    elif isinstance(node, Folder):
        about.type, about.mode = tarfile.DIRTYPE, stat.S_IMODE(node.mode)
        archive.addfile(about)
    else:
        about.mode = stat.S_IMODE(node.mode)
        with _opened(stack, path) as file:
            yield from _add_file(archive, about, file)
    yield


def _add_file(archive: tarfile.TarFile, about: tarfile.TarInfo, file: io.BufferedReader) -> Iterator[None]:
    """Add a regular file: of one with holes what it holds, in the form 1.0 of GNU tar that every tar reads."""
    status = os.fstat(file.fileno())
    held, head = data_of(file.fileno(), status), b""
    if held is not None:
        numbers = [len(held), *(number for pair in held for number in pair)]
        head = "".join(f"{number}\n" for number in numbers).encode()
        head += bytes(-len(head) % tarfile.BLOCKSIZE)
        folder, _, name = about.name.rpartition("/")
        own, about.name = about.name, join(folder, f"GNUSparseFile.0/{name}")
        about.pax_headers = {
            "path": about.name,  # before the other: readers take the last name
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
            "GNU.sparse.name": own, "GNU.sparse.realsize": str(status.st_size),
        }  # fmt: skip
    pairs = [(0, status.st_size)] if held is None else held
    about.size = len(head) + sum(size for _, size in pairs)
    archive.addfile(about)  # the header alone
    out = archive.fileobj
    assert out is not None
    out.write(head)
    for start, size in pairs:
        file.seek(start)
        left = size
        while left and (piece := file.read(min(left, _PIECE))):
            out.write(piece)
            left -= len(piece)
            yield
    padding = -about.size % tarfile.BLOCKSIZE
    out.write(bytes(padding))
    archive.offset += about.size + padding

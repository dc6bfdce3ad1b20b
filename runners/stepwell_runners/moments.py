"""The files of moments: what a step changed, and the workspace before and after it, read from trees and layers.

Nothing is mounted and nothing is written: trees and layers are read as a stack. Names and contents are a stranger's; no
link is followed. A layer may be let go while it is read, which is Unavailable.
"""

import io
import os
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepwell.ci.moments import Changes, FileChange, Kind, Moment, When
from stepwell.errors import TryLater, Unavailable
from stepwell.repos.captured import RefChange
from stepwell.repos.differences import unified
from stepwell.store.pieces import Pieces
from stepwell.store.tars import UnlistedTar
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
MOST_DIFF_LINES = 20_000
"""Lines of all diffs of an answer together: a page of more is none."""
DIFF_SECONDS = 5.0
"""What an answer may take to read and compare its texts."""
AT_ONCE = 4
_PIECE = 1 << 20
_BEYOND = "It is not shown: the others took the time or the room there is. `stepwell shell` has both sides."
_GONE = "The files of this step went while they were read: they are not kept any more."


class Moments:
    """Implements MomentFiles on this host."""

    def __init__(self, trees: Trees, workspaces: Workspaces, clock: Callable[[], float] = time.monotonic) -> None:
        self._trees = trees
        self._workspaces = workspaces
        self._clock = clock
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def missing(self, moment: Moment) -> Sequence[str]:
        """Name layers that are not kept any more."""
        return self._workspaces.missing([*moment.base, *([moment.layer] if moment.layer else [])])

    def changes(self, moment: Moment) -> Changes:
        """List what the step changed, each with a diff where both sides are text and small; branches and tags too.

        Raises TryLater while as many are being answered as may at once.
        """
        if moment.layer is None:
            return Changes()
        if not self._places.acquire(blocking=False):
            raise TryLater(f"The changes of {AT_ONCE} steps are being compared at this moment. Try again.", 2)
        try:
            return self._changes(moment, moment.layer)
        except FileNotFoundError as error:
            raise Unavailable(_GONE) from error
        finally:
            self._places.release()

    def _changes(self, moment: Moment, own: str) -> Changes:
        before, after = self._stack(moment, "before"), self._stack(moment, "after")
        told = _told(self._workspaces.load(own), before, after)
        git = self._workspaces.captured_of(own)
        moved = [_moved(ref, change) for ref, change in git.refs.items()] if git else []
        texts = _Texts(self._clock)
        listed = {
            path: _change(path, (before.node(path), before), (after.node(path), after), texts)
            for path in told[: max(0, MOST_LISTED - len(moved))]
        }
        return Changes(moved + texts.compared(listed), len(moved) + len(told))

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


@dataclass
class _Texts:
    """The texts of one answer, compared all at once: what it may cost is bounded for all of them."""

    clock: Callable[[], float]
    found: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    asked: int = 0

    def __post_init__(self) -> None:
        self.deadline = self.clock() + DIFF_SECONDS

    def add(self, path: str, old: tuple[Node | None, Stack], new: tuple[Node | None, Stack]) -> str:
        """Take a file to be compared, or say why not."""
        self.asked += 1
        if self.asked > MOST_DIFFED:
            return "Only the first changes are shown in full."
        if self.clock() >= self.deadline:
            return _BEYOND
        sides = _side(path, *old), _side(path, *new)
        for side in sides:
            if isinstance(side, str):
                return side
        one, other = sides
        assert isinstance(one, bytes) and isinstance(other, bytes)
        if one != other and _without_ends(one) == _without_ends(other):
            return "Only line ends changed."
        self.found[path] = (one, other)
        return ""

    def compared(self, listed: Mapping[str, FileChange]) -> list[FileChange]:
        """Return the changes with their diffs."""
        left_s, room, result = self.deadline - self.clock(), MOST_DIFF_LINES, []
        given = unified(list(self.found.values()), timeout_s=left_s) if left_s > 0 else [None] * len(self.found)
        diffs = dict(zip(self.found, given, strict=True))
        for path, change in listed.items():
            diff = diffs.get(path, "")
            if diff:
                room -= diff.count("\n") + 1
            beyond = diff is None or (diff and room < 0)
            result.append(replace(change, why=_BEYOND) if beyond else replace(change, diff=diff or ""))
        return result


def _change(path: str, old: tuple[Node | None, Stack], new: tuple[Node | None, Stack], texts: _Texts) -> FileChange:
    was, is_now = old[0], new[0]
    sizes = (_size(was), _size(is_now))
    name = shown(path) + "/" * all(side is None or isinstance(side, Folder) for side in (was, is_now))
    if was is not None and is_now is not None and _same(was, is_now):
        return FileChange(name, "mode", *sizes)
    kind: Kind = "added" if was is None else "removed" if is_now is None else "changed"
    return FileChange(name, kind, *sizes, "", texts.add(path, old, new))


def _same(one: Node, other: Node) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        return one.content == other.content
    return isinstance(one, Folder) and isinstance(other, Folder)


def _size(node: Node | None) -> int | None:
    return node.content.size if isinstance(node, File) and isinstance(node.content, OnDisk) else None


def _side(path: str, node: Node | None, stack: Stack) -> bytes | str:
    """Give the text of a file, or the words why there is none."""
    if (_size(node) or 0) > DIFF_BYTES:
        return "It is too large to be shown."
    text = _text(path, node, stack)
    try:
        text.decode()
    except UnicodeDecodeError:
        return "It is not text."
    if b"\0" in text:
        return "It is not text."
    return text if text.count(b"\n") <= DIFF_LINES else "It has too many lines to be shown."


def _without_ends(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _text(path: str, node: Node | None, stack: Stack) -> bytes:
    if isinstance(node, Link):
        return f"link to {shown(node.target)}\n".encode()
    if not isinstance(node, File):
        return b""
    with _opened(stack, path) as file:
        return file.read(DIFF_BYTES + 1)


def _opened(stack: Stack, path: str) -> io.BufferedReader:
    place = stack.place(path)
    if place is None:
        raise FileNotFoundError(path)
    return os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _packed(stack: Stack) -> Iterator[bytes]:
    sink = Pieces()
    try:
        with UnlistedTar.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as archive:
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

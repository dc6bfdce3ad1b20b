"""Layers on disk: read an upper, reduce it against the directories it stood on, rewrite it into its neutral form.

Everything here runs after the last process of the attempt is dead, so nothing changes under the walk; but every name,
mode and link in an upper was chosen by a stranger. Links are never followed, only names inside the directory are used,
and depth and number of entries are bounded. A whiteout is a character device 0:0, the one form that every overlay mode
understands and that an ordinary user may make too; extended attributes are all removed, the overlay's own included.
"""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

from stepwell.errors import Invalid
from stepwell_runners.layers import File, Folder, Link, Node, Upper, join, parents

MOST_ENTRIES = 1_000_000
MOST_DEPTH = 200
MOST_PATH_BYTES = 3_000
"""Of a directory: Linux takes 4,095 of a whole path, and the host's own part of it and a name in it come to that."""
MOST_PARTS = 10_000
KEPT_BITS = 0o1777  # no setuid, no setgid
_ODD = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_FICLONE = 0x40049409
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False, slots=True)
class OnDisk:
    """The bytes of a file, compared with another's when sizes agree. A million of them are in memory at a time."""

    path: str
    size: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OnDisk) or self.size != other.size:
            return False
        if self.path == other.path:
            return True
        with Path(self.path).open("rb", buffering=0) as mine, Path(other.path).open("rb", buffering=0) as theirs:
            return _equal(mine.fileno(), theirs.fileno(), self.size)

    __hash__ = None  # type: ignore[assignment]  # equality reads the files


def _next_data(file: int, offset: int, size: int) -> int:
    """Return where from `offset` on a file holds something; its size when only a hole is left."""
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def _equal(mine: int, theirs: int, size: int) -> bool:
    """Compare two files of one size; holes, which may be larger than any disk, are not read."""
    offset = 0
    while offset < size:
        if size > _BLOCK:  # else looking costs more than reading
            offset = min(_next_data(mine, offset, size), _next_data(theirs, offset, size))
        block = os.pread(mine, _BLOCK, offset)
        if block != os.pread(theirs, _BLOCK, offset):
            return False
        if not block:
            return True
        offset += len(block)
    return True


def data_of(file: int, status: os.stat_result) -> list[tuple[int, int]] | None:
    """Return (start, size) of all that a file with holes holds, and its end; None of one without, or with very many."""
    size, found, end = status.st_size, list[tuple[int, int]](), 0
    if size <= _BLOCK or status.st_blocks * 512 >= size:
        return None
    while (start := _next_data(file, end, size)) < size:
        end = os.lseek(file, start, os.SEEK_HOLE)
        found.append((start, end - start))
        if len(found) > MOST_PARTS:
            return None
    return None if found == [(0, size)] else [*found, (size, 0)]


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy what a file holds, and leave holes where it has some."""
    end = 0
    while (start := _next_data(source, end, size)) < size:
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            sent = os.sendfile(target, source, start, end - start)
            if not sent:
                raise OSError(errno.EIO, "a file became shorter while it was copied")
            start += sent
    os.truncate(target, size)


def node_at(path: str, status: os.stat_result) -> Node | None:
    """Return what stands at `path`; None for whiteouts and everything that has no place in a layer."""
    if stat.S_ISREG(status.st_mode):
        return File(status.st_mode & KEPT_BITS, OnDisk(path, status.st_size))
    if stat.S_ISDIR(status.st_mode):
        return Folder(status.st_mode & KEPT_BITS)
    if stat.S_ISLNK(status.st_mode):
        return Link(os.readlink(path))  # noqa: PTH115
    return None


@dataclass
class Stack:
    """The merged view of read-only directories, topmost first, as an overlay shows them. None of them is opaque."""

    lowers: Sequence[Path]
    _folders: dict[str, list[Path]] = field(default_factory=dict)

    def node(self, path: str) -> Node | None:
        """Return what the stack shows at `path`, which is not followed when it is a link."""
        found = self._found(path)
        return node_at(str(found[0]), found[0].lstat()) if found else None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        seen: dict[str, bool] = {}
        for folder in self._merged(path):
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen.setdefault(entry.name, not is_whiteout(entry.stat(follow_symlinks=False)))
        return sorted(name for name, shown in seen.items() if shown)

    def place(self, path: str) -> Path | None:
        """Return where on the host the topmost `path` is; no component of it is a link."""
        found = self._found(path)
        return found[0] if found else None

    def _found(self, path: str) -> list[Path]:
        """Return the host paths that make up `path`: several for a directory, one for anything else."""
        if not path:
            return list(self.lowers)
        folder, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return []  # a stranger's path: the host would follow it out of the stack
        found: list[Path] = []
        for place in self._merged(folder):
            here = place / name
            try:
                mode = here.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(mode.st_mode):
                return found or ([] if is_whiteout(mode) else [here])
            found.append(here)
        return found

    def _merged(self, path: str) -> list[Path]:
        """Return the host directories that the directory `path` is merged from; empty when it is none."""
        if path not in self._folders:
            found = self._found(path)
            is_folder = not path or (found and stat.S_ISDIR(found[0].lstat().st_mode))
            self._folders[path] = found if is_folder else []
        return self._folders[path]


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether this hides what lies below."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def entries(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (path, entry) of everything under `root`, a directory before its contents. Raises Invalid beyond bounds."""
    waiting = [("", root)]
    count = 0
    while waiting:
        folder, place = waiting.pop()
        with os.scandir(place) as found:
            for entry in found:
                path = join(folder, entry.name)
                count += 1
                check_count(count)
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    check_depth(path)
                    waiting.append((path, Path(entry.path)))


def check_count(count: int) -> None:
    """Refuse what is too many to be kept. Raises Invalid."""
    if count > MOST_ENTRIES:
        raise Invalid(f"The step left more than {MOST_ENTRIES:,} files and directories. Remove what is not kept.")


def check_depth(path: str) -> None:
    """Refuse a directory that is nested too deep to be kept. Raises Invalid."""
    if path.count("/") >= MOST_DEPTH:
        raise Invalid(f"The step left directories nested deeper than {MOST_DEPTH}: {path[:80]!r}….")
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise Invalid(
            f"The step left directories whose path is longer than {MOST_PATH_BYTES:,} bytes: {path[:80]!r}…. "
            "Remove what is not kept, or nest less."
        )


def scan(root: Path, opaque: Iterable[str] = ()) -> Upper:
    """Read an upper directory. `opaque` adds to the marks on disk: {""} reads `root` as a complete tree."""
    found: dict[str, Node | None] = {}
    hiding, lost = set(opaque), list[tuple[str, str]]()
    for path, entry in entries(root):
        status = entry.stat(follow_symlinks=False)
        node = found[path] = node_at(entry.path, status)
        if what := _lost(status):
            lost.append((path, what))
        if isinstance(node, Folder) and is_opaque(entry.path):
            hiding.add(path)
    return Upper(found, frozenset(hiding), tuple(lost))


def _lost(status: os.stat_result) -> str:
    """Say what of a file has no place in a layer."""
    kind = stat.S_IFMT(status.st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        bits = ((stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid"))
        return " and ".join(word for bit, word in bits if status.st_mode & bit)
    return _ODD.get(kind, "") if not is_whiteout(status) else ""


def is_opaque(path: str) -> bool:
    """Say whether a directory of an upper hides all that lies below.

    Only the mark of the overlay's own mode is believed: root's is `trusted.`, and a step may write a `user.` one.
    Where overlays are in `user.` mode they keep that name to themselves.
    """
    name = "trusted.overlay.opaque" if os.geteuid() == 0 else "user.overlay.opaque"
    try:
        return os.getxattr(path, name, follow_symlinks=False) == b"y"
    except OSError:
        return False


def settle(root: Path, wanted: Upper, owner: tuple[int, int]) -> None:
    """Rewrite the directory `root` in place so that it holds exactly `wanted`, owned by `owner`, without attributes."""
    _drop_others(root, wanted.entries)
    _place(root, wanted.entries)
    for _, entry in entries(root):
        cleanse(Path(entry.path), entry.stat(follow_symlinks=False), owner)
    cleanse(root, root.lstat(), owner)
    for path in sorted(wanted.entries, reverse=True):  # modes last: they may take our own permission away
        node = wanted.entries[path]
        if isinstance(node, File | Folder):
            _set_mode(root / path, node.mode)


def _drop_others(root: Path, wanted: Mapping[str, Node | None]) -> None:
    """Remove what is not wanted, and what changes its kind."""
    others = [(path, entry.path) for path, entry in entries(root) if path not in wanted or wanted[path] is None]
    for _, place in sorted(others, reverse=True):
        remove(Path(place))


def _place(root: Path, wanted: Mapping[str, Node | None]) -> None:
    """Make the directories and whiteouts that are missing."""
    for path in sorted(wanted):
        node = wanted[path]
        here = root / path
        if node is None:
            os.mknod(here, stat.S_IFCHR | 0o600, os.makedev(0, 0))
        elif isinstance(node, Folder):
            here.mkdir(exist_ok=True)


def cleanse(path: Path, status: os.stat_result, owner: tuple[int, int]) -> None:
    """Take a file's owner and attributes away; it belongs to `owner` then."""
    if (status.st_uid, status.st_gid) != owner:
        os.chown(path, *owner, follow_symlinks=False)
    if is_whiteout(status):
        return
    for name in os.listxattr(path, follow_symlinks=False):
        os.removexattr(path, name, follow_symlinks=False)


def _set_mode(path: Path, mode: int) -> None:
    if path.lstat().st_mode & 0o7777 != mode:
        path.chmod(mode)


def remove(path: Path) -> None:
    """Remove a file or a directory with all it contains, whatever the modes; missing is fine."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path, onerror=_open_up)
        except RecursionError:  # nested deeper than Python's stack; rm walks with descriptors
            subprocess.run(["rm", "-rf", "--", str(path)], check=True)
    else:
        path.unlink(missing_ok=True)


def _open_up(function: object, path: str, error: object) -> None:
    """Give ourselves the permission that a step took away, and go on."""
    here = Path(path)
    with contextlib.suppress(FileNotFoundError):
        here.parent.chmod(0o700)
        if here.is_dir() and not here.is_symlink():
            here.chmod(0o700)
            shutil.rmtree(path, onerror=_open_up)
        else:
            here.unlink()


def copy(stack: Stack, target: Path) -> None:
    """Fill `target` with what `stack` shows, blocks shared where possible: a workspace without an overlay."""
    waiting = [""]
    modes: list[tuple[Path, int]] = []
    while waiting:
        folder = waiting.pop()
        for name in stack.names(folder):
            path = join(folder, name)
            source = stack.place(path)
            node = stack.node(path)
            if source is None or node is None:
                continue
            if isinstance(node, Folder):
                (target / path).mkdir()
                modes.append((target / path, node.mode))
                waiting.append(path)
            else:
                copy_file(source, target / path)
    for place, mode in reversed(modes):
        place.chmod(mode)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file or link with times and mode, but what the copy is owned by must not lend its rights."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
        status = source.lstat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
        return
    with source.open("rb") as old, target.open("xb") as new:
        try:
            ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            _copy_data(old.fileno(), new.fileno(), os.fstat(old.fileno()).st_size)
    status = source.stat()
    target.chmod(stat.S_IMODE(status.st_mode) & KEPT_BITS)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(source: Path, target: Path, wanted: Upper) -> None:
    """Make `target` hold `wanted`, its files hard links to those of `source`: a layer unpacked for another stack."""
    target.mkdir()
    for path in sorted(wanted.entries):
        node = wanted.entries[path]
        if isinstance(node, Folder):
            (target / path).mkdir()
        elif node is not None:
            os.link(source / path, target / path, follow_symlinks=False)
    _place(target, wanted.entries)
    for path in sorted(wanted.entries, reverse=True):
        node = wanted.entries[path]
        if isinstance(node, Folder):
            _set_mode(target / path, node.mode)


def open_beneath(root: Path, path: str) -> int:
    """Open a file under `root` for reading, following no link on the way. Raises OSError; FIFOs do not block."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for above in parents(path):
            inner = os.open(above.rpartition("/")[2], flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(path.rpartition("/")[2], flags, dir_fd=folder)
    finally:
        os.close(folder)

"""The kernel's FUSE protocol, as much as a file system needs that never changes.

Spoken here and not through a library: none on PyPI comes without a compiler or libfuse on the host, and none asks the
kernel for FUSE_ALLOW_IDMAP, without which a lower cannot be shown as the tenant's (it takes Linux 6.12). Being
immutable makes it short: everything the kernel has seen may be cached for good, `open` and `opendir` are answered by
"not implemented" once and never asked again, and a directory is listed with the attributes of what is in it. So reading
a whole tree costs one request a file.

Numbers and layouts: include/uapi/linux/fuse.h.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LOOKUP, FORGET, GETATTR, READLINK, OPEN, READ, STATFS = 1, 2, 3, 5, 14, 15, 17
INIT, READDIR, INTERRUPT, DESTROY, BATCH_FORGET, READDIRPLUS = 26, 28, 36, 38, 42, 44
SILENT = (FORGET, BATCH_FORGET)  # the kernel takes no answer to these
ROOT = 1
UNKNOWN = -1  # the size of what a listing names without attributes

_MAJOR, _NEWEST_MINOR, _OLDEST_MINOR = 7, 41, 36
_ASYNC_READ, _READDIRPLUS, _NO_OPEN, _PARALLEL_DIROPS = 1 << 0, 1 << 13, 1 << 17, 1 << 18
_MAX_PAGES, _CACHE_SYMLINKS, _NO_OPENDIR, _INIT_EXT = 1 << 22, 1 << 23, 1 << 24, 1 << 30
_ALLOW_IDMAP = 1 << 40
_WANTED = (
    _ASYNC_READ | _READDIRPLUS | _NO_OPEN | _PARALLEL_DIROPS
    | _MAX_PAGES | _CACHE_SYMLINKS | _NO_OPENDIR | _INIT_EXT | _ALLOW_IDMAP
)  # fmt: skip
_FOR_GOOD = 1 << 31  # seconds that names and attributes stay true
_MOST_PAGES = 64
_LEAST_WRITE = 4096

_IN = struct.Struct("=IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, …
_OUT = struct.Struct("=IiQ")  # length, error, unique
_INIT_IN = struct.Struct("=IIIII")  # major, minor, read-ahead, flags, flags2
_INIT_OUT = struct.Struct("=IIIIHHIIHHII24x")
_READ_IN = struct.Struct("=QQI")  # handle, offset, size
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ATTR_OUT = struct.Struct("=QII")
_ENTRY_OUT = struct.Struct("=QQQQII")
_DIRENT = struct.Struct("=QQII")
_STATFS_OUT = struct.Struct("=QQQQQIII28x")
_NOWHERE = bytes(_ENTRY_OUT.size + _ATTR.size)  # in a listing: a name without attributes, as `.` and `..`


class Request(NamedTuple):
    """One request; `body` is what follows the header."""

    opcode: int
    unique: int
    node: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `stat` shows. Everything belongs to root: whoever mounts it shows it as the tenant's."""

    node: int
    mode: int
    size: int
    seconds: int

    def pack(self) -> bytes:
        links = 2 if stat.S_ISDIR(self.mode) else 1
        times = (self.seconds,) * 3
        blocks = (self.size + 511) // 512
        return _ATTR.pack(self.node, self.size, blocks, *times, 0, 0, 0, self.mode, links, 0, 0, 0, 4096, 0)


class Device:
    """The descriptor of a FUSE mount. Threads may answer at the same time; one reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray(1 << 16)

    def next(self) -> Request | None:
        """Wait for a request; None when the last mount is gone."""
        while True:
            try:
                count = os.readv(self._descriptor, [self._buffer])
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return None
                if error.errno in (errno.ENOENT, errno.EAGAIN):  # the asker was interrupted meanwhile
                    continue
                raise
            _, opcode, unique, node, *_ = _IN.unpack_from(self._buffer)
            return Request(opcode, unique, node, bytes(self._buffer[_IN.size : count]))

    def answer(self, unique: int, *parts: bytes | memoryview) -> None:
        """Answer a request."""
        self._send([_OUT.pack(_OUT.size + sum(map(len, parts)), 0, unique), *parts])

    def refuse(self, unique: int, number: int) -> None:
        """Answer with an errno."""
        self._send([_OUT.pack(_OUT.size, -number, unique)])

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        try:
            os.writev(self._descriptor, parts)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # nobody waits for it any more
                raise

    def begin(self) -> bool:
        """Agree with the kernel on the protocol. False when it cannot map ids, and nothing can be served."""
        request = self.next()
        if request is None or request.opcode != INIT:
            return False
        major, minor, read_ahead, low, high = _INIT_IN.unpack_from(request.body.ljust(_INIT_IN.size, b"\0"))
        offered = low | (high << 32 if low & _INIT_EXT else 0)
        if major != _MAJOR or minor < _OLDEST_MINOR or not offered & _ALLOW_IDMAP:
            self.refuse(request.unique, errno.EPROTO)
            return False
        flags = offered & _WANTED
        self.answer(
            request.unique,
            _INIT_OUT.pack(
                _MAJOR, min(minor, _NEWEST_MINOR), read_ahead, flags & 0xFFFFFFFF, 32, 24,
                _LEAST_WRITE, 1, _MOST_PAGES, 0, flags >> 32, 0,
            ),
        )  # fmt: skip
        return True


def entry(attributes: Attributes) -> bytes:
    """A name that leads to a node."""
    return _ENTRY_OUT.pack(attributes.node, 0, _FOR_GOOD, _FOR_GOOD, 0, 0) + attributes.pack()


def no_entry() -> bytes:
    """A name that leads nowhere, for good."""
    return _ENTRY_OUT.pack(0, 0, _FOR_GOOD, 0, 0, 0) + bytes(_ATTR.size)


def attributes(found: Attributes) -> bytes:
    """The answer to GETATTR."""
    return _ATTR_OUT.pack(_FOR_GOOD, 0, 0) + found.pack()


def asked_range(request: Request) -> tuple[int, int]:
    """Offset and size that READ, READDIR and READDIRPLUS ask for."""
    _, offset, size = _READ_IN.unpack_from(request.body)
    return offset, size


def listing(entries: Iterable[tuple[bytes, Attributes]], offset: int, size: int, *, plus: bool) -> bytes:
    """The first of these names, that with number `offset`, and as many more as `size` bytes hold.

    With attributes when `plus`. No more of them is made than fits: a large directory is asked for in many pieces.
    """
    parts: list[bytes] = []
    left = size
    for number, (name, found) in enumerate(entries, offset):
        head = _DIRENT.pack(found.node, number + 1, len(name), stat.S_IFMT(found.mode) >> 12)
        packed = head + name + bytes(-(len(head) + len(name)) % 8)
        if plus:
            packed = (_NOWHERE if found.size == UNKNOWN or name in (b".", b"..") else entry(found)) + packed
        left -= len(packed)
        if left < 0:
            break
        parts.append(packed)
    return b"".join(parts)


def file_system() -> bytes:
    """The answer to STATFS: full, for nothing is ever written."""
    return _STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096)


def mount_options(descriptor: int) -> Iterable[tuple[str, str | None]]:
    """Options for fsconfig; the kernel checks permissions, and everybody whom the mount is shown to may ask."""
    return (
        ("source", "stepwell"), ("fd", str(descriptor)), ("rootmode", f"{stat.S_IFDIR | 0o755:o}"),
        ("user_id", "0"), ("group_id", "0"), ("default_permissions", None), ("allow_other", None), ("ro", None),
    )  # fmt: skip

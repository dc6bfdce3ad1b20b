"""The index of a cached tree, made so that git in any workspace believes it without reading a file.

git trusts a file when size and time of change are those in the index, and compares contents when that time is not
before the index's own: otherwise an edit in the second of the checkout would go unseen. So all files of a tree get one
time, two seconds before the checkout began. No later edit can have it, and none of them is ever compared in vain.
`core.checkStat=minimal` in the workspace leaves out what a mount changes: owner, device, inode.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from stepwell.errors import Bug

CHECK_STAT = "minimal"
_HEADER = struct.Struct(">4sLL")
_TIMES = struct.Struct(">LLLL")  # change of the inode, change of the content: seconds and nanoseconds
_STAT = 40  # bytes before the object id
_MODE = 24  # where the mode is
_EXTENDED, _NAME = 0x4000, 0x0FFF
_GITLINK = 0o160000


def settle_times(index: Path, tree: Path, seconds: int, algorithm: str = "sha1") -> None:
    """Give every file of `tree` this time, in the index and on disk."""
    id_bytes = hashlib.new(algorithm).digest_size
    content = bytearray(index.read_bytes()[:-id_bytes])
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for offset, name in _entries(content, id_bytes):
            _TIMES.pack_into(content, offset, seconds, 0, seconds, 0)
            (mode,) = struct.unpack_from(">L", content, offset + _MODE)
            if mode != _GITLINK:
                os.utime(name, (seconds, seconds), dir_fd=root, follow_symlinks=False)
    finally:
        os.close(root)
    index.write_bytes(content + hashlib.new(algorithm, content).digest())


def _entries(content: bytearray, id_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield where each entry starts, and its path."""
    signature, version, count = _HEADER.unpack_from(content)
    if signature != b"DIRC" or version not in (2, 3):
        raise Bug(f"git wrote an index of version {version}. Please report.")
    offset = _HEADER.size
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", content, offset + _STAT + id_bytes)
        start = offset + _STAT + id_bytes + (4 if flags & _EXTENDED else 2)
        length = flags & _NAME
        end = start + length if length < _NAME else content.index(0, start)
        yield offset, bytes(content[start:end])
        offset += (end - offset + 8) & ~7

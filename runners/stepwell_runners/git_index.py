"""The index of a cached tree, made so that git in any workspace believes it without reading a file.

git trusts a file when size and time of change are those in the index, and compares contents when that time is not
before the index's own: otherwise an edit in the second of the checkout would go unseen. So all files of a checkout get
one time, two seconds before it began. No later edit can have it, and none of them is ever compared in vain.
`core.checkStat=minimal` in the workspace leaves out what a mount changes: owner, device, inode.
"""

import hashlib
import os
import re
import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from pathlib import Path

from stepwell.errors import Bug

CHECK_STAT = "minimal"
_HEADER = struct.Struct(">4sLL")
_TIMES = struct.Struct(">LLLL")  # change of the inode, change of the content: seconds and nanoseconds
_STAT = 40  # bytes before the object id
_MODE = 24  # where the mode is
_SHA1, _SHA256 = 20, 32  # bytes of an object id
_EXTENDED, _NAME = 0x4000, 0x0FFF
_GITLINK = 0o160000


@dataclass(frozen=True)
class Entry:
    """What an index says about a file."""

    mode: int
    id: str
    size: int


def settle_times(index: Path, tree: Path, times: int | Path, algorithm: str = "sha1") -> None:
    """Give every file of `tree` this time, in the index and on disk; or the times in another index of the same tree."""
    id_bytes = hashlib.new(algorithm).digest_size
    content = bytearray(index.read_bytes()[:-id_bytes])
    given = repeat(times) if isinstance(times, int) else _seconds(times.read_bytes(), id_bytes)
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for (offset, name), time in zip(_entries(content, id_bytes), given, strict=False):
            _TIMES.pack_into(content, offset, time, 0, time, 0)
            (mode,) = struct.unpack_from(">L", content, offset + _MODE)
            if mode != _GITLINK:
                os.utime(name, (time, time), dir_fd=root, follow_symlinks=False)
    finally:
        os.close(root)
    index.write_bytes(content + hashlib.new(algorithm, content).digest())


def _seconds(content: bytes, id_bytes: int) -> Iterator[int]:
    for offset, _ in _entries(content, id_bytes):
        yield _TIMES.unpack_from(content, offset)[2]


def changed(content: bytes, gone: Collection[bytes], written: Mapping[bytes, Entry], seconds: int) -> bytes:
    """Return an index without the paths in `gone` and what is below them, with what is `written` at this time.

    What git keeps behind the entries to be faster is left out: it would have to be changed as well.
    """
    id_bytes = _SHA1 if not written or len(next(iter(written.values())).id) == 2 * _SHA1 else _SHA256
    starts, names = _table(content, id_bytes)
    cut: set[int] = set()
    for path in gone:
        cut.update(range(bisect_left(names, path + b"/"), bisect_left(names, path + b"0")))  # "0" follows "/"
    fresh: defaultdict[int, list[bytes]] = defaultdict(list)
    for path in sorted({*gone, *written}):
        at = bisect_left(names, path)
        if names[at : at + 1] == [path]:
            cut.add(at)
        if path in written:
            fresh[at].append(_pack(path, written[path], seconds))
    signature, version, _ = _HEADER.unpack_from(content)
    count = len(names) - len(cut) + sum(map(len, fresh.values()))
    parts, done = [_HEADER.pack(signature, version, count)], 0
    for at in sorted({*cut, *fresh}):
        parts += [content[starts[done] : starts[at]], *fresh.get(at, ())]
        done = at + (at in cut)
    parts.append(content[starts[done] : starts[-1]])
    total = hashlib.new("sha1" if id_bytes == _SHA1 else "sha256")
    for part in parts:
        total.update(part)
    return b"".join((*parts, total.digest()))


def count_of(content: bytes) -> int:
    """Return the number of entries of an index, which its first bytes tell."""
    return int(_HEADER.unpack_from(content)[2])


def _pack(path: bytes, entry: Entry, seconds: int) -> bytes:
    about = struct.pack(">LLLLLL", 0, 0, entry.mode, 0, 0, entry.size & 0xFFFFFFFF)
    flags = struct.pack(">H", min(len(path), _NAME))
    packed = _TIMES.pack(seconds, 0, seconds, 0) + about + bytes.fromhex(entry.id) + flags + path
    return packed + bytes(8 - len(packed) % 8)  # one to eight


def _table(content: bytes, id_bytes: int) -> tuple[list[int], list[bytes]]:
    """Where each entry starts, with the end of the last one; and their paths, in the order of the bytes.

    In one go of the regular expression: a loop over 100,000 entries would hold everybody else up. Each begins with the
    seconds of our time, whose first byte is none of the zeros before.
    """
    signature, version, count = _HEADER.unpack_from(content)
    head = _STAT + id_bytes + 2
    pattern = re.compile(b"(?s:.{%d})([^\\0]+)\\0{1,8}" % head)
    end = len(content) - id_bytes
    names = [found[1] for found in islice(pattern.finditer(content, _HEADER.size, end), count)]
    starts = list(accumulate(((head + len(name) + 8) & ~7 for name in names), initial=_HEADER.size))
    if signature != b"DIRC" or version != 2 or len(names) != count or starts[-1] > end:
        raise ValueError("an index of another form")
    return starts, names


def _entries(content: bytes | bytearray, id_bytes: int) -> Iterator[tuple[int, bytes]]:
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

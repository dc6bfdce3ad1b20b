"""The size of a git object before it is read.

A pushed object of a few kilobytes can inflate to gigabytes, and dulwich inflates it whole. The headers tell the size:
of a loose object, of a packed one, and of each delta and its base down the chain (a small result may stand on a huge
base). Asking `git cat-file --batch-check` would cost a process, 3 ms, for every read.
"""

import zlib
from pathlib import Path
from typing import Any

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, hex_to_sha

from stepwell.errors import Invalid

_OFS_DELTA, _REF_DELTA = 6, 7
_LONGEST_CHAIN = 4096
LARGEST_BASE = 256 * 1024 * 1024  # bytes; nothing larger is inflated on the way to a small object
MOST_BASES = 4 * 1024 * 1024 * 1024  # bytes of all that are made on that way


def object_size(store: DiskObjectStore, sha: bytes) -> int:
    """Return the size in bytes; raises KeyError when there is no such object, Invalid when its bases are too large."""
    name = ObjectID(sha)
    try:
        return store._lookup_in_packs(lambda pack: _packed_size(pack, hex_to_sha(name)))
    except KeyError:
        pass
    size = _loose_size(Path(store.path), name)
    if size is not None:
        return size
    for other in store.alternates:
        if isinstance(other, DiskObjectStore):
            try:
                return object_size(other, sha)
            except KeyError:
                continue
    raise KeyError(sha)


def _loose_size(folder: Path, sha: bytes) -> int | None:
    name = sha.decode("ascii")
    try:
        with (folder / name[:2] / name[2:]).open("rb") as file:
            head = zlib.decompressobj().decompress(file.read(256), 64)
    except FileNotFoundError:
        return None
    return int(head.partition(b"\0")[0].split(b" ")[1])


def _packed_size(pack: Any, binary_sha: bytes) -> int:
    offset = pack.index.object_offset(binary_sha)
    contents = pack.data._buffer()
    result: int | None = None
    left = MOST_BASES
    for _ in range(_LONGEST_CHAIN):
        kind, size, position = _entry_header(contents, offset)
        if size > LARGEST_BASE:
            raise _too_large(size)
        if kind == _OFS_DELTA:
            back, position = _base_distance(contents, position)
            base = offset - back
        elif kind == _REF_DELTA:
            base = pack.index.object_offset(bytes(contents[position : position + 20]))
            position += 20
        else:
            return size if result is None else result
        before, after = _delta_sizes(contents, position)
        result = after if result is None else result
        if result > LARGEST_BASE:
            return result
        left -= before  # of what a delta stands on, which may be made by one as small as itself
        if before > LARGEST_BASE or left < 0:
            raise _too_large(before)
        offset = base
    raise Invalid(f"An object has more than {_LONGEST_CHAIN} deltas in a row. Repack the repository and push again.")


def _entry_header(contents: Any, offset: int) -> tuple[int, int, int]:
    byte = contents[offset]
    kind, size, shift = (byte >> 4) & 7, byte & 15, 4
    while byte & 0x80:
        offset += 1
        byte = contents[offset]
        size |= (byte & 0x7F) << shift
        shift += 7
    return kind, size, offset + 1


def _base_distance(contents: Any, position: int) -> tuple[int, int]:
    byte = contents[position]
    distance = byte & 0x7F
    while byte & 0x80:
        position += 1
        byte = contents[position]
        distance = ((distance + 1) << 7) | (byte & 0x7F)
    return distance, position + 1


def _too_large(size: int) -> Invalid:
    return Invalid(f"An object of {size:,} bytes is too large to read. At most {LARGEST_BASE:,} bytes are read.")


def _delta_sizes(contents: Any, position: int) -> tuple[int, int]:
    """Return the bytes that a delta stands on, and those that it makes."""
    head = zlib.decompressobj().decompress(bytes(contents[position : position + 256]), 32)
    before, start = _little_endian(head, 0)
    after, _ = _little_endian(head, start)
    return before, after


def _little_endian(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position

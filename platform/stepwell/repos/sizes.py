"""The size of a git object before it is read, and small objects as git keeps them.

A pushed object of a few kilobytes can inflate to gigabytes, and dulwich inflates it whole. The headers tell the size:
of a loose object, of a packed one, and of each delta and its base down the chain (a small result may stand on a huge
base). Asking `git cat-file --batch-check` would cost a process, 3 ms, for every read.
"""

import os
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, hex_to_sha
from dulwich.pack import PackFileDisappeared

from stepwell.errors import Invalid

_OFS_DELTA, _REF_DELTA = 6, 7
_LONGEST_CHAIN = 4096
LARGEST_BASE = 256 * 1024 * 1024  # bytes; nothing larger is inflated on the way to a small object
MOST_BASES = 4 * 1024 * 1024 * 1024  # bytes of all that are made on that way
_LONGEST_HEAD = 64  # bytes
_SMALL_FILE = 1 << 20  # bytes
_FIRST_READ = 1 << 16  # bytes; the C library maps memory for a buffer of more than 128 KiB, and unmaps it again
_MOST_KNOWN = 10_000
_FEW_PACKS = 8  # to look into all of them costs less than to look for a file


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


def read_loose(store: DiskObjectStore, sha: str, limit: int) -> tuple[bytes, bytes] | None:
    """Return kind and content of an object in a file of its own, which is what a small push brings.

    None when there is none, when it has more than `limit` bytes, or is damaged: all that is for dulwich to tell.
    """
    try:
        file = os.open(os.path.join(store.path, sha[:2], sha[2:]), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH118
    except FileNotFoundError:
        return None
    try:
        packed = os.read(file, _FIRST_READ)
        if len(packed) == _FIRST_READ:
            packed += os.read(file, _SMALL_FILE + 1 - _FIRST_READ)
    finally:
        os.close(file)
    inflate = zlib.decompressobj()
    try:
        head, _, start = inflate.decompress(packed, _LONGEST_HEAD).partition(b"\0")
        kind, _, size = head.partition(b" ")
        left = int(size) - len(start)
        if len(packed) > _SMALL_FILE or left > limit:
            return None
        content = start + inflate.decompress(inflate.unconsumed_tail, left + 1)
    except (ValueError, zlib.error):
        return None
    return (kind, content) if len(content) == int(size) <= limit else None


def read_packed(store: DiskObjectStore, sha: str, limit: int) -> tuple[int, bytes] | None:
    """Return kind and content of an object in a pack that is open already.

    None when it is in none of the few that are looked at, or has more than `limit` bytes.
    """
    name = hex_to_sha(ObjectID(sha.encode()))
    for pack in list(islice(store._iter_cached_packs(), _FEW_PACKS)):
        with suppress(KeyError, PackFileDisappeared):
            return pack.get_raw(name) if _packed_size(pack, name) <= limit else None
    return None


def _loose_size(folder: Path, sha: bytes) -> int | None:
    name = sha.decode("ascii")
    try:
        with (folder / name[:2] / name[2:]).open("rb") as file:
            head = zlib.decompressobj().decompress(file.read(256), _LONGEST_HEAD)
    except FileNotFoundError:
        return None
    return int(head.partition(b"\0")[0].split(b" ")[1])


class _Chain(NamedTuple):
    """An entry of a pack: what it makes, and what has to be made before it."""

    size: int
    largest: int  # of its deltas and bases
    bases: int  # bytes of all its bases
    length: int


def _packed_size(pack: Any, binary_sha: bytes) -> int:
    contents = pack.data._buffer()
    known: dict[int, _Chain] = pack.__dict__.setdefault("_stepwell_chains", {})  # by offset, as long as it is open
    offset = pack.index.object_offset(binary_sha)
    above: list[tuple[int, int, int, int]] = []  # where a delta is, its own size, that of its base and what it makes
    bases = 0
    while (chain := known.get(offset)) is None:
        kind, size, position = _entry_header(contents, offset)
        _check(size, bases, len(above))
        if kind not in (_OFS_DELTA, _REF_DELTA):
            chain = _Chain(size, size if above else 0, 0, 0)
            break
        if kind == _OFS_DELTA:
            back, position = _base_distance(contents, position)
            base = offset - back
        else:
            base = pack.index.object_offset(bytes(contents[position : position + 20]))
            position += 20
        before, after = _delta_sizes(contents, position)
        if not above and after > LARGEST_BASE:
            return after
        bases += before  # of what a delta stands on, which may be made by one as small as itself
        _check(before, bases, len(above))
        above.append((offset, size, before, after))
        offset = base
    if len(known) > _MOST_KNOWN:
        known.clear()
    for place, size, before, after in reversed(above):
        chain = _Chain(after, max(size, before, chain.largest), before + chain.bases, chain.length + 1)
        known[place] = chain
    _check(chain.largest, chain.bases, chain.length)
    return chain.size


def _check(largest: int, bases: int, length: int) -> None:
    if length >= _LONGEST_CHAIN:
        raise Invalid(
            f"An object has more than {_LONGEST_CHAIN} deltas in a row. Repack the repository and push again."
        )
    if largest > LARGEST_BASE or bases > MOST_BASES:
        raise Invalid(f"An object of {largest:,} bytes is too large to read. At most {LARGEST_BASE:,} bytes are read.")


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

"""Packs as no git client makes them: a few kilobytes that ask for gigabytes."""

import hashlib
import struct
import zlib

MEBI = 1 << 20
COPIED = 0xFFFFFF  # bytes: the most that one instruction of a delta copies
KINDS = {"commit": 1, "tree": 2, "blob": 3, "delta": 7}


def entry(kind: str, content: bytes, size: int, base: str = "") -> bytes:
    """One object of a pack; `content` is deflated already."""
    first, left = KINDS[kind] << 4 | size & 15, size >> 4
    head = bytearray()
    while left:
        head.append(first | 0x80)
        first, left = left & 0x7F, left >> 7
    head.append(first)
    return bytes(head) + bytes.fromhex(base) + content


def number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def packed(entries: list[bytes]) -> bytes:
    body = struct.pack(">4sII", b"PACK", 2, len(entries)) + b"".join(entries)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def zeros(size: int) -> bytes:
    """A stream of zeros, deflated a piece at a time."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(min(MEBI, size - at))) for at in range(0, size, MEBI)]
    return b"".join([*pieces, packer.flush()])


def delta_bomb() -> list[bytes]:
    """A base of 16 MiB, and a delta of some hundred bytes that makes a gigabyte of it."""
    base = entry("blob", zeros(COPIED), COPIED)
    hashed = hashlib.sha1(b"blob %d\0" % COPIED, usedforsecurity=False)
    for at in range(0, COPIED, MEBI):
        hashed.update(bytes(min(MEBI, COPIED - at)))
    id_ = hashed.hexdigest()
    copies = 64
    delta = number(COPIED) + number(COPIED * copies) + (b"\xf0" + b"\xff\xff\xff") * copies
    return [base, entry("delta", zlib.compress(delta), len(delta), id_)]

"""The framing of git's wire: four hex digits of length, then the payload; `0000` is a flush."""

import asyncio
import re

FLUSH = b"0000"
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
LONGEST = 65516  # bytes of payload in one packet


def encode(payload: bytes) -> bytes:
    """Frame one packet."""
    if len(payload) > LONGEST:
        raise ValueError(f"A packet carries {LONGEST} bytes at most, not {len(payload)}.")
    return b"%04x" % (len(payload) + 4) + payload


async def packets(reader: asyncio.StreamReader) -> list[bytes]:
    """Read the payloads up to a flush. Raises EOFError when they end before it, ValueError for what is no packet."""
    found = list[bytes]()
    while size := int(await reader.readexactly(4), 16):
        found.append(await reader.readexactly(size - 4))
    return found


def are_more(beginning: bytes | bytearray, number: int) -> bool | None:
    """Say whether more than so many packets come before a flush; None when this beginning does not tell."""
    position = count = 0
    while count <= number:
        head = beginning[position : position + 4]
        if len(head) < 4:
            return None
        size = int(head, 16) if _LENGTH.fullmatch(head) else 0
        if size < 4:  # the flush, or no packet at all, which is for git to refuse
            return False
        position, count = position + size, count + 1
    return True


def advertisement(service: str, refs: bytes) -> bytes:
    """Put the smart protocol's heading before the refs; version 2 has none."""
    if refs[4:].startswith(b"version 2"):
        return refs
    return encode(f"# service={service}\n".encode()) + FLUSH + refs

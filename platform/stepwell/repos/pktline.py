"""The framing of git's wire: four hex digits of length, then the payload; `0000` is a flush."""

FLUSH = b"0000"
LONGEST = 65516  # bytes of payload in one packet


def encode(payload: bytes) -> bytes:
    """Frame one packet."""
    if len(payload) > LONGEST:
        raise ValueError(f"A packet carries {LONGEST} bytes at most, not {len(payload)}.")
    return b"%04x" % (len(payload) + 4) + payload


def advertisement(service: str, refs: bytes) -> bytes:
    """Put the smart protocol's heading before the refs; version 2 has none."""
    if refs[4:].startswith(b"version 2"):
        return refs
    return encode(f"# service={service}\n".encode()) + FLUSH + refs

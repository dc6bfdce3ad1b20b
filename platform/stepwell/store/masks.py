"""Masks: secrets never reach a log, whatever way the output is cut into pieces.

A byte may be written only when no mask can cover it any more. So the writer holds back the longest end of what it has
seen that begins some mask, and nothing else: output without the start of a secret passes at once. All occurrences
count, overlapping ones too; each covered stretch becomes `***` once. The result does not depend on how it was cut.
Forms covered: the text, its lines, URL-encoded, JSON-escaped, base64 (standard and URL-safe, at each of the three
alignments, so also inside `user:password`). Values and lines shorter than SHORTEST are not masked: they would turn
ordinary output into stars and so tell what they are.
"""

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

SHORTEST = 4
"""Bytes; shorter values are not masked."""
STARS = b"***"


def forms(secret: str) -> set[bytes]:
    """Every spelling of the secret that must not appear in a log."""
    texts = {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}
    found: set[bytes] = set()
    for text in texts:
        raw = text.encode()
        if len(raw) < SHORTEST:
            continue
        spelled = {text, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1]}
        spelled.add(json.dumps(text, ensure_ascii=False)[1:-1])
        found.update(spelling.encode() for spelling in spelled)
        found.update(_base64(raw))
    return found


def _base64(raw: bytes) -> set[bytes]:
    """The characters that stand for `raw` in any base64 text around it: those that depend on no neighbour."""
    found = set()
    for before in range(3):
        first = (before * 8 + 5) // 6  # first character without bits of what stands before
        last = (before + len(raw)) * 8 // 6  # characters complete without what comes after
        padded = bytes(before) + raw
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            core = encode(padded)[first:last]
            if len(core) >= SHORTEST:
                found.add(core)
    return found


def masks_of(secrets: Iterable[str]) -> frozenset[bytes]:
    """Every spelling of every secret."""
    return frozenset(form for secret in secrets for form in forms(secret))


class Masker:
    """Replaces masks in a stream of bytes."""

    def __init__(self, masks: Iterable[bytes]) -> None:
        self._masks = sorted(set(masks), key=len, reverse=True)
        self._starts = {mask[0] for mask in self._masks}
        self._longest = len(self._masks[0]) if self._masks else 0
        self._held = b""
        self._covered = 0  # bytes at the head of what is held that a mask already covers; their stars are written
        self._open = False  # the last thing written were stars: a covered byte directly after adds none

    @property
    def holding(self) -> bool:
        """Say whether bytes wait for what comes next."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """Take output, return what may be written now."""
        if not self._masks:
            return data
        seen = self._held + data
        return self._write(seen, self._safe(seen))

    def finish(self) -> bytes:
        """Return what was held back: nothing comes after it."""
        return self._write(self._held, len(self._held)) if self._held else b""

    def clean(self, text: bytes) -> bytes:
        """Mask one text on its own, apart from the stream."""
        twin = Masker(self._masks)
        return twin.feed(text) + twin.finish()

    def _safe(self, seen: bytes) -> int:
        """Where the longest end begins that may grow into a mask."""
        for start in range(max(0, len(seen) - self._longest + 1), len(seen)):
            if seen[start] in self._starts:
                end = seen[start:]
                if any(len(mask) > len(end) and mask.startswith(end) for mask in self._masks):
                    return start
        return len(seen)

    def _write(self, seen: bytes, safe: int) -> bytes:
        covered = [(0, self._covered)] if self._covered else []
        covered += self._found(seen)
        covered.sort()
        out = bytearray()
        at = 0
        for start, end in covered:
            if start >= safe:
                break
            if start > at:
                out += seen[at:start]
                self._open = False
            if not self._open:
                out += STARS
                self._open = True
            at = max(at, end)
        if at < safe:
            out += seen[at:safe]
            self._open = False
        self._covered = max(0, max(at, self._covered) - safe)
        self._held = seen[safe:]
        return bytes(out)

    def _found(self, seen: bytes) -> list[tuple[int, int]]:
        found = []
        for mask in self._masks:
            at = seen.find(mask)
            while at >= 0:
                found.append((at, at + len(mask)))
                at = seen.find(mask, at + 1)
        return found

"""A journal as an isolate is told it: only what a replay needs, entry by entry or in columns.

A long journal is told in columns, at the speed of C.
"""

from collections.abc import Iterable, Sequence
from itertools import starmap
from sys import intern
from typing import Any

from stepwell.authoring.frames import PASSED, frame_of, plain
from stepwell.engine.entries import Entry
from stepwell.engine.live import EXECUTED, Live
from stepwell.store.journal import Part
from stepwell.store.json_text import encode

SEEN = frozenset({
    "created", "continued", "asked", "retry", "fired", "event", "took", "done", "dropped", "cancel", "overdue",
    "undoing",
})  # fmt: skip
"""Types of entries that a replay needs."""
_FIRST = frozenset({"created", "continued"})
_OF_ATTEMPTS = frozenset({"retry", "fired"})


def line_of(entries: Iterable[tuple[Entry, str]]) -> bytes:
    """Give the line that tells these entries."""
    return f"[{','.join([_told(entry, text) for entry, text in entries])}]\n".encode()


def replayed(live: Live, entries: Iterable[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
    """Give those of the journal that a replay needs, with the text that is told of each."""
    return [
        (entry, _text(entry.type, text))
        for entry, text in entries
        if entry.type in SEEN and (entry.type not in _OF_ATTEMPTS or live.heeded(entry))
    ]


def _told(entry: Entry, text: str) -> str:
    return f'[{entry.seq},{entry.at!r},"{entry.type}",{encode(entry.key)},{entry.attempt},{text}]'


def _text(kind: str, text: str) -> str:
    # What a run was created with is not its code's to read: metadata says whose it is.
    return "null" if kind in _FIRST else text


Plain = tuple[Any, Any]
"""Fingerprint and value of a function that passed at its first try: all that a replay needs of most entries."""


def plain_of(part: Part) -> list[Plain | None]:
    """Give of each entry what is told instead of it, None where all of it is."""
    try:
        return [plain(data) if kind == "done" else None for kind, data in zip(part.types, part.data, strict=True)]
    except (AttributeError, KeyError, TypeError):
        return [None] * len(part.types)  # one is damaged: the fold says which


class Columns:
    """Tells a journal part by part, before it is folded."""

    def __init__(self) -> None:
        self.last = 0  # seq of the last entry told
        self._asked: dict[str, Any] = {}  # key → kind of what was asked

    def of(self, part: Part, plain: Sequence[Plain | None]) -> bytes:
        """Give the frame with the next entries, b"" when none of them is needed."""
        told: Iterable[Sequence[Any]]
        if None not in plain:
            told = (part.seqs, part.ats, [PASSED] * len(plain), part.keys, *zip(*plain, strict=True))
        else:
            rows = zip(part.seqs, part.ats, part.types, part.keys, part.data, plain, strict=True)
            told = zip(*filter(None, starmap(self._told, rows)), strict=True)
        if not (columns := list(told)):
            return b""
        self.last = columns[0][-1]
        return frame_of(columns)

    def _told(self, seq: int, at: float, *said: Any) -> tuple[Any, ...] | None:
        kind, key, data, plain = said
        if plain is not None:
            return seq, at, PASSED, key, *plain
        if kind == "asked":
            self._asked[key] = data.get("kind") if isinstance(data, dict) else None
        # The attempts of an executor's step are none of the code's business.
        if kind not in SEEN or (kind in _OF_ATTEMPTS and self._asked.get(key) in EXECUTED):
            return None
        return seq, at, intern(kind), key, None, None if kind in _FIRST else data

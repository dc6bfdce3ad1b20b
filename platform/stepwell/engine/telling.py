"""A journal as an isolate is told it: only what a replay needs, entry by entry or in columns.

In columns a long journal is written and read at the speed of C: the text of each entry's data is passed through as it
is kept, the other columns are encoded at once, and times, whose decimal digits take longest, as the eight bytes that
they are.
"""

import json
from array import array
from binascii import b2a_base64
from collections.abc import Iterable, Sequence

from stepwell.engine.entries import VERSION, Entry
from stepwell.engine.live import EXECUTED, Live, encode
from stepwell.store.journal import Row

SEEN = frozenset({
    "created", "continued", "asked", "retry", "fired", "event", "took", "done", "dropped", "cancel", "overdue",
    "undoing",
})  # fmt: skip
"""Types of entries that a replay needs."""
_FIRST = frozenset({"created", "continued"})
_OF_ATTEMPTS = frozenset({"retry", "fired"})
_TOLD_ANYWAY = SEEN - _OF_ATTEMPTS


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


class Columns:
    """Tells a journal part by part, before it is folded."""

    def __init__(self) -> None:
        self.last = 0  # seq of the last entry told
        self._asked: dict[str, str] = {}  # key → what was asked, as text

    def of(self, rows: Sequence[Row]) -> bytes | None:
        """Give the line with the next entries, b"" when none of them is needed, None when they are of an older version
        and have to be read first.
        """
        kinds = {row[2] for row in rows}
        if any(row[6] != VERSION for row in rows):
            return None
        if "asked" in kinds:
            self._asked.update((row[3], row[7]) for row in rows if row[2] == "asked")
        if not kinds <= _TOLD_ANYWAY:
            rows = [row for row in rows if self._needed(row[2], row[3])]
            if not rows:
                return b""
        self.last = rows[-1][0]
        seqs, ats, types, keys, attempts, _, _, texts = zip(*rows, strict=True)
        times = b2a_base64(array("d", ats).tobytes(), newline=False).decode()
        heads = encode([seqs, times, types, keys, attempts])
        return f"{heads[:-1]},[{','.join(map(_text, types, texts) if types[0] in _FIRST else texts)}]]\n".encode()

    def _needed(self, kind: str, key: str) -> bool:
        """Say whether a replay needs it; the attempts of an executor's step are none of the code's business."""
        if kind in _OF_ATTEMPTS and key in self._asked:
            return json.loads(self._asked[key])["kind"] not in EXECUTED
        return kind in SEEN

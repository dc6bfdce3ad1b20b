"""Entries of older versions, read as if they were written today.

A run may wait for years, and its journal is never written anew. So when the meaning of an entry has to change: raise
VERSION in entries.py, add to READERS the pure function from the version before to that one, and keep a journal of the
version before in tests/fixtures/journals, where its fold and its replay are tested for ever. A new type of entry or an
optional field of `data` needs none of this: the fold reads their absence.

An entry of a newer version is refused: read as if it were an old one, it could make a step run twice.
"""

from collections.abc import Callable, Mapping

from stepwell.engine.entries import VERSION, Entry
from stepwell.errors import Unavailable

Reader = Callable[[Entry], Entry]

READERS: Mapping[int, Reader] = {}
"""Version → what makes an entry of it one of the next version, with that version's number."""
REMEDY = "Run: stepwell doctor --check-journal"
"""What every message about a journal that cannot be read ends with."""


def read(entry: Entry, readers: Mapping[int, Reader] = READERS, version: int = VERSION) -> Entry:
    """Give the entry as it would be written today. Raises Unavailable for one of a newer Stepwell."""
    if entry.version > version:
        raise Unavailable(
            f"Entry {entry.seq} of run {entry.run!r} has version {entry.version}; this Stepwell reads versions up to "
            f"{version}. Start the newer Stepwell again."
        )
    while entry.version < version:
        reader = readers.get(entry.version)
        if reader is None:
            raise Unavailable(
                f"Entry {entry.seq} of run {entry.run!r} has version {entry.version}, which no Stepwell wrote. "
                + REMEDY
            )
        entry = reader(entry)
    return entry

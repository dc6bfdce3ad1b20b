"""Tree objects, read by what is other in them than in one that has been read.

A push changes an entry or two of a directory of hundreds. What is before and behind these is the same bytes, which are
compared a thousand times faster than they are parsed. Entries follow each other without marks between them; so what is
the same before the change ends at an entry of the old directory, and behind it begins at one, and what is between has
to be whole entries. Every other directory is parsed from its beginning.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

_KEPT, _SMALL = 64, 16 << 10  # listings that are kept for the push that follows, of at most so many bytes
_ENTRY = {length: re.compile(rb"(?s)([0-7]+) ([^\0]+)\0(.{%d})" % length) for length in (20, 32)}  # by bytes of ids
Names = Mapping[bytes, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory: name → mode and id, and where each entry starts, with the end of the last one."""

    raw: bytes
    id_bytes: int
    names: Names
    starts: list[int]


_kept: dict[bytes, Listing] = {}


def listing(raw: bytes, id_bytes: int) -> Listing | None:
    """Read a tree object; None when its entries or names are not sound, or there are none."""
    known = _kept.get(raw)
    if known is None or known.id_bytes != id_bytes:
        known = _parsed(raw, id_bytes)
        if known is not None:
            _keep(known)
    return known


def changes(old: Listing, raw: bytes) -> tuple[Listing, Names, Names] | None:
    """Read what another one has become, with the entries in the place of which others are, and these; None as above."""
    new = _followed(old, raw)
    if new is None:
        whole = listing(raw, old.id_bytes)
        return None if whole is None else (whole, old.names, whole.names)
    _keep(new[0])
    return new


def _followed(old: Listing, raw: bytes) -> tuple[Listing, Names, Names] | None:
    before, shift = old.raw, len(raw) - len(old.raw)
    shorter = min(len(before), len(raw))
    first = bisect_right(old.starts, _alike_from(before, raw, shorter)) - 1
    start = old.starts[first]
    behind = bisect_left(old.starts, len(before) - _alike_to(before, raw, shorter - start))
    end = old.starts[behind]
    gone, come = _parsed(before[start:end], old.id_bytes), _parsed(raw[start : end + shift], old.id_bytes)
    if gone is None or come is None or any(name in old.names and name not in gone.names for name in come.names):
        return None  # also where nothing but new entries has come, or nothing is left: rare enough
    names = {**old.names}
    for name in gone.names:
        del names[name]
    names.update(come.names)
    starts = old.starts
    if come.starts != gone.starts:
        between = (start + place for place in come.starts[:-1])
        starts = [*starts[:first], *between, *(place + shift for place in starts[behind:])]
    return Listing(raw, old.id_bytes, names, starts), gone.names, come.names


def _parsed(raw: bytes, id_bytes: int) -> Listing | None:
    entries = _ENTRY[id_bytes].findall(raw)
    names = {name: (mode, id_) for mode, name, id_ in entries}
    starts = list(accumulate((len(mode) + len(name) + 2 + id_bytes for mode, name, _ in entries), initial=0))
    if not names or len(names) != len(entries) or starts[-1] != len(raw):
        return None
    return Listing(raw, id_bytes, names, starts)


def _keep(made: Listing) -> None:
    """Keep a small one; when there are too many, begin anew."""
    if len(made.raw) <= _SMALL:
        if len(_kept) >= _KEPT:
            _kept.clear()
        _kept[made.raw] = made


def _alike_from(one: bytes, two: bytes, most: int) -> int:
    """Return how many bytes are the same from the beginning."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _alike_to(one: bytes, two: bytes, most: int) -> int:
    """Return how many bytes are the same up to the end."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == two[len(two) - middle : len(two) - low]:
            low = middle
        else:
            high = middle - 1
    return low

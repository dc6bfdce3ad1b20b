"""How much room the cache of trees takes, and which of them go when it is too much: those not used for longest.

Beside each tree lies a note, `<tree>.used`: the bytes that the tree takes, and as its time the last server's first use
of it. Trees go only while a server starts: later their directories may be mounted anywhere, and a lower that loses its
files under a mount would be worse than a full cache.
"""

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stepwell_runners.reduce import remove

DEFAULT_LIMIT = 50 << 30  # bytes
_TREE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class _Kept:
    used: float
    size: int
    place: Path


def note_size(place: Path, size: int) -> None:
    """Write down what a tree takes. It is used now."""
    _note(place).write_text(str(size))


def note_use(place: Path) -> None:
    """Remember that a tree is used; one made by an older Stepwell gets a note of no bytes."""
    with contextlib.suppress(OSError):  # a cache is no reason to fail
        _note(place).touch()


def evict(folder: Path, limit: int, kept: Collection[Path] = ()) -> list[Path]:
    """Remove the trees not used for longest until the rest takes at most `limit` bytes; none of the `kept`."""
    found = sorted(_kept(place) for repo in folder.iterdir() for place in repo.iterdir() if _TREE.fullmatch(place.name))
    taken = sum(one.size for one in found)
    gone = []
    for one in found:
        if taken <= limit:
            break
        if one.place not in kept:
            forget(one.place)
            taken -= one.size
            gone.append(one.place)
    return gone


def forget(place: Path) -> None:
    """Remove a tree; without its index it counts as not there, should this be cut short."""
    place.with_name(f"{place.name}.index").unlink(missing_ok=True)
    remove(place)
    _note(place).unlink(missing_ok=True)


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.used")


def _kept(place: Path) -> _Kept:
    note = _note(place)
    try:
        return _Kept(note.stat().st_mtime, int(note.read_text() or 0), place)
    except (OSError, ValueError):
        return _Kept(0.0, 0, place)

"""Whether a secret stands in what is about to be published: every object is looked through to its end, or none counts.

Who reads the answer may not know which secrets there are: it says where one stands, and its name is for the audit log.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stepwell.store.masks import forms

SHORTEST_SECRET = 8
"""Bytes; shorter values are words that any file may have."""

Marks = Mapping[str, frozenset[bytes]]
"""What gives each secret away, by its name."""


@dataclass(frozen=True)
class Leak:
    """The secret of this name stands in this object."""

    name: str
    object: str


def marks_of(secrets: Iterable[tuple[str, str]]) -> Marks:
    """Return what to look for; secrets that are too short for it are left out."""
    return {name: marks for name, value in secrets if (marks := _marks(value))}


def _marks(value: str) -> frozenset[bytes]:
    """Return what gives a secret away: every form of its longest line, but not of one that frames a key."""
    longest = max((line for line in value.splitlines() if not line.startswith("-----")), key=len, default="")
    return frozenset(form for form in forms(longest) if len(form) >= SHORTEST_SECRET)


def find_leak(contents: Iterator[tuple[str, bytes]], marks: Marks) -> Leak | None:
    """Return the first leak in objects that come in pieces, each with the object's id."""
    longest = max((len(mark) for of_one in marks.values() for mark in of_one), default=0)
    current, rest = "", b""
    for object_, piece in contents if longest else ():
        seen = rest + piece if object_ == current else piece
        if name := named_in(seen, marks):
            return Leak(name, object_)
        current, rest = object_, seen[-longest:]
    return None


def named_in(data: bytes, marks: Marks) -> str:
    """Name the first secret of which some form stands in these bytes; "" when none does."""
    return next((name for name, of_one in marks.items() if any(mark in data for mark in of_one)), "")


def told(object_: str, place: tuple[str, str], marks: Marks) -> str:
    """Say where a leak is, for people who may not see the secret: not even where its value is part of a name."""
    commit, path = place
    within = f"commit {commit[:10]}" if commit else f"object {object_[:10]}"
    return within if not path or named_in(path.encode("utf-8", "surrogateescape"), marks) else f"{path!r} of {within}"


def names(given: Sequence[str]) -> str:
    """Say names one after the other."""
    return ", ".join(repr(name) for name in given)

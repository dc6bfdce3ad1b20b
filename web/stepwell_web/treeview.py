"""A folder as its page lists it: all of it, or of a large one a page and what a part of a name finds."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.repos.objects import TreeEntry

PAGE = 500
"""Entries of one page."""


@dataclass(frozen=True)
class Listing:
    """Entries of a page: those behind the first `skip` of the `count` that have `part` in their names, of `total`."""

    entries: Sequence[TreeEntry]
    skip: int
    count: int
    total: int
    part: str

    @property
    def is_large(self) -> bool:
        """Say whether the folder has more entries than a page."""
        return self.total > PAGE

    @property
    def before(self) -> int | None:
        """Where the page before begins."""
        return max(0, self.skip - PAGE) if self.skip else None

    @property
    def after(self) -> int | None:
        """Where the next page begins."""
        return self.skip + PAGE if self.skip + PAGE < self.count else None


def listed(entries: Sequence[TreeEntry], skip: int = 0, part: str = "") -> Listing:
    """List a folder from an entry on; behind the last one, its last page."""
    wanted = part.casefold().strip()
    found = [entry for entry in entries if wanted in entry.name.casefold()] if wanted else entries
    begin = min(skip, max(0, len(found) - 1) // PAGE * PAGE)
    return Listing(found[begin : begin + PAGE], begin, len(found), len(entries), part.strip())

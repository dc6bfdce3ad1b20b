"""Looking through all runs a few rows at a time, beside the engine's loop.

A survey ends after so many rows, with a cursor where it stopped. Everything created after its beginning is left out, or
it might meet what its own caller has just made, and never end.
"""

import base64
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stepwell.engine.engine import Engine
from stepwell.engine.selection import Selection
from stepwell.errors import Invalid

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow

PAGE = 1_000
"""Rows read at a time."""
LOOKED_AT = 10_000
"""Rows after which a survey stops, whatever it has found."""


@dataclass(frozen=True)
class Cursor:
    """Where a survey goes on. `of` names what was asked, `until` is the moment at which it began."""

    of: str
    until: float
    at: float = -1.0
    run: str = ""

    def moved(self, at: float, run: str) -> "Cursor":
        """Go on behind a run."""
        return replace(self, at=at, run=run)

    def text(self) -> str:
        """Write it down for the caller."""
        return base64.urlsafe_b64encode(json.dumps([self.of, self.until, self.at, self.run]).encode()).decode()


def cursor_of(text: str | None, of: str, now: float) -> Cursor:
    """Read a cursor, or begin. Raises Invalid for one that is not of this question."""
    if text is None:
        return Cursor(of, now)
    try:
        asked, until, at, run = json.loads(base64.urlsafe_b64decode(text))
        cursor = Cursor(str(asked), float(until), float(at), str(run))
    except (TypeError, ValueError) as error:
        raise Invalid(f"Cursor {text[:60]!r} is not one of ours. Leave it out to begin anew.") from error
    if cursor.of != of:
        raise Invalid(f"Cursor {text[:60]!r} belongs to another question. Leave it out to begin anew.")
    return cursor


class Survey:
    """One look through the runs of a selection, in its order."""

    def __init__(self, engine: Engine, which: Selection, begin: Cursor) -> None:
        self.looked_at = 0
        self.cursor: Cursor | None = begin  # None: everything has been seen
        self._begin = begin
        self._engine = engine
        until = begin.until if which.created_until is None else min(which.created_until, begin.until)
        self._which = replace(which, created_until=until)

    @property
    def over(self) -> bool:
        """Say whether this look is over, because all has been seen or enough for once."""
        return self.cursor is None or self.looked_at >= LOOKED_AT

    @property
    def next(self) -> str | None:
        """Where another look goes on, or None."""
        return None if self.cursor is None else self.cursor.text()

    async def more(self, most: int | None = None) -> list["RunRow"]:
        """Look at the next rows and give those that fit, at most so many; none does not mean that it is over."""
        if self.cursor is None:
            return []
        place = self.cursor
        limit = PAGE  # rows that do not fit are read only for what their metadata say
        if most is not None and not self._which.metadata:
            limit = min(most, PAGE)
        page = await self._engine.scan(self._which, (place.at, place.run), limit)
        found: list[RunRow] = []
        for row in page:
            self.looked_at += 1
            self.stop_behind(row)
            if self._which.fits(row):
                found.append(row)
                if len(found) == most:
                    return found
        if len(page) < limit:
            self.cursor = None
        return found

    def stop_behind(self, row: "RunRow") -> None:
        """Have the next look begin behind this row."""
        self.cursor = self._begin.moved(*self._which.place_of(row))

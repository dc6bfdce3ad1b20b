"""The dead runs of a tenant as its page lists them: found by SQL, on the asker's thread.

The same answer as `stepwell.dynamic.dead_runs`, without a word to the engine. SQLite leaves out those that live, by an
index, and what a run that is over died of is told once.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from stepwell.dynamic.dead import MOST, Dead, DeadRuns, Death, told_by_entry, told_by_row
from stepwell.dynamic.survey import cursor_of
from stepwell.engine.selection import Selection
from stepwell.errors import Unavailable
from stepwell.store.entry_rows import COLUMNS, entry_of
from stepwell.store.journal_file import EXPLAINED, EXPLAINED_INDEX
from stepwell.store.store import Store

LOOKED_AT = 1_000
"""Runs, not alive and well, after which an answer ends, whatever it has found."""
REMEMBERED = 10_000
"""Runs that are over whose death is kept for the next look: about 100 bytes each."""
_ROWS = f"""
SELECT id, tenant, scope, number, title, state, reason, ended_at, created_at, updated_at, seq
FROM runs INDEXED BY {EXPLAINED_INDEX}
WHERE tenant = ? AND (? = '' OR scope = ?) AND created_at <= ? AND (created_at, id) > (?, ?) AND {EXPLAINED}
ORDER BY created_at, id LIMIT ?
"""  # noqa: S608 - our own names
_LAST = f"SELECT {COLUMNS} FROM journal WHERE run = ? AND seq >= ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 - our own names


class DeadList:
    """Lists them. The caller has checked that the tenant may be seen. Any thread may ask but the engine's."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._deaths: OrderedDict[tuple[str, int], Death | None] = OrderedDict()

    def of(self, tenant: str, scope: str = "", after: str | None = None, most: int = MOST) -> DeadRuns:
        """Find at most `most` of them, the oldest first, from where an answer ended (`after`)."""
        fingerprint = Selection(tenant, scope).fingerprint
        place = cursor_of(after, f"dead {fingerprint}", self._now())
        rows = self._store.rows(_ROWS, (tenant, scope, scope, place.until, place.at, place.run, LOOKED_AT))
        found: list[Dead] = []
        for looked_at, row in enumerate(rows, 1):
            run, tenant, scope, number, title, state, reason, _, created_at, updated_at, _ = row
            if (death := self._death(row)) is not None:
                found.append(Dead(run, tenant, scope, number, title, state, death, reason or "", updated_at))
            if len(found) == most or looked_at == LOOKED_AT:
                return DeadRuns(tuple(found), looked_at, place.moved(created_at, run).text())
        return DeadRuns(tuple(found), len(rows), None)

    def _death(self, row: Sequence[Any]) -> Death | None:
        run, state, reason, ended_at, seq = row[0], row[5], row[6], row[7], row[10]
        told = told_by_row(state, reason, ended_at)
        if told != "ask":
            return told
        if ended_at is None:
            return self._told(run, seq)
        key = (run, seq)
        if key not in self._deaths:
            self._deaths[key] = self._told(run, seq)
            while len(self._deaths) > REMEMBERED:
                self._deaths.popitem(last=False)
        return self._deaths.get(key)

    def _told(self, run: str, seq: int) -> Death | None:
        last = self._store.rows(_LAST, (run, seq))
        try:
            return told_by_entry(entry_of(run, last[0])) if last else None
        except Unavailable:
            return "unreadable"

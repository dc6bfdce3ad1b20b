"""Every tenant in numbers: what goes on, what was begun today, what is dead, what is used. For admins of the server.

Numbers only: what runs are called is for the people of their tenant. Counted by indexes, but of all that goes on, so
not for a request to wait for.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from stepwell.ci.dead_list import LOOKED_AT, DeadList
from stepwell.store.store import Store

OPEN = ("queued", "running", "waiting", "paused")
ENDED = ("passed", "failed", "cancelled", "diverged")
_MARKS = "?,?,?,?"
_GOING_ON = f"SELECT state, count(*) FROM runs WHERE tenant = ? AND state IN ({_MARKS}) GROUP BY state"  # noqa: S608
_BEGUN = f"SELECT count(*) FROM runs WHERE tenant = ? AND state IN ({_MARKS},{_MARKS}) AND created_at >= ?"  # noqa: S608
_TOOK = "SELECT tenant, sum(isolate_seconds + container_seconds) FROM usage_months WHERE month = ? GROUP BY tenant"
_KEPT = (
    "SELECT tenant, sum(bytes) FROM (SELECT tenant, layers + logs + artifacts AS bytes FROM usage_months "
    "UNION ALL SELECT tenant, git + caches + snapshots FROM usage_places) GROUP BY tenant"
)


@dataclass(frozen=True)
class Counts:
    """A tenant. `states` counts runs that have not ended; `dead` by the reason, `more` if there may be more of them.

    `today`: runs begun since midnight, UTC. `seconds`: of steps of runs that ended this month. `bytes` are on disk.
    """

    name: str
    title: str
    people: int
    repositories: int
    today: int
    states: Mapping[str, int]
    dead: Mapping[str, int]
    more: bool
    seconds: float
    bytes: int


class Census:
    """Counts. Blocks; for any thread but the engine's."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._dead = DeadList(store, now)

    def take(self) -> tuple[Counts, ...]:
        """Count every tenant; those where most goes on first."""
        today = datetime.fromtimestamp(self._now(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        took, kept = self._sums(_TOOK, f"{today:%Y-%m}"), self._sums(_KEPT)
        people = self._sums("SELECT tenant, count(*) FROM memberships GROUP BY tenant")
        repositories = self._sums("SELECT tenant, count(*) FROM repositories GROUP BY tenant")
        counts = []
        for name, title in self._store.rows("SELECT name, title FROM tenants ORDER BY name"):
            dead = self._dead.of(name, most=LOOKED_AT)
            ((begun,),) = self._store.rows(_BEGUN, (name, *OPEN, *ENDED, today.timestamp()))
            counts.append(
                Counts(
                    name, title, int(people.get(name, 0)), int(repositories.get(name, 0)), begun,
                    dict(self._store.rows(_GOING_ON, (name, *OPEN))), Counter(one.death for one in dead.runs),
                    dead.next is not None, float(took.get(name, 0.0)), int(kept.get(name, 0)),
                )
            )  # fmt: skip
        return tuple(sorted(counts, key=lambda one: (-sum(one.states.values()), -one.today, one.name)))

    def _sums(self, query: str, *values: str) -> dict[str, float]:
        return dict(self._store.rows(query, values))

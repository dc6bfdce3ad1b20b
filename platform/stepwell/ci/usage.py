"""How many runs a tenant's repositories have begun lately, by state: read from the newest part of the list of runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from stepwell.ci.history import RUNS
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import visible

DAYS = 30


@dataclass(frozen=True)
class RepositoryUsage:
    """Runs that one repository has begun in the last DAYS, by state. `-`: the tenant's plans."""

    repository: str
    states: Mapping[str, int]

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(self.states.values())

    def count(self, *states: str) -> int:
        """Those in one of the states."""
        return sum(self.states.get(state, 0) for state in states)


class Usage:
    """Counts runs."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def of(self, actor: Actor, tenant: str) -> list[RepositoryUsage]:
        """Return the usage of each repository that has begun a run, the busiest first. Raises NotFound."""
        actor.require("read", tenant, actor.repository.partition("/")[2])
        since = self._now() - DAYS * 86_400.0
        query = (
            select(RUNS.c.scope, RUNS.c.state, func.count())
            .where(visible(actor, RUNS.c.tenant, RUNS.c.scope), RUNS.c.tenant == tenant, RUNS.c.created_at >= since)
            .group_by(RUNS.c.scope, RUNS.c.state)
        )
        found: dict[str, dict[str, int]] = {}
        with self._store.read() as session:
            for scope, state, count in session.execute(query):
                found.setdefault(scope.partition("/")[2], {})[state] = count
        usage = [RepositoryUsage(name, states) for name, states in found.items()]
        return sorted(usage, key=lambda one: (-one.runs, one.repository))
